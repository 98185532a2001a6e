"""The lease service: a sidecar's report in, what it may spend out. The same over every store.

Rules
- An answer names only what is stored (see `lane`). Whatever fails on the way, the answer is shorter, never larger.
- An epoch speaks through the identity that first used it. A namespace leases only the accounts of its routes and of their pools.
- A sidecar that holds more than the ledger knows means that the store lost writes: the larger number is believed, and nothing is granted for
  a while, until every living sidecar has said what it holds.
"""

import asyncio
import hashlib
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from zoneinfo import ZoneInfoNotFoundError

import structlog

from turnout_operator.ir import QuotaLimit, Window
from turnout_operator.quota import shard as shards
from turnout_operator.quota import windows
from turnout_operator.quota.account import Account
from turnout_operator.quota.lane import Counts, Lane, Moved, Outcomes, Pace
from turnout_operator.quota.limits import Limits
from turnout_operator.quota.ports import Identity, LedgerStore, StoreUnavailable
from turnout_operator.quota.shard import Ask, Shard
from turnout_operator.quota.windows import Span
from turnout_sidecar.policy.report import (
    ACCOUNT_MAX,
    EPOCH_MAX,
    WIRE,
    AccountReport,
    Answer,
    DrillOrder,
    EpochReport,
    Grant,
    Report,
)

log = structlog.get_logger(__name__)
HORIZON_MS = 30_000
"""For so long nothing is granted after a surprise: every sidecar reports all of its leases within ten reports."""
_OWNERS_KEPT = 50_000
_FULLEST = 5


class ReportRefused(Exception):  # noqa: N818 - what the sidecar is told
    """Nothing of the report was taken up. `status` is HTTP's."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class SubjectBudget(NamedTuple):
    subject: str
    spent: int
    held: int
    limit: int


class BudgetFacts(NamedTuple):
    """One limit's present window: sums over its subjects in nano-USD, and the five of them that are fullest."""

    account: str
    limit: int
    spent: int
    held: int
    resets: int
    """Unix milliseconds"""
    subjects: int
    fullest: tuple[SubjectBudget, ...]


@dataclass(frozen=True, slots=True)
class _Context:
    identity: Identity
    owner: str
    now: int
    spans: dict[tuple[Window, str], Span] = field(default_factory=dict)
    """Each limit's window is computed once a report."""

    def span(self, limit: QuotaLimit) -> Span:
        key = (limit.window, limit.time_zone)
        if key not in self.spans:
            self.spans[key] = windows.span(*key, self.now)
        return self.spans[key]


class LeaseService:
    """Lives in one asyncio loop. `set_limits` may be called from any thread, everything else from the loop's."""

    def __init__(self, store: LedgerStore, *, pace: Pace | None = None, rng: random.Random | None = None) -> None:
        self._store = store
        self._pace = pace or Pace()
        self._rng = rng or random.Random()
        self._lanes: dict[str, Lane] = {}
        self._limits: Limits = {}
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        """Epochs that were called final: a late report of theirs must not lease for the dead."""
        self._frozen_until = 0
        self.counts = Counts()
        self.listeners: list[Callable[[Identity, Report], None]] = []
        """Hear of every report that was taken up: policy versions, refusals, breakers, evidence."""
        self.drill_orders: Callable[[Identity], tuple[DrillOrder, ...]] = lambda _: ()
        self.anomalies: Callable[[str, tuple[str, ...]], None] = lambda _kind, _accounts: None
        """Hears ``restored`` with accounts, and ``foreign-epoch`` with the epoch."""

    def set_limits(self, limits: Limits) -> None:
        """What counts from the next report on. A raised limit can be leased at once; a lowered one calls free money back, and what is
        already leased stays spendable until it comes back."""
        self._limits = limits

    def faults(self) -> dict[str, str]:
        """Shards that cannot be loaded or written now, with the store's words."""
        return {prefix: lane.fault for prefix, lane in sorted(self._lanes.items()) if lane.fault}

    def frozen(self, now: int) -> bool:
        """Whether grants are withheld because the store was found to have lost writes."""
        return 0 < self._frozen_until - now <= HORIZON_MS

    async def report(self, identity: Identity, report: Report, now: int) -> Answer:
        """`now` in Unix milliseconds. Raises `ReportRefused`."""
        _check(report)
        context = _Context(identity, hashlib.sha256(identity.key.encode()).hexdigest()[:16], now)
        self._claim(report, context)
        ended = [epoch for epoch in (report.epoch, *report.previous) if epoch.final]
        self._remember_end(ended)
        grants = {grant.account: grant for grant in await self._leases(report.epoch, context)}
        closed = [epoch.epoch for epoch in ended if await self._close(epoch, context)]
        grants |= {
            grant.account: grant for grant in self._recalls(report.epoch.epoch, now) if grant.account not in grants
        }
        for listener in self.listeners:
            listener(identity, report)
        return Answer(
            wire=WIRE,
            sequence=report.sequence,
            grants=tuple(grants[account] for account in sorted(grants)),
            closed_epochs=tuple(closed),
            drills=self.drill_orders(identity),
        )

    async def budgets(self, limits: Iterable[QuotaLimit], now: int) -> tuple[BudgetFacts, ...]:
        """The present window of each limit, for status: every subject's account. Raises `StoreUnavailable`."""
        wanted = {limit.account: limit for limit in limits}
        found: dict[str, list[tuple[str, Account]]] = {account: [] for account in wanted}
        for shard in await self._all(now):
            for name, account in shard.accounts.items():
                prefix, _, subject = name.partition("|")[0].rpartition("/")
                if prefix in found and account.starts <= now < account.ends:
                    found[prefix].append((subject, account))
        return tuple(_facts(limit, found[account], now) for account, limit in wanted.items())

    async def tidy(self, now: int) -> None:
        """Drops windows that are over and writes what is known and not yet stored; once a minute is enough. Raises `StoreUnavailable`."""
        await self._all(now)

    # Reports

    def _claim(self, report: Report, context: _Context) -> None:
        for epoch in (report.epoch, *report.previous):
            owner = self._owners.setdefault(epoch.epoch, context.owner)
            self._owners.move_to_end(epoch.epoch)
            if owner != context.owner:
                raise self._foreign(epoch.epoch)
        while len(self._owners) > _OWNERS_KEPT:
            self._owners.popitem(last=False)

    def _remember_end(self, epochs: list[EpochReport]) -> None:
        for epoch in epochs:
            self._ended[epoch.epoch] = None
        while len(self._ended) > _OWNERS_KEPT:
            self._ended.popitem(last=False)

    def _foreign(self, epoch: str) -> ReportRefused:
        self.anomalies("foreign-epoch", (epoch,))
        return ReportRefused(
            403,
            "foreign_epoch",
            f"epoch {epoch} belongs to another identity; a sidecar process names its own, new epoch",
        )

    async def _leases(self, epoch: EpochReport, context: _Context) -> list[Grant]:
        if epoch.final:
            return []
        asks = [self._ask(epoch, line, context) for line in epoch.accounts]
        found, _ = await self._submit(epoch.epoch, asks, context.now)
        return found

    async def _close(self, epoch: EpochReport, context: _Context) -> bool:
        """True when the epoch's end is stored wherever it held something, so that its record may go."""
        for lane in self._lanes.values():
            lane.doubt()  # an end must not miss what another replica granted
        asks = [self._ask(epoch, line, context) for line in epoch.accounts]
        _, stored = await self._submit(epoch.epoch, asks, context.now)
        if not epoch.complete or not stored:
            return stored
        rest = Ask(epoch=epoch.epoch, owner=context.owner, line=None, final=True)
        try:
            await self._all(context.now)
            for lane in list(self._lanes.values()):
                held = lane.view.accounts.values() if lane.view is not None else ()
                if any(epoch.epoch in account.open for account in held):
                    outcomes = await lane.submit((rest,), context.now)
                    if outcomes.foreign:
                        raise self._foreign(epoch.epoch)
        except (StoreUnavailable, Moved):
            return False
        return True

    def _ask(self, epoch: EpochReport, line: AccountReport, context: _Context) -> Ask:
        limit = self._limits.get(context.identity.namespace, {}).get(line.account.rpartition("/")[0])
        subject = line.account.rpartition("/")[2]
        span = None
        if epoch.epoch in self._ended and not epoch.final:
            limit = None
        if limit is not None:
            try:
                span = context.span(limit)
            except ZoneInfoNotFoundError:
                log.error("limit names an unknown time zone", account=limit.account, zone=limit.time_zone)
                limit = None
        return Ask(
            epoch=epoch.epoch,
            owner=context.owner,
            line=line,
            final=epoch.final,
            limit=None if limit is None else limit.amount_of(subject),
            span=span,
        )

    def _recalls(self, epoch: str, now: int) -> list[Grant]:
        """What the epoch is asked to give back of accounts that it said nothing of."""
        found = []
        for lane in self._lanes.values():
            if lane.view is None:
                continue
            for name in sorted(lane.recalled.get(epoch, ())):
                account = lane.view.accounts.get(name)
                if account is not None and epoch in account.open:
                    subject_account, _, window = name.partition("|")
                    found.append(shards.grant_of(account, subject_account, window, epoch, now))
        return found

    # Lanes

    async def _submit(self, epoch: str, asks: list[Ask], now: int) -> tuple[list[Grant], bool]:
        """Grants that are stored, and whether every ask was taken up. Raises `ReportRefused` for another's epoch."""
        results = await asyncio.gather(*(self._group(asks, now)))
        grants: list[Grant] = []
        for outcomes in results:
            if outcomes is None:
                continue
            if outcomes.foreign:
                raise self._foreign(epoch)
            grants += [grant for grant in outcomes.grants if grant is not None]
        return grants, all(outcomes is not None for outcomes in results)

    def _group(self, asks: list[Ask], now: int) -> list[Awaitable[Outcomes | None]]:
        """By root shard; each group finds its own way further down."""
        groups: dict[str, list[Ask]] = {}
        for ask in asks:
            assert ask.line is not None, "only lines are grouped"
            groups.setdefault(shards.digits(ask.line.account)[0], []).append(ask)
        return [self._descend(prefix, tuple(group), now) for prefix, group in sorted(groups.items())]

    async def _descend(self, prefix: str, asks: tuple[Ask, ...], now: int) -> Outcomes | None:
        """None where the store could not be had. A shard that has split is left for its children."""
        try:
            return await self._lane(prefix).submit(asks, now)
        except StoreUnavailable:
            return None
        except Moved:
            groups: dict[str, list[Ask]] = {}
            for ask in asks:
                assert ask.line is not None, "only lines are grouped"
                groups.setdefault(shards.digits(ask.line.account)[: len(prefix) + 1], []).append(ask)
            parts = [await self._descend(child, tuple(group), now) for child, group in sorted(groups.items())]
        if any(part is None for part in parts):
            return None
        known = [part for part in parts if part is not None]
        grants = tuple(grant for part in known for grant in part.grants)
        return Outcomes(grants, frozenset().union(*(part.foreign for part in known)))

    async def _all(self, now: int) -> list[Shard]:
        """Every shard there is, none older than the pace allows. Raises `StoreUnavailable`."""
        found: dict[str, Shard] = {}
        while waiting := {*await self._store.prefixes(), *self._lanes} - found.keys():
            for prefix in sorted(waiting):
                lane = self._lane(prefix)
                try:
                    found[prefix] = await lane.look(now)
                except Moved:  # its children are stored now, and the next round meets them
                    found[prefix] = Shard(split=True)
        return [shard for _, shard in sorted(found.items()) if not shard.split]

    def _lane(self, prefix: str) -> Lane:
        lane = self._lanes.get(prefix)
        if lane is None:
            lane = self._lanes[prefix] = Lane(
                prefix=prefix,
                store=self._store,
                pace=self._pace,
                counts=self.counts,
                granting=lambda now: not self.frozen(now),
                surprised=self._surprised,
                rng=self._rng,
            )
        return lane

    def _surprised(self, accounts: tuple[str, ...], now: int) -> None:
        log.error(
            "sidecars hold more than the ledger knows: was its store restored?", accounts=list(accounts[:_FULLEST])
        )
        self.anomalies("restored", accounts)
        self._frozen_until = now + HORIZON_MS


def _facts(limit: QuotaLimit, held: list[tuple[str, Account]], now: int) -> BudgetFacts:
    fullest = sorted(held, key=lambda item: (-(item[1].spent + item[1].held) / max(1, item[1].limit), item[0]))
    return BudgetFacts(
        account=limit.account,
        limit=limit.amount,
        spent=sum(account.spent for _, account in held),
        held=sum(account.held for _, account in held),
        resets=windows.span(limit.window, limit.time_zone, now).ends,
        subjects=len(held),
        fullest=tuple(SubjectBudget(s, a.spent, a.held, a.limit) for s, a in fullest[:_FULLEST]),
    )


def _check(report: Report) -> None:
    """What no sidecar of ours sends. The JSON is typed already."""
    if report.wire != WIRE:
        raise ReportRefused(
            400, "wire_unknown", f"wire {report.wire} is not spoken here, {WIRE} is: upgrade the older of the two"
        )
    for epoch in (report.epoch, *report.previous):
        if not 0 < len(epoch.epoch) <= EPOCH_MAX:
            raise ReportRefused(
                400, "epoch_malformed", f"an epoch has 1 to {EPOCH_MAX} characters, this one {len(epoch.epoch)}"
            )
        for line in epoch.accounts:
            if len(line.account.encode()) > ACCOUNT_MAX or "|" in line.account:
                raise ReportRefused(
                    400,
                    "account_malformed",
                    f"an account has at most {ACCOUNT_MAX} bytes and no bar: {line.account[:80]}",
                )
            if min(line.granted, line.spent, line.held, line.returned, line.wants, line.need) < 0:
                raise ReportRefused(400, "amount_negative", f"amounts of {line.account} are below zero")

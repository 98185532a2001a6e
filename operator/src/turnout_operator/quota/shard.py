"""A shard: the accounts that share one stored object, and the one step that changes them.

`step` is the whole ledger: asks in, the next shard and an outcome for each ask out. It is a pure function of the stored shard, so after a
lost compare-and-swap it is simply computed again. A step is `hard` when it must be stored before anybody may hear of it; what is only
spending and returning is soft, because the grants that cover it are stored already, and it waits for the next write.

A shard that outgrows its object splits by the next digit of its accounts' hash. Its accounts move in steps that each stand alone:
marked as splitting it is frozen, so that its sixteen children can be derived from it by anybody and as often as need be; when
all of them are stored it is emptied.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from turnout_operator.quota import account as accounts
from turnout_operator.quota import sizing
from turnout_operator.quota.account import Account
from turnout_operator.quota.windows import Span
from turnout_sidecar.policy.report import AccountReport, Grant
from turnout_sidecar.policy.units import Millis, NanoUSD

VERSION = 1
DIGITS = "0123456789abcdef"
KEPT_AFTER_END = 600_000
"""Milliseconds that an account stays after its window, for the last reports of its spending."""


class Shard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Keys of `accounts`: ``<account>|<window id>``."""

    version: int = VERSION
    accounts: dict[str, Account] = {}
    swept: int = 0
    """Windows that ended until here (Unix milliseconds) are gone: none of them is opened again, should a clock go back."""
    split: bool = False
    """Its accounts are, or are about to be, in its children."""


class ShardUnreadable(Exception):  # noqa: N818 - a state of the store
    """A stored shard is not one of ours: nothing is granted from it until somebody has looked at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one epoch's report says of one account, or with `line` None and `final`, that the epoch is over here too."""

    epoch: str
    owner: str
    line: AccountReport | None
    """Its account is ``<limit account>/<subject>``."""
    final: bool = False
    limit: int | None = None
    """The subject's limit where the asker is entitled to the account; None: nothing is granted."""
    span: Span | None = None
    """The limit's window now."""


class Step(NamedTuple):
    """`outcomes` in the order of the asks."""

    shard: Shard
    outcomes: tuple[Grant | None, ...]
    hard: bool
    surprises: tuple[str, ...]
    """Accounts of which an epoch holds more than the ledger knew."""
    foreign: frozenset[str]
    """Epochs that somebody else than their owner spoke for: nothing of it was taken up."""


def key(account: str, window: str) -> str:
    """Where an account's window stands in its shard."""
    return f"{account}|{window}"


def digits(account: str) -> str:
    """The hash that places an account, all windows of it in one shard."""
    return hashlib.sha256(account.encode()).hexdigest()


def encode(shard: Shard) -> bytes:
    """Byte-stable JSON."""
    return msgspec.json.encode(shard, order="deterministic")


def decode(stored: bytes) -> Shard:
    """Raises `ShardUnreadable`."""
    try:
        shard = msgspec.json.decode(stored, type=Shard)
    except msgspec.MsgspecError as e:
        raise ShardUnreadable(f"the stored shard is unreadable: {e}") from e
    if shard.version != VERSION:
        raise ShardUnreadable(f"the stored shard has version {shard.version}, this one reads {VERSION}")
    return shard


def children(parent: Shard, prefix: str) -> dict[str, Shard]:
    """What a splitting shard falls into, by the children's prefixes; all sixteen, also the empty ones."""
    parts: dict[str, dict[str, Account]] = {prefix + digit: {} for digit in DIGITS}
    for name, account in parent.accounts.items():
        parts[digits(name.partition("|")[0])[: len(prefix) + 1]][name] = account
    return {child: Shard(accounts=part, swept=parent.swept) for child, part in parts.items()}


def step(shard: Shard, asks: Sequence[Ask], now: int, *, granting: bool = True) -> Step:
    """Takes up every report, closes what is final, and only then grants, so that what came back can go out again at once."""
    assert not shard.split, "a splitting shard is frozen"
    work = _Work(_swept(shard, now))
    own = [ask for ask in asks if work.is_owner(ask)]
    for ask in own:
        work.take_up(ask, now)
    for ask in own:
        work.close(ask)
    if granting and not work.surprises:
        for name in sorted(work.wanted):
            work.share_out(name, now)
    following = msgspec.structs.replace(work.shard, accounts=work.accounts)
    following = shard if following == shard else following
    outcomes = tuple(work.outcome(ask, now) for ask in asks)
    return Step(following, outcomes, work.hard, tuple(sorted(set(work.surprises))), frozenset(work.foreign))


class _Work:
    """The state of one step while it is computed."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.accounts = dict(shard.accounts)
        self.wanted: dict[str, list[Ask]] = {}
        self.hard = False
        self.surprises: list[str] = []
        self.foreign: set[str] = set()

    def is_owner(self, ask: Ask) -> bool:
        """An epoch speaks only through the identity that first used it: a final report of somebody else's would free its money."""
        account = self.accounts.get(key(ask.line.account, ask.line.window)) if ask.line is not None else None
        known = [account] if account is not None else self.accounts.values() if ask.line is None else []
        foreign = any(ask.epoch in a.open and a.open[ask.epoch].owner != ask.owner for a in known)
        if foreign:
            self.foreign.add(ask.epoch)
        return not foreign

    def take_up(self, ask: Ask, now: int) -> None:
        if ask.line is None:
            return
        self._absorb(ask, ask.line, now)
        if ask.limit is None or ask.span is None:
            return
        name = key(ask.line.account, ask.span.id)
        account = self.accounts.get(name)
        if account is not None and account.limit != ask.limit:
            self.accounts[name] = account = msgspec.structs.replace(account, limit=ask.limit)
        if ask.line.wants > 0 and not ask.final and ask.span.ends > self.shard.swept:
            if account is None:
                self.accounts[name] = Account(limit=ask.limit, starts=ask.span.starts, ends=ask.span.ends)
            self.wanted.setdefault(name, []).append(ask)
        elif account is not None and account.available < 0:
            self.wanted.setdefault(name, [])

    def _absorb(self, ask: Ask, line: AccountReport, now: int) -> None:
        name = key(line.account, line.window)
        account = self.accounts.get(name)
        if account is None:
            if ask.span is None or ask.limit is None or line.window != ask.span.id or ask.span.ends <= self.shard.swept:
                return  # a window that is over, or an account of nobody's limit
            account = Account(limit=ask.limit, starts=ask.span.starts, ends=ask.span.ends)
        if accounts.surprising(account, ask.epoch, line):
            self.surprises.append(line.account)
            self.hard = True
        following = accounts.absorb(account, ask.epoch, ask.owner, line, now)
        if following.open:
            self.accounts[name] = following

    def close(self, ask: Ask) -> None:
        if not ask.final:
            return
        names = list(self.accounts) if ask.line is None else [key(ask.line.account, ask.line.window)]
        for name in names:
            account = self.accounts.get(name)
            if account is not None and ask.epoch in account.open:
                self.accounts[name] = accounts.close(account, ask.epoch)
                self.hard = True

    def share_out(self, name: str, now: int) -> None:
        """The refused come before the foresighted, and who has least before who has more."""
        asks = sorted(self.wanted[name], key=lambda ask: self._rank(name, ask))
        account = self.accounts[name]
        holders = {
            e
            for e, lease in account.open.items()
            if lease.outstanding > lease.spent and not accounts.silent(lease, now)
        }
        holders |= {ask.epoch for ask in asks}
        for ask in asks:
            assert ask.line is not None, "only a line can want"
            account = self.accounts[name]
            if accounts.is_closed(account, ask.epoch):
                continue
            amount = sizing.grant(account, ask.epoch, ask.line, len(holders), now)
            if amount:
                self.accounts[name] = accounts.grant(account, ask.epoch, ask.owner, amount, now)
                self.hard = True
            self._recall(name, sizing.recalls(self.accounts[name], ask.epoch, ask.line, now))
        if self.accounts[name].available < 0:
            self._recall(name, sizing.overdrawn(self.accounts[name]))
        last = self.accounts[name]
        if not (last.open or last.settled or last.closed):
            del self.accounts[name]  # opened for a want that got nothing

    def _rank(self, name: str, ask: Ask) -> tuple[bool, int, str]:
        assert ask.line is not None, "only a line can want"
        lease = self.accounts[name].open.get(ask.epoch)
        return not ask.line.urgent, lease.free if lease is not None else 0, ask.epoch

    def _recall(self, name: str, amounts: dict[str, int]) -> None:
        for epoch, amount in sorted(amounts.items()):
            self.accounts[name] = accounts.recall(self.accounts[name], epoch, amount)
            self.hard = True

    def outcome(self, ask: Ask, now: int) -> Grant | None:
        """The state of the present window for this epoch, where it has or wants something of it."""
        if ask.line is None or ask.final or ask.limit is None or ask.span is None or ask.epoch in self.foreign:
            return None
        account = self.accounts.get(key(ask.line.account, ask.span.id))
        if account is None:
            return None
        return grant_of(account, ask.line.account, ask.span.id, ask.epoch, now)


def grant_of(account: Account, name: str, window: str, epoch: str, now: int) -> Grant:
    """What an answer says of the account to this epoch. Only of what is stored."""
    lease = account.open.get(epoch)
    return Grant(
        account=name,
        window=window,
        window_ends=account.ends,
        window_remaining=Millis(max(0, account.ends - now)),
        granted=NanoUSD(lease.granted if lease else 0),
        recall=NanoUSD(max(0, lease.recall - lease.returned) if lease else 0),
        limit=NanoUSD(account.limit),
        settled=NanoUSD(account.spent),
        exhausted=account.exhausted(now),
        returned=NanoUSD(lease.returned if lease else 0),
        spent=NanoUSD(lease.spent if lease else 0),
    )


def _swept(shard: Shard, now: int) -> Shard:
    """Without the accounts whose window has been over for a while."""
    over = [name for name, account in shard.accounts.items() if account.ends + KEPT_AFTER_END <= now]
    if not over:
        return shard
    swept = max(shard.swept, *(shard.accounts[name].ends for name in over))
    return msgspec.structs.replace(
        shard, accounts={name: a for name, a in shard.accounts.items() if name not in over}, swept=swept
    )

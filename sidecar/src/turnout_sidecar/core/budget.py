"""The sidecar's half of the budget: money is leased before it is held, and held before anything is sent.

Rules
- For each (account, window), always: spent + held + free = granted - returned. All four sums only ever grow, except `held`.
- `granted` and what the ledger knows of `returned` are cumulative: the same answer twice, or an old one late, changes nothing.
- Every change that makes an attempt possible is in the write-ahead record before the call returns.
- A charge goes to the window of its hold's grant. Nothing here resets, and no wall clock is read: a jump mints no money.
- One lock, handed in, around every public call; nothing in here blocks, logs or leaves Python while it is held.

This file does not know what an attempt is, what it costs, or who asks the ledger when.
"""

import math
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import NamedTuple, Protocol

from turnout_sidecar.policy.report import AccountReport, EpochReport, Grant
from turnout_sidecar.policy.units import Millis, NanoUSD

FORESIGHT = Millis(600_000)
"""A lease is meant to cover ten minutes of what is being spent, so that a dead control plane is not felt at once."""
_AGAIN = 10
"""Every account is reported at least in every tenth report, changed or not: a ledger restored from a backup learns by it."""
_KEEP_AFTER_END = Millis(120_000)
_IDLE = Millis(300_000)
"""An account that nobody used for so long gives its free money back unasked."""
_FADING = 16
"""The dearest attempt seen is forgotten by this part with each report of its lease."""
_PATIENCE = Millis(1_000)
_SMOOTHING = 5_000.0
"""Milliseconds over which the burn is smoothed."""
_NONE = NanoUSD(0)


class ShortfallKind(StrEnum):
    """Why a hold was refused."""

    EXHAUSTED = "Exhausted"
    """The window's money is spent, or this attempt costs more than what is left of it: final until the window ends."""
    HELD = "Held"
    """Attempts in flight hold it, here or at another sidecar: soon may be different."""
    NO_LEASE = "NoLease"
    """The ledger has not granted anything of this window yet."""


class Shortfall(NamedTuple):
    """A refused hold; nothing was held of any account. `retry_after` is the time to the window's end where that is what helps."""

    account: str
    kind: ShortfallKind
    free: NanoUSD
    retry_after: Millis | None


class LeaseState(NamedTuple):
    """One account's window in this epoch, for metrics and for laws: spent + held + free = granted - returned."""

    account: str
    window: str
    granted: NanoUSD
    spent: NanoUSD
    held: NanoUSD
    free: NanoUSD
    returned: NanoUSD


class Record(Protocol):
    """Where a lease's state survives the process: `turnout_sidecar.core.wal.WriteAheadRecord`."""

    def slot(self, account: str, window: str) -> int:
        """A place for this lease, or -1 where there is no room: such a lease is given back by nobody if the process dies."""
        ...

    def write(self, slot: int, granted: int, spent: int, held: int, returned: int) -> None: ...

    def vacate(self, slot: int) -> None: ...


class _Lease:
    """One account's window in this epoch."""

    __slots__ = (
        "account",
        "burn",
        "changed",
        "ends",
        "exhausted",
        "free",
        "granted",
        "held",
        "limit",
        "need",
        "returned",
        "settled",
        "settled_own",
        "slot",
        "spent",
        "told_at",
        "told_spent",
        "used",
        "window",
        "window_ends",
    )

    def __init__(self, account: str, window: str) -> None:
        self.account = account
        self.window = window
        self.ends = 0  # monotonic
        self.window_ends = 0  # Unix: orders windows, is never compared with a clock
        self.granted = 0
        self.spent = 0
        self.held = 0
        self.free = 0
        self.returned = 0
        self.limit = 0
        self.need = 0  # the dearest attempt
        self.settled = 0  # by all sidecars, as the ledger last said
        self.settled_own = 0  # our part of that
        self.exhausted = False
        self.slot = -1
        self.changed = True
        self.told_spent = 0
        self.told_at = 0
        self.burn = 0.0  # nano-USD a millisecond, smoothed
        self.used = 0  # the time of the last hold

    def left(self) -> int:
        """What could still be had of the window by anybody, if everything held came back: what the ledger said, less ours since."""
        return self.limit - self.settled - (self.spent - self.settled_own)


class _Demand:
    """What an account lacks, and the dearest and the cheapest attempt that wait for it."""

    __slots__ = ("at", "lacking", "least", "need", "told")

    def __init__(self) -> None:
        self.lacking = 0
        self.told = (
            0  # what the last report said, until it is met or a second old: whoever waits asks only now and then
        )
        self.need = 0
        self.least = 0
        self.at = 0


class Hold:
    """The reservation of one attempt. Settled or released exactly once; `open` until then."""

    __slots__ = ("_leases", "amounts", "open")

    def __init__(self, amounts: tuple[tuple[str, NanoUSD], ...], leases: tuple[_Lease, ...]) -> None:
        self.amounts = amounts
        self._leases = leases
        self.open = True

    @property
    def windows(self) -> tuple[str, ...]:
        """Whose money it is, in the order of `amounts`: the windows of the grants."""
        return tuple(lease.window for lease in self._leases)


class Book:
    """All leases of one epoch. `now` is monotonic milliseconds everywhere."""

    def __init__(
        self, *, epoch: str, record: Record | None = None, lock: AbstractContextManager[object] | None = None
    ) -> None:
        self.epoch = epoch
        self._record = record
        self._lock = threading.Lock() if lock is None else lock
        self._current: dict[str, _Lease] = {}
        self._leases: dict[tuple[str, str], _Lease] = {}
        self._demand: dict[str, _Demand] = {}
        self._urgent = False
        self.closed = False
        """No hold succeeds any more, and the next report is final."""
        self._forgotten = 0
        """`window_ends` of the latest window that was forgotten: its grants must not come to life again."""
        self.complete = True
        """No lease was ever forgotten, so whatever the ledger granted and we do not name never reached us."""
        self._turn = 0
        self.excesses = 0
        """Charges above their hold: assumption A1 was broken that often, and the account paid in full."""

    # What the exchange does

    def hold(self, amounts: tuple[tuple[str, NanoUSD], ...], now: Millis) -> Hold | Shortfall:
        """Reserves every amount or none. What is returned as a Hold is in the write-ahead record."""
        with self._lock:
            current = self._current
            taken: list[_Lease] = []
            for account, amount in amounts:
                assert amount >= 0, "a hold is never negative"
                lease = current.get(account)
                if lease is None or lease.free < amount or now >= lease.ends or self.closed:
                    for other, (_, undo) in zip(taken, amounts, strict=False):
                        other.free += undo
                        other.held -= undo
                    return self._refuse(amounts, account, now)
                lease.free -= amount
                lease.held += amount
                lease.used = now
                if amount > lease.need:
                    lease.need = amount
                taken.append(lease)
            record = self._record
            for lease in taken:
                lease.changed = True
                if record is not None and lease.slot >= 0:
                    record.write(lease.slot, lease.granted, lease.spent, lease.held, lease.returned)
            return Hold(amounts, tuple(taken))

    def settle(self, hold: Hold, charge_nano: NanoUSD) -> NanoUSD:
        """Charges every account of the hold and frees the rest; the excess above the dearest hold, which should be zero."""
        assert charge_nano >= 0, "a charge is never negative"
        with self._lock:
            return self._resolve(hold, charge_nano)

    def release(self, hold: Hold) -> None:
        """Frees a hold whose attempt never left: nothing was sent, nothing can be billed."""
        with self._lock:
            self._resolve(hold, _NONE)

    def free(self, account: str) -> NanoUSD:
        """What a hold of this account could take now; 0 without a lease."""
        with self._lock:
            lease = self._current.get(account)
            return _NONE if lease is None else NanoUSD(max(lease.free, 0))

    def want(self, account: str, amount: NanoUSD, now: Millis) -> None:
        """Asks for money ahead of a hold, such as on the first sight of a subject."""
        with self._lock:
            lease = self._current.get(account)
            if lease is None or lease.free < amount or now >= lease.ends:
                self._ask(account, amount, now)

    def leases(self) -> tuple[LeaseState, ...]:
        """What this epoch has of every account and window, as it is now."""
        with self._lock:
            return tuple(
                LeaseState(
                    lease.account,
                    lease.window,
                    NanoUSD(lease.granted),
                    NanoUSD(lease.spent),
                    NanoUSD(lease.held),
                    NanoUSD(lease.free),
                    NanoUSD(lease.returned),
                )
                for lease in self._leases.values()
            )

    # What the report loop does

    @property
    def urgent(self) -> bool:
        """Something was lacking, or was returned on recall, since the last report was built: a report now would help somebody."""
        return self._urgent

    def report(self, now: Millis) -> EpochReport:
        """What changed since the last report, what is wanted, and a turn of the rest. After `close`: everything, and final."""
        with self._lock:
            self._turn = (self._turn + 1) % _AGAIN
            self._forget_ended(now)
            self._give_back_idle(now)
            self._urgent = False
            lacking = {account for account, demand in self._demand.items() if demand.lacking or demand.told}
            lines = []
            for index, lease in enumerate(self._leases.values()):
                if lease.changed or self.closed or index % _AGAIN == self._turn or lease.account in lacking:
                    lines.append(self._line(lease, now))
                    lease.changed = False
            lines += self._newcomers(now)
            self._forget_demand(now)
            return EpochReport(
                epoch=self.epoch, accounts=tuple(lines), final=self.closed, complete=self.closed and self.complete
            )

    def apply(self, grants: Iterable[Grant], now: Millis) -> set[str]:
        """Takes up an answer's grants and recalls; the accounts that gained money. Old and doubled answers do no harm."""
        with self._lock:
            return {grant.account for grant in grants if self._take(grant, now)}

    def close(self) -> None:
        """Ends the epoch: what is still held counts as spent, no hold succeeds any more, and the next report is final."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            for lease in self._leases.values():
                lease.spent += lease.held
                lease.held = 0
                self._write(lease)

    # Under the lock

    def _refuse(self, amounts: tuple[tuple[str, NanoUSD], ...], first: str, now: Millis) -> Shortfall:
        """The gravest shortfall of all accounts: a client that waits for one account while another is exhausted waits in vain."""
        found: list[Shortfall] = []
        for account, amount in amounts:
            lease = self._current.get(account)
            if lease is None or now >= lease.ends or (lease.granted == 0 and not lease.exhausted):
                found.append(Shortfall(account, ShortfallKind.NO_LEASE, _NONE, None))
                self._ask(account, amount, now)
            elif lease.free < amount:
                free = NanoUSD(max(lease.free, 0))
                if lease.exhausted or amount > lease.left():
                    found.append(Shortfall(account, ShortfallKind.EXHAUSTED, free, Millis(lease.ends - now)))
                    self._ask(
                        account, amount, now, urgent=False
                    )  # the limit may have been raised: the next report will tell
                else:
                    found.append(Shortfall(account, ShortfallKind.HELD, free, None))
                    self._ask(account, amount, now)
        if not found:  # only a closed book refuses what would fit
            return Shortfall(first, ShortfallKind.NO_LEASE, _NONE, None)
        return min(found, key=lambda s: _GRAVITY[s.kind])

    def _ask(self, account: str, amount: int, now: int, *, urgent: bool = True) -> None:
        demand = self._demand.get(account)
        if demand is None:
            demand = self._demand[account] = _Demand()
        demand.lacking += amount
        demand.need = max(demand.need, amount)
        demand.least = min(demand.least or amount, amount)
        demand.at = now
        self._urgent |= urgent

    def _resolve(self, hold: Hold, charge: int) -> NanoUSD:
        assert hold.open, "a hold is settled or released exactly once"
        hold.open = False
        if self.closed:  # the close has charged it in full already
            return _NONE
        excess = 0
        for lease, (_, amount) in zip(hold._leases, hold.amounts, strict=True):  # noqa: SLF001 - the hold is this book's own
            lease.held -= amount
            lease.spent += charge
            lease.free += amount - charge
            lease.changed = True
            excess = max(excess, charge - amount)
            self._write(lease)
        if excess > 0:
            self.excesses += 1
        return NanoUSD(max(excess, 0))

    def _take(self, grant: Grant, now: int) -> bool:
        key = (grant.account, grant.window)
        lease = self._leases.get(key)
        if lease is None:
            if grant.window_ends <= self._forgotten:
                return False
            lease = self._leases[key] = _Lease(*key)
            lease.used = lease.told_at = now
            lease.window_ends = grant.window_ends
            lease.ends = now + grant.window_remaining
        if lease.slot < 0 and grant.granted and self._record is not None:
            lease.slot = self._record.slot(*key)
        lease.ends = min(lease.ends, now + grant.window_remaining)
        lease.limit = grant.limit
        if grant.settled >= lease.settled:
            lease.settled, lease.settled_own = grant.settled, grant.spent
        lease.exhausted = grant.exhausted
        gained = grant.granted > lease.granted and not self.closed
        if gained:
            lease.free += grant.granted - lease.granted
            lease.granted = grant.granted
            lease.changed = True
            self._met(lease.account)
        self._give_back(lease, grant.returned + grant.recall - lease.returned)
        self._write(lease)
        current = self._current.get(grant.account)
        if current is None or current.window_ends < lease.window_ends:
            self._current[grant.account] = lease
        return gained

    def _give_back(self, lease: _Lease, amount: int) -> None:
        """Only what is free moves: what is held may have been sent."""
        amount = min(amount, lease.free)
        if amount > 0:
            lease.free -= amount
            lease.returned += amount
            lease.changed = True
            self._met(lease.account)
            self._urgent = True

    def _met(self, account: str) -> None:
        demand = self._demand.get(account)
        if demand is not None:
            demand.told = 0

    def _line(self, lease: _Lease, now: int) -> AccountReport:
        demand = self._demand.get(lease.account)
        lacking = max(demand.lacking, demand.told) if demand is not None else 0
        need = demand.need if demand is not None and lacking else lease.need
        least = demand.least if demand is not None and lacking else 0
        elapsed = max(1, now - lease.told_at)
        weight = 1 - math.exp(-elapsed / _SMOOTHING)
        lease.burn += weight * ((lease.spent - lease.told_spent) / elapsed - lease.burn)
        lease.told_spent, lease.told_at = lease.spent, now
        lease.need -= lease.need // _FADING
        if now >= lease.ends or self._current.get(lease.account) is not lease or self.closed:
            lacking = wants = need = least = 0
        else:
            wants = max(lacking, self._foresight(lease, need))
        return AccountReport(
            account=lease.account,
            window=lease.window,
            granted=NanoUSD(lease.granted),
            spent=NanoUSD(lease.spent),
            held=NanoUSD(lease.held),
            returned=NanoUSD(lease.returned),
            wants=NanoUSD(wants),
            need=NanoUSD(need),
            least=NanoUSD(least),
            urgent=lacking > 0,
        )

    def _foresight(self, lease: _Lease, need: int) -> int:
        """What would refill the lease, once half of it is gone, to ten minutes of its burn and as many attempts as are in flight."""
        if lease.exhausted:
            return 0
        target = max(math.ceil(lease.burn * FORESIGHT), 2 * (lease.held + need))
        return target - lease.free if 2 * lease.free < target else 0

    def _newcomers(self, now: int) -> list[AccountReport]:
        """Accounts that were asked for and have no lease of the present window."""
        lines = []
        for account, demand in self._demand.items():
            lease = self._current.get(account)
            wants = max(demand.lacking, demand.told)
            if wants and not self.closed and (lease is None or now >= lease.ends):
                lines.append(
                    AccountReport(
                        account=account,
                        window="",
                        granted=_NONE,
                        spent=_NONE,
                        held=_NONE,
                        returned=_NONE,
                        wants=NanoUSD(wants),
                        need=NanoUSD(demand.need),
                        least=NanoUSD(demand.least),
                        urgent=True,
                    )
                )
        return lines

    def _forget_demand(self, now: int) -> None:
        """What was lacking is told until it is met or a second old: whoever still waits has asked again by then."""
        for account, demand in list(self._demand.items()):
            demand.told = max(demand.lacking, demand.told) if now - demand.at <= _PATIENCE else 0
            demand.lacking = 0
            if not demand.told:
                del self._demand[account]

    def _forget_ended(self, now: int) -> None:
        """Leases of windows that are over, settled and told: nobody needs their money any more.

        From then on the ledger must not read our silence on an account as "nothing was spent": it may not have heard the last report.
        """
        over = [
            (key, lease)
            for key, lease in self._leases.items()
            if now - lease.ends > _KEEP_AFTER_END and not lease.held and not lease.changed
        ]
        for key, lease in over:
            del self._leases[key]
            self._forgotten = max(self._forgotten, lease.window_ends)
            self.complete = False
            if self._current.get(lease.account) is lease:
                del self._current[lease.account]
            if self._record is not None and lease.slot >= 0:
                self._record.vacate(lease.slot)

    def _give_back_idle(self, now: int) -> None:
        for lease in self._leases.values():
            if lease.free > 0 and now - lease.used > _IDLE:
                self._give_back(lease, lease.free)
                self._write(lease)

    def _write(self, lease: _Lease) -> None:
        if self._record is not None and lease.slot >= 0:
            self._record.write(lease.slot, lease.granted, lease.spent, lease.held, lease.returned)


_GRAVITY = {ShortfallKind.EXHAUSTED: 0, ShortfallKind.NO_LEASE: 1, ShortfallKind.HELD: 2}

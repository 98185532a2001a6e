"""One account's window in the ledger, as values.

At every moment, over any crash: settled + what open leases may still spend or have spent + available = limit. An epoch (one life of a
sidecar process) owns its lease; it ends only by that epoch's own final report and never by the passing of time, because a silent
sidecar may be spending. Everything an epoch reports is cumulative: the larger number is the newer one.
"""

import hashlib

import msgspec

from turnout_sidecar.policy.report import AccountReport

_CLOSED_KEPT = 256
SILENT_AFTER = 180_000
"""Milliseconds without a report after which a lease is taken to be stranded: for words and shares, never for taking it back."""


class Lease(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one epoch has of the account. Nano-USD; `granted` and `recall` are the ledger's, the rest is the sidecar's word."""

    owner: str
    """Digest of the identity that first used the epoch."""
    granted: int
    spent: int = 0
    held: int = 0
    returned: int = 0
    recall: int = 0
    """Cumulative: the ledger would like `returned` to reach it."""
    seen: int = 0
    """Unix milliseconds of a late report, to the minute."""

    @property
    def outstanding(self) -> int:
        """What counts against the limit: all that it may spend, or has spent where a charge was above its hold."""
        return max(self.granted - self.returned, self.spent)

    @property
    def free(self) -> int:
        """What it could give back, as far as is known, less what it was already asked for."""
        return max(0, self.granted - max(self.returned, self.recall) - self.spent - self.held)


class Account(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One subject's money in one window."""

    limit: int
    starts: int
    ends: int
    settled: int = 0
    """Spent by epochs that are closed."""
    open: dict[str, Lease] = {}
    closed: tuple[str, ...] = ()
    """Digests of closed epochs, so that a late or doubled report opens nothing again."""

    @property
    def available(self) -> int:
        """What can be granted; below zero after the limit was lowered, or where a charge was above its hold."""
        return self.limit - self.settled - sum(lease.outstanding for lease in self.open.values())

    @property
    def spent(self) -> int:
        """All that is known to be spent for good."""
        return self.settled + sum(lease.spent for lease in self.open.values())

    @property
    def held(self) -> int:
        """Leased and not spent, wherever it is."""
        return sum(lease.outstanding - lease.spent for lease in self.open.values())

    def exhausted(self, now: int) -> bool:
        """Nothing is left until the window ends: it is spent, or leased to epochs that have fallen silent."""
        stranded = sum(lease.outstanding - lease.spent for lease in self.open.values() if silent(lease, now))
        return self.spent + stranded >= self.limit


def silent(lease: Lease, now: int) -> bool:
    """Whether its sidecar is probably gone."""
    return now - lease.seen > SILENT_AFTER


def is_closed(account: Account, epoch: str) -> bool:
    """Whether the epoch's final report was taken up."""
    return _digest(epoch) in account.closed


def surprising(account: Account, epoch: str, line: AccountReport) -> bool:
    """The epoch holds more than the ledger ever gave it: the store lost writes, such as by a restore from a backup."""
    lease = account.open.get(epoch)
    return not is_closed(account, epoch) and line.granted > (lease.granted if lease is not None else 0)


def absorb(account: Account, epoch: str, owner: str, line: AccountReport, now: int) -> Account:
    """Takes up what the epoch says; an older or doubled report changes nothing that counts. The larger grant is believed."""
    if is_closed(account, epoch):
        return account
    lease = account.open.get(epoch)
    if lease is None:
        if line.granted == 0:
            return account
        lease = Lease(owner=owner, granted=0)
    returned = max(lease.returned, line.returned)
    could_return = max(0, line.granted - line.returned - line.spent - line.held)
    lease = msgspec.structs.replace(
        lease,
        granted=max(lease.granted, line.granted),
        spent=max(lease.spent, line.spent),
        held=line.held,
        returned=returned,
        recall=min(lease.recall, returned + could_return),
        seen=max(lease.seen, now // 60_000 * 60_000),
    )
    return _with(account, epoch, lease)


def grant(account: Account, epoch: str, owner: str, amount: int, now: int) -> Account:
    """Gives `amount` more to the epoch. What it must fit into is the caller's business and this assertion's."""
    assert 0 < amount <= account.available, "a grant comes out of what is available"
    assert not is_closed(account, epoch), "a closed epoch can spend nothing"
    lease = account.open.get(epoch) or Lease(owner=owner, granted=0)
    lease = msgspec.structs.replace(
        lease,
        granted=lease.granted + amount,
        recall=min(lease.recall, lease.returned),  # who is given money is not asked for it at the same time
        seen=max(lease.seen, now // 60_000 * 60_000),
    )
    return _with(account, epoch, lease)


def recall(account: Account, epoch: str, amount: int) -> Account:
    """Asks the epoch to return `amount` more of its free money."""
    lease = account.open[epoch]
    target = max(lease.returned, lease.recall) + amount
    return _with(account, epoch, msgspec.structs.replace(lease, recall=target))


def close(account: Account, epoch: str) -> Account:
    """Settles what the epoch spent; the rest of its lease is available again. Only after its own final report."""
    lease = account.open.get(epoch)
    if lease is None:
        return account
    others = {name: other for name, other in account.open.items() if name != epoch}
    closed = (*account.closed, _digest(epoch))[-_CLOSED_KEPT:]
    return msgspec.structs.replace(account, settled=account.settled + lease.spent, open=others, closed=closed)


def _with(account: Account, epoch: str, lease: Lease) -> Account:
    return msgspec.structs.replace(account, open={**account.open, epoch: lease})


def _digest(epoch: str) -> str:
    return hashlib.sha256(epoch.encode()).hexdigest()[:12]

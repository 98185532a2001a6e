"""How much to grant, and from whom to ask it back. Pure policy: whatever is decided here, no bound is at stake, only waiting.

- A grant is what is wanted, but at most available / (2 N) for N holders, so that a newcomer finds something and a crash strands little;
  and at least one attempt, because less serves nobody. Near the limit grants become single attempts, for the refused only: foresight
  would take back at once what was called back for somebody else.
- A rest that would be smaller than one attempt goes along with the last grant: such an account is pinned to one holder. A piece of an
  attempt is not handed out while others could add the rest of it: it would only be scattered again. Cheaper attempts do not wait for that.
- Where money lies idle at others while an attempt was refused here, it is called back: all that is free from holders with nothing in
  flight or with less than an attempt, half from the busy ones. Not where all of it together would not make up an attempt.
"""

from typing import NamedTuple

from turnout_operator.quota import account as accounts
from turnout_operator.quota.account import Account
from turnout_sidecar.policy.report import AccountReport


def grant(account: Account, epoch: str, line: AccountReport, holders: int, now: int) -> int:
    """What to add to the epoch's lease, at least 0 and at most what is available."""
    unmet = _unmet(account, epoch, line, now)
    available = account.available
    if unmet.wants <= 0 or available <= 0:
        return 0
    share = available // (2 * max(1, holders))
    if not line.urgent and share < unmet.need:
        return 0
    amount = min(available, max(min(unmet.wants, share), unmet.need - unmet.own_free))
    if available - amount < unmet.need:
        amount = available
    if unmet.own_free + amount < unmet.need <= unmet.attainable:
        cheapest = (line.least or unmet.need) - unmet.own_free
        return cheapest if 0 < cheapest <= available else 0
    return max(0, amount)


def recalls(account: Account, epoch: str, line: AccountReport, now: int) -> dict[str, int]:
    """What to ask back from other epochs so that the refused attempt of this one fits; empty where nothing helps."""
    unmet = _unmet(account, epoch, line, now)
    if not line.urgent or unmet.wants <= 0 or unmet.attainable < unmet.need:
        return {}
    lacking = unmet.need - unmet.own_free - max(0, account.available) - _pending(account, epoch)
    return _collect(_elsewhere(account, epoch, unmet.need, now), lacking)


def overdrawn(account: Account) -> dict[str, int]:
    """What to ask back after the limit fell below what is granted."""
    offers = {name: lease.free for name, lease in account.open.items() if lease.free}
    return _collect(offers, -account.available - _pending(account))


class _Unmet(NamedTuple):
    """`need`: the dearest waiting attempt that can be made up at all, else the cheapest. `attainable`: all that could come together."""

    wants: int
    need: int
    own_free: int
    attainable: int


def _unmet(account: Account, epoch: str, line: AccountReport, now: int) -> _Unmet:
    """What is granted and has not reached the epoch yet counts as there."""
    lease = account.open.get(epoch)
    underway = lease.granted - line.granted if lease is not None else 0
    own_free = lease.free if lease is not None else 0
    here = own_free + max(0, account.available) + _pending(account, epoch)
    found = _Unmet(line.wants - underway, 0, own_free, 0)
    for need in (line.need or min(line.wants, 1), line.least or line.need):
        found = found._replace(need=need, attainable=here + sum(_elsewhere(account, epoch, need, now).values()))
        if found.attainable >= need:
            break
    return found


def _pending(account: Account, asker: str = "") -> int:
    """What others were asked for and have not returned."""
    return sum(max(0, lease.recall - lease.returned) for name, lease in account.open.items() if name != asker)


def _elsewhere(account: Account, epoch: str, need: int, now: int) -> dict[str, int]:
    """What each other holder that is heard of could do without."""
    found = {}
    for name, lease in account.open.items():
        if name == epoch or accounts.silent(lease, now) or not lease.free:
            continue
        idle = lease.held == 0 or lease.free < need
        found[name] = lease.free if idle else lease.free // 2
    return found


def _collect(offers: dict[str, int], lacking: int) -> dict[str, int]:
    """The largest offers first, until nothing is lacking."""
    taken: dict[str, int] = {}
    for name, offer in sorted(offers.items(), key=lambda item: (-item[1], item[0])):
        if lacking <= 0:
            break
        taken[name] = min(offer, lacking)
        lacking -= taken[name]
    return {name: amount for name, amount in taken.items() if amount > 0}

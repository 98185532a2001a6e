"""How much to grant, and from whom to ask it back. Pure policy: whatever is decided here, no bound is at stake, only waiting.

- A grant is what is wanted, but at most available / (2 N) for N holders, so that a newcomer finds something and a crash strands little;
  and at least one attempt, because less serves nobody. Near the limit grants become single attempts, for the refused only: foresight
  would take back at once what was called back for somebody else.
- A rest that would be smaller than one attempt goes along with the last grant: such an account is pinned to one holder.
- Where money lies idle at others while an attempt was refused here, it is called back: all that is free from holders with nothing in
  flight or with less than an attempt, half from the busy ones. Not where all of it together would not make up an attempt.
"""

from turnout_operator.quota import account as accounts
from turnout_operator.quota.account import Account
from turnout_sidecar.policy.report import AccountReport


def grant(account: Account, epoch: str, line: AccountReport, holders: int) -> int:
    """What to add to the epoch's lease, at least 0 and at most what is available."""
    wants, need, own_free = _unmet(account, epoch, line)
    available = account.available
    if wants <= 0 or available <= 0:
        return 0
    share = available // (2 * max(1, holders))
    if not line.urgent and share < need:
        return 0
    amount = min(available, max(min(wants, share), need - own_free))
    if available - amount < need:
        amount = available
    return max(0, amount)


def recalls(account: Account, epoch: str, line: AccountReport, now: int) -> dict[str, int]:
    """What to ask back from other epochs so that the refused attempt of this one fits; empty where nothing helps."""
    wants, need, own_free = _unmet(account, epoch, line)
    if not line.urgent or wants <= 0:
        return {}
    pending = sum(max(0, lease.recall - lease.returned) for name, lease in account.open.items() if name != epoch)
    lacking = need - own_free - max(0, account.available) - pending
    offers = _elsewhere(account, epoch, need, now)
    return _collect(offers, lacking) if sum(offers.values()) >= lacking else {}


def overdrawn(account: Account) -> dict[str, int]:
    """What to ask back after the limit fell below what is granted."""
    pending = sum(max(0, lease.recall - lease.returned) for lease in account.open.values())
    return _collect(
        {name: lease.free for name, lease in account.open.items() if lease.free}, -account.available - pending
    )


def _unmet(account: Account, epoch: str, line: AccountReport) -> tuple[int, int, int]:
    """Wants, need and free money of the epoch, with what is granted but has not reached it yet taken into account."""
    lease = account.open.get(epoch)
    underway = lease.granted - line.granted if lease is not None else 0
    own_free = lease.free if lease is not None else 0
    return line.wants - underway, line.need or min(line.wants, 1), own_free


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

"""The hold of one attempt: its upper bound in every account that pays for it, before anything is sent.

What does not fit is asked for with a lower output cap, as long as the route calls that an answer. While no lease has come yet
there is nothing to be frugal about: the ledger is asked first, and the cap is lowered when the wait is over.
"""

from typing import NamedTuple

from turnout_sidecar.core.budget import Book, Hold, Shortfall, ShortfallKind
from turnout_sidecar.core.faults import Run
from turnout_sidecar.policy.model import Price
from turnout_sidecar.policy.pricing import affordable_output, attempt_bound
from turnout_sidecar.policy.units import Millis, NanoUSD, Tokens


class Ask(NamedTuple):
    """What one attempt needs. `ceiling`: what the route's Request limit leaves of the chain; `floor`: the shortest useful answer."""

    price: Price
    accounts: tuple[str, ...]
    input_bound: Tokens
    cap: Tokens
    answers: int
    floor: Tokens
    ceiling: NanoUSD | None
    run: Run | None
    """a drill pays from its own allowance"""


class Held(NamedTuple):
    """`amount` bounds the attempt. `hold` is None where no account has to pay: a free model, or a drill's probe."""

    hold: Hold | None
    amount: NanoUSD
    input_bound: Tokens
    cap: Tokens
    clamped: bool


REQUEST_LIMIT = "request limit/-"
DRILL_ALLOWANCE = "drill allowance/-"


def reserve(book: Book, ask: Ask, now: Millis, *, frugal: bool) -> Held | Shortfall:
    """Holds for one attempt. `frugal`: rather a shorter answer now than to wait for a lease."""
    amount = attempt_bound(ask.price, ask.input_bound, Tokens(ask.cap * ask.answers))
    if ask.ceiling is not None and amount > ask.ceiling:
        lower = _lowered(ask, ask.ceiling)
        if lower is None:
            return Shortfall(REQUEST_LIMIT, ShortfallKind.EXHAUSTED, ask.ceiling, None)
        held = reserve(book, lower, now, frugal=frugal)
        return held._replace(clamped=True) if isinstance(held, Held) else held
    if amount == 0:
        return Held(None, amount, ask.input_bound, ask.cap, clamped=False)
    if ask.run is not None:
        return _from_allowance(ask, ask.run, amount)
    if not ask.accounts:
        return Held(None, amount, ask.input_bound, ask.cap, clamped=False)
    held_or_not = book.hold(tuple([(account, amount) for account in ask.accounts]), now)
    if isinstance(held_or_not, Hold):
        return Held(held_or_not, amount, ask.input_bound, ask.cap, clamped=False)
    if held_or_not.kind is ShortfallKind.NO_LEASE and not frugal:
        return held_or_not
    return _clamped(book, ask, held_or_not, now)


def _clamped(book: Book, ask: Ask, short: Shortfall, now: Millis) -> Held | Shortfall:
    free = NanoUSD(min(book.free(account) for account in ask.accounts))
    lower = _lowered(ask, free)
    if lower is None:
        return short
    amount = attempt_bound(ask.price, ask.input_bound, Tokens(lower.cap * ask.answers))
    hold = book.hold(tuple([(account, amount) for account in ask.accounts]), now)
    return Held(hold, amount, ask.input_bound, lower.cap, clamped=True) if isinstance(hold, Hold) else short


def _lowered(ask: Ask, budget: NanoUSD) -> Ask | None:
    """With the highest output cap that `budget` can pay; None where that would be no answer."""
    cap = Tokens(affordable_output(ask.price, ask.input_bound, budget) // ask.answers)
    if cap < min(ask.floor, ask.cap) or cap < 1:
        return None
    return ask._replace(cap=Tokens(min(cap, ask.cap)))


def _from_allowance(ask: Ask, run: Run, amount: NanoUSD) -> Held | Shortfall:
    if run.hold(amount):
        return Held(None, amount, ask.input_bound, ask.cap, clamped=False)
    return Shortfall(DRILL_ALLOWANCE, ShortfallKind.EXHAUSTED, NanoUSD(0), None)

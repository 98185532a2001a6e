"""What must hold of a demo, whatever happened in it: each law broken is one sentence. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from demo import books, workload
from demo.books import Balance, Charges
from demo.drill import Drill
from demo.result import Outcome, Result

FIRST = {workload.SUPPORT: frozenset({"gpt-5-mini"}), workload.DRAFT: frozenset({"claude-sonnet-5", "gpt-5-mini"})}
"""Models that a route may ask first: case-draft sends short prompts to the small model."""
EXPLAINED = frozenset({"budget_exhausted", "budget_held", "context_length_exceeded"})
"""Refusals that the routes declare; others are explained by a degradation step."""
_SHOWN = 3


def breaches(
    results: Sequence[Result], balances: Sequence[Balance], charges: Sequence[Charges], drill: Drill
) -> tuple[str, ...]:
    """Empty where every bound held and everything that the demo is to show was seen."""
    return (
        *_money(balances, charges),
        *_answers(results),
        *_signals(results, charges),
        *_drill(drill, books.strangers(charges)),
        *_nothing_proven(results),
    )


def ran_out(result: Result) -> bool:
    """Whether a budget decided what became of the request."""
    return result.code == "budget_exhausted" or result.degraded == "OverBudget"


def fell_back(result: Result) -> bool:
    """Whether another candidate answered because the first could not."""
    return result.outcome is Outcome.ANSWERED and bool(result.degraded) and result.degraded != "OverBudget"


def _money(balances: Iterable[Balance], charges: Sequence[Charges]) -> Iterator[str]:
    for b in balances:
        name = " ".join(filter(None, (b.limit.route, b.limit.name, b.limit.tenant)))
        if b.billed > b.allowed:
            yield f"budget: {name}: the providers billed {_usd(b.billed)} of {_usd(b.allowed)}"
        if b.spent + b.held > b.allowed:
            yield f"budget: {name}: the ledger gave out {_usd(b.spent + b.held)} of {_usd(b.allowed)}"
        if not b.is_settled:
            yield f"budget: {name}: the ledger knows of {_usd(b.spent)}, the providers billed {_usd(b.billed)}"
    if not any(c.total for c in charges):
        yield "budget: no provider billed anything, so nothing was compared"


def _answers(results: Sequence[Result]) -> Iterator[str]:
    short = [r for r in results if r.outcome is Outcome.SHORT]
    yield from _several(short, "ended as if whole and were not")
    yield from _several([r for r in results if r.outcome is Outcome.LOST], "got no answer at all")
    refused = [r for r in results if r.outcome is Outcome.REFUSED]
    yield from _several(
        [r for r in refused if r.code not in EXPLAINED and not r.degraded], "were refused for no declared reason"
    )


def _signals(results: Sequence[Result], charges: Sequence[Charges]) -> Iterator[str]:
    """Providers' bills say who was asked; an answer that the first choice had no part in must say that it is degraded."""
    answered = [r for r in results if r.outcome is Outcome.ANSWERED]
    silent = [r for r in answered if not r.degraded and not books.models_of(r.ask.tag, charges) & FIRST[r.ask.route]]
    yield from _several(silent, "came from a fallback and did not say so")
    yield from _several([r for r in answered if r.degraded and not r.step], "were degraded and named no step")


def _drill(drill: Drill, billed: int) -> Iterator[str]:
    if drill.verdict != "Passed":
        yield f"drill: {drill.name} of {drill.route} is {drill.verdict or 'without a verdict'}: {drill.words}"
    if billed > drill.cost:
        yield f"drill: its probes were billed {_usd(billed)}, its status says {_usd(drill.cost)}"


def _nothing_proven(results: Sequence[Result]) -> Iterator[str]:
    if not any(ran_out(r) for r in results):
        yield "nothing proven: no budget ran out"
    if not any(fell_back(r) for r in results):
        yield "nothing proven: no request fell back to another candidate"


def _several(found: Sequence[Result], what: str) -> Iterator[str]:
    if found:
        shown = "; ".join(_one(r) for r in found[:_SHOWN])
        yield f"answers: {len(found)} {what}: {shown}{' …' if len(found) > _SHOWN else ''}"


def _one(r: Result) -> str:
    facts = (
        f"#{r.ask.number} {r.ask.route}",
        str(r.status),
        r.code,
        r.words[:120],
        f"finish={r.finish}" * bool(r.finish),
    )
    return " ".join(fact for fact in facts if fact)


def _usd(nano: int) -> str:
    return f"${nano / books.NANO:.6f}"

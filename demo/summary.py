"""Results and books made into the figures that are shown. Pure; the same values become tables and JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from demo.books import Balance, Charges
from demo.drill import Drill
from demo.result import Outcome, Result

_NO_ANSWER = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds; None where there was nothing to measure."""

    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Answers of one kind: a route, who gave them, and why not the first choice. `why` is empty where nothing was wrong."""

    route: str
    candidate: str
    why: str
    answers: int
    first_token: Latency
    total: Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class NotServed:
    """Requests of one kind that got no whole answer."""

    route: str
    outcome: str
    status: int
    code: str
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """One limit. US dollars as decimal strings."""

    route: str
    limit: str
    tenant: str
    budget: str
    ledger_spent: str
    ledger_held: str
    providers_billed: str
    used_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What one provider charged."""

    provider: str
    requests: int
    input_tokens: int
    output_tokens: int
    billed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All of it. `breaches` is empty where every bound held."""

    requests: int
    answered: int
    degraded: int
    refused: int
    clamped: int
    served: tuple[Served, ...]
    not_served: tuple[NotServed, ...]
    money: tuple[Money, ...]
    bills: tuple[Bill, ...]
    drill: Drill
    routes: str
    breaches: tuple[str, ...]


def summarise(
    results: Sequence[Result],
    balances: Sequence[Balance],
    charges: Sequence[Charges],
    drill: Drill,
    routes: str,
    breaches: tuple[str, ...],
) -> Summary:
    """`routes` is what kubectl shows."""
    answered = [r for r in results if r.outcome is Outcome.ANSWERED]
    return Summary(
        requests=len(results),
        answered=len(answered),
        degraded=sum(bool(r.degraded) for r in answered),
        refused=sum(r.outcome is Outcome.REFUSED for r in results),
        clamped=sum(r.clamped is not None for r in answered),
        served=tuple(_served(answered)),
        not_served=tuple(_not_served(results)),
        money=tuple(_money(b) for b in balances),
        bills=tuple(_bill(c) for c in charges),
        drill=drill,
        routes=routes,
        breaches=breaches,
    )


def percentile(values: Iterable[float], share: float) -> float | None:
    """The nearest rank: a value that was measured, and never a mean of two."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def usd(nano: int) -> str:
    """To a millionth of a dollar, rounded up: a bill is never shown smaller than it is."""
    micro = -(-nano // 1000)
    return f"{micro // 1_000_000}.{micro % 1_000_000:06d}"


def _served(answered: Sequence[Result]) -> Iterable[Served]:
    kinds = sorted({(r.ask.route, bool(r.degraded), r.candidate, r.degraded) for r in answered})
    for route, _, candidate, why in kinds:
        of_kind = [r for r in answered if (r.ask.route, r.candidate, r.degraded) == (route, candidate, why)]
        yield Served(
            route=route,
            candidate=candidate,
            why=why,
            answers=len(of_kind),
            first_token=_latency(r.first_token_ms for r in of_kind if r.first_token_ms is not None),
            total=_latency(r.total_ms for r in of_kind),
        )


def _not_served(results: Sequence[Result]) -> Iterable[NotServed]:
    found = Counter(
        (r.ask.route, r.outcome.value, r.status, r.code or _NO_ANSWER)
        for r in results
        if r.outcome is not Outcome.ANSWERED
    )
    for (route, outcome, status, code), count in sorted(found.items()):
        yield NotServed(route=route, outcome=outcome, status=status, code=code, requests=count)


def _latency(values: Iterable[float]) -> Latency:
    measured = list(values)
    return Latency(p50=percentile(measured, 0.5), p95=percentile(measured, 0.95))


def _money(b: Balance) -> Money:
    return Money(
        route=b.limit.route,
        limit=b.limit.name,
        tenant=b.limit.tenant,
        budget=usd(b.allowed),
        ledger_spent=usd(b.spent),
        ledger_held=usd(b.held),
        providers_billed=usd(b.billed),
        used_percent=round(100 * b.billed / b.allowed, 1),
    )


def _bill(charges: Charges) -> Bill:
    return Bill(
        provider=charges.provider,
        requests=sum(line.requests for line in charges.lines),
        input_tokens=sum(line.input_tokens for line in charges.lines),
        output_tokens=sum(line.output_tokens for line in charges.lines),
        billed=usd(charges.total),
    )

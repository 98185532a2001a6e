"""What is filled in where a person wrote nothing and the value follows from something else, each with its ancestry.

Constants that stand on the API models (backoff 100ms to 2s, retry budget 20 % and 3, `maxHoldWait` 250ms, `maxLeaseWait` 500ms, pool
health 5 failures / 30s / 1 probe / 5m) are defaults there; their ancestry: full jitter of 0.1 to 1 s and doubling is what AWS's and
Envoy's retry policies do; the retry budget is Envoy's own (20 % of active, floor 3); the breaker is the 5 failures and 30 s of the
seeds with Envoy's outlier cap of 300 s. Where `api` already decides, nothing is decided here.
"""

from __future__ import annotations

from turnout_operator.api import LLMRouteSpec
from turnout_operator.api.latency import AttemptBounds
from turnout_sidecar.policy import model as policy
from turnout_sidecar.policy.units import Millis, NanoUSD, Tokens

DRILL_PROBES = 10
"""FallbackDrill's default count; each has a control probe beside it."""


def max_input(spec: LLMRouteSpec) -> Tokens | None:
    """`budget.tokens.maxInput`, else the preset's."""
    written = spec.budget.tokens.max_input if spec.budget and spec.budget.tokens else None
    return _tokens(written, spec.preset.max_input if spec.preset else None)


def max_output(spec: LLMRouteSpec) -> Tokens | None:
    """`budget.tokens.maxOutput`, else the preset's."""
    written = spec.budget.tokens.max_output if spec.budget and spec.budget.tokens else None
    return _tokens(written, spec.preset.max_output if spec.preset else None)


def _tokens(written: int | None, preset: int | None) -> Tokens | None:
    chosen = preset if written is None else written
    return None if chosen is None else Tokens(chosen)


def min_output(largest: Tokens) -> Tokens:
    """An eighth of the output budget: where less is affordable, the OverBudget path answers instead of a torn sentence.

    In the Azure 2023 chat trace the median answer has 129 tokens where routes cap at 1,024, so an eighth still holds half of all
    answers; a higher floor would strand more of a small budget (strict holds at cap 4,096 leave 4 % of it unusable).
    """
    return Tokens(max(1, largest // 8))


def models_matched(spec: LLMRouteSpec, name: str) -> tuple[policy.Match, ...]:
    """`matches`, else requests for a model of the route's name: the client's SDK needs only its `model` changed."""
    if not spec.matches:
        return (policy.Match(models=(name,)),)
    return tuple(
        policy.Match(
            models=tuple(m.models), headers=tuple(policy.HeaderMatch(name=h.name, value=h.value) for h in m.headers)
        )
        for m in spec.matches
    )


def order(spec: LLMRouteSpec) -> tuple[str, ...]:
    """`routing.default`, else the candidates as they are listed."""
    return tuple(c.name for c in spec.routing.default) or tuple(c.name for c in spec.candidates)


def max_per_candidate(attempts: AttemptBounds, most: int) -> int:
    """`maxPerCandidate`, else the whole chain may go to one candidate: `max` already bounds it."""
    return attempts.max_per_candidate or most


def longest_waits(attempts: AttemptBounds, most: int) -> Millis:
    """The longest that backoff can add to a chain of `most` attempts: every attempt but the first waits its ceiling.

    Ceilings are min(backoff.max, backoff.base * 2^n); full jitter draws below them. Retry-After is no part of it: a wait that does
    not fit the rest of the total deadline is not waited for.
    """
    base, ceiling = attempts.backoff.base.millis(), attempts.backoff.max.millis()
    return Millis(sum(min(ceiling, base << n) for n in range(max(most - 1, 0))))


def attempt_deadline(attempts: AttemptBounds, most: int, total: Millis) -> Millis:
    """`attempts.deadline`, else what is left of the total deadline after the longest waits, in equal parts."""
    if attempts.deadline is not None:
        return Millis(attempts.deadline.millis())
    return Millis(max(1, (total - longest_waits(attempts, most)) // most))


def drill_cost(worst_case: NanoUSD) -> NanoUSD:
    """`drills.maxCost`, else what ten probes and their ten controls can cost at the route's worst case."""
    return NanoUSD(2 * DRILL_PROBES * worst_case)

"""Whether a route's bounds hold each other: tokens in windows, attempts in deadlines, the worst case in every Request limit.

Every check looks at what is there: a bound that is missing is the law's to demand, and says nothing here.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from turnout_operator.amounts import dollars, per_million, span
from turnout_operator.api import LLMRouteSpec
from turnout_operator.api.conditions import AcceptedReason
from turnout_operator.api.latency import Targets
from turnout_operator.compiler import defaults
from turnout_operator.compiler.candidates import Resolved
from turnout_operator.compiler.faults import Faults
from turnout_operator.ir import WorstCase
from turnout_sidecar.policy import model as policy
from turnout_sidecar.policy.pricing import attempt_bound
from turnout_sidecar.policy.units import Millis, NanoUSD, Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenage:
    """The token budget of one request."""

    input: Tokens
    output: Tokens


def tokens_of(spec: LLMRouteSpec) -> Tokenage | None:
    """The token budget, presets filled in; None while the law is not met."""
    largest_input, largest_output = defaults.max_input(spec), defaults.max_output(spec)
    if largest_input is None or largest_output is None:
        return None
    return Tokenage(input=largest_input, output=largest_output)


def examine_windows(tokens: Tokenage, candidates: tuple[Resolved, ...], faults: Faults) -> None:
    """Each candidate holds the whole token budget: its window input and output together, its output limit the output."""
    for each in candidates:
        field = f"spec.candidates[{each.index}].model"
        together = tokens.input + tokens.output
        if together > each.model.context_window:
            message = (
                f"model {each.model.name} has a context window of {each.model.context_window} tokens, and the token budget is "
                f"{tokens.input} input + {tokens.output} output = {together}: lower budget.tokens, or choose a larger model"
            )
            faults.refuse(AcceptedReason.TOKENS_DO_NOT_FIT, field, message)
        if tokens.output > each.model.max_output:
            message = (
                f"model {each.model.name} gives at most {each.model.max_output} output tokens, and budget.tokens.maxOutput is "
                f"{tokens.output}: lower it, or choose another model"
            )
            faults.refuse(AcceptedReason.TOKENS_DO_NOT_FIT, field, message)


def deadlines_of(spec: LLMRouteSpec) -> policy.Deadlines | None:
    """The deadlines, the attempt's filled in; None while the law is not met."""
    if spec.latency is None or spec.latency.total is None or spec.latency.total.deadline is None:
        return None
    if spec.attempts is None or spec.attempts.max is None:
        return None
    total = Millis(spec.latency.total.deadline.millis())
    first = spec.latency.time_to_first_token
    return policy.Deadlines(
        first_token=Millis(first.deadline.millis()) if first and first.deadline else None,
        attempt=defaults.attempt_deadline(spec.attempts, spec.attempts.max, total),
        total=total,
        stall=Millis(spec.latency.stall.millis()) if spec.latency.stall else None,
    )


def examine_deadlines(spec: LLMRouteSpec, deadlines: policy.Deadlines, faults: Faults) -> None:
    """Every attempt gets its whole deadline inside the total one.

    The rule: `attempts.max` x `attempts.deadline` + the longest backoff before each attempt but the first <= `latency.total.deadline`,
    and first token <= attempt <= total. Retry-After and waiting for a budget are left out on purpose: the sidecar waits for them
    only as long as the rest of the total deadline allows.
    """
    assert spec.attempts is not None
    most = spec.attempts.max or 1
    waits = defaults.longest_waits(spec.attempts, most)
    needed = most * deadlines.attempt + waits
    if needed > deadlines.total:
        fits = (deadlines.total - waits) // most
        remedy = f"attempts.deadline at most {span(fits)}" if fits > 0 else "a longer latency.total.deadline"
        message = (
            f"{most} attempts of {span(deadlines.attempt)} and {span(waits)} of backoff between them take {span(needed)}, above "
            f"latency.total.deadline {span(deadlines.total)}: write {remedy}, or fewer attempts"
        )
        faults.unless_said(AcceptedReason.DEADLINES_DO_NOT_FIT, "spec.attempts.deadline", message)
    if deadlines.first_token is not None and deadlines.first_token > deadlines.attempt:
        message = (
            f"the first-token deadline {span(deadlines.first_token)} is above the deadline of one attempt "
            f"{span(deadlines.attempt)} and would never act: lower it, raise attempts.deadline, or allow fewer attempts"
        )
        field = "spec.latency.timeToFirstToken.deadline"
        faults.unless_said(AcceptedReason.DEADLINES_DO_NOT_FIT, field, message)


def examine_targets(spec: LLMRouteSpec, faults: Faults) -> None:
    """p50 <= p95 <= p99 <= deadline, and no first token later than the whole answer."""
    if spec.latency is None:
        return
    first, total = spec.latency.time_to_first_token, spec.latency.total
    _examine_order("timeToFirstToken", first, faults)
    _examine_order("total", total, faults)
    for name in ("p50", "p95", "p99"):
        early, late = _millis(first, name), _millis(total, name)
        if early is not None and late is not None and early > late:
            message = (
                f"timeToFirstToken.{name} {span(early)} is above total.{name} {span(late)}: a first token cannot come after the "
                "whole answer"
            )
            faults.unless_said(AcceptedReason.TARGETS_OUT_OF_ORDER, f"spec.latency.timeToFirstToken.{name}", message)


def _examine_order(which: str, targets: Targets | None, faults: Faults) -> None:
    written = [(n, m) for n in ("p50", "p95", "p99", "deadline") if (m := _millis(targets, n)) is not None]
    for (lower, low), (upper, high) in itertools.pairwise(written):
        if low > high:
            message = f"{lower} {span(low)} is above {upper} {span(high)}: write them in order"
            faults.unless_said(AcceptedReason.TARGETS_OUT_OF_ORDER, f"spec.latency.{which}.{lower}", message)


def _millis(targets: Targets | None, name: str) -> int | None:
    written = getattr(targets, name) if targets is not None else None
    return None if written is None else written.millis()


def worst_case(
    spec: LLMRouteSpec, tokens: Tokenage, deadlines: policy.Deadlines, reachable: tuple[Resolved, ...]
) -> WorstCase | None:
    """`attempts.max` times the dearest attempt of any reachable candidate at the full token budget, clamping not counted.

    The latency is what all attempts, the longest of every wait between them, and a wait for a hold and a lease before each add up to,
    and never more than the total deadline, which ends the chain whatever it is doing.
    """
    if not reachable or spec.attempts is None or spec.attempts.max is None or spec.budget is None:
        return None
    most = spec.attempts.max
    bounds = [(attempt_bound(c.model.price, tokens.input, tokens.output), c.name) for c in reachable]
    cost, dearest = max(bounds, key=lambda b: b[0])
    waits = max(defaults.longest_waits(spec.attempts, most), (most - 1) * spec.attempts.honor_retry_after.max.millis())
    admission = most * (spec.budget.max_hold_wait.millis() + spec.budget.max_lease_wait.millis())
    latency = min(deadlines.total, most * deadlines.attempt + waits + admission)
    return WorstCase(
        attempts=most,
        cost=NanoUSD(most * cost),
        latency=Millis(latency),
        dearest=dearest,
        dearest_attempt=NanoUSD(cost),
    )


def examine_request_limits(
    worst: WorstCase,
    tokens: Tokenage,
    limits: tuple[policy.Limit, ...],
    candidates: tuple[Resolved, ...],
    faults: Faults,
) -> None:
    """The worst case fits every Request limit; otherwise the limit would refuse requests that the route invites."""
    dearest = next(c for c in candidates if c.name == worst.dearest)
    price = dearest.model.price
    for limit in limits:
        if limit.scope is not policy.Scope.REQUEST or worst.cost <= limit.amount:
            continue
        dearest_input = max(price.input, price.cached_input, price.cache_write_5m, price.cache_write_1h)
        message = (
            f"the worst case is {worst.attempts} attempts x ${dollars(worst.dearest_attempt)} = ${dollars(worst.cost)}, above this limit of "
            f"${dollars(limit.amount)}; the dearest attempt is candidate {worst.dearest} ({dearest.pool.key} {dearest.model.name}) with "
            f"{tokens.input} input tokens at ${per_million(dearest_input)} and {tokens.output} output tokens at ${per_million(price.output)} "
            f"per million: raise the limit, or lower attempts.max or budget.tokens"
        )
        faults.refuse(AcceptedReason.WORST_CASE_EXCEEDS_LIMIT, f"{limit.origin.field}.cost", message)

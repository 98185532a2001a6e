"""What became of a pool, as its status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from turnout_operator.api.conditions import (
    AcceptedReason,
    AutoscalingReason,
    ConditionType,
    ReadyReason,
    ResolvedRefsReason,
)
from turnout_operator.api.llmroute_status import NotEnforced
from turnout_operator.api.providerpool_status import BreakerState, ModelStatus, ProviderPoolStatus
from turnout_operator.ir import CompiledPool, Diagnostic, Outcome
from turnout_operator.ir import Condition as Faulted
from turnout_operator.render.conditions import (
    Statement,
    dated,
    false,
    in_service,
    judged,
    true,
    unknown,
)
from turnout_operator.render.spending import Spending, budget_statuses

_TYPE = ConditionType
_SHOWN = 64
_WORST_FIRST = (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerState:
    """What the HorizontalPodAutoscaler says of itself: its AbleToScale condition, with its words."""

    able: bool | None
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """All that is known of a pool beside its manifest."""

    outcome: Outcome
    faults: tuple[Diagnostic, ...] = ()
    compiled: CompiledPool | None = None
    """What is in service."""
    autoscaler: AutoscalerState | None = None
    """None while there is no such object."""
    breakers: tuple[tuple[str, BreakerState], ...] = ()
    """(model, state) as each sidecar said; the worst one counts."""
    routes: tuple[str, ...] = ()
    """Every route that names the pool, ``namespace/name``."""
    spending: tuple[Spending, ...] = ()


def pool_status(facts: PoolFacts, previous: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The whole status as a manifest has it; `previous` is the status that stands there now."""
    outcome, compiled = facts.outcome, facts.compiled
    models = compiled.policy.models if compiled is not None else ()
    status = ProviderPoolStatus(
        observed_generation=outcome.generation,
        conditions=dated(_statements(facts), previous.get("conditions") or (), outcome.generation, now),
        models=tuple(ModelStatus(name=m.name, breaker=_worst(m.name, facts)) for m in models),
        routes=tuple(sorted(facts.routes)[:_SHOWN]),
        route_count=len(facts.routes),
        budgets=budget_statuses(compiled.policy.limits, compiled.quota, facts.spending) if compiled is not None else (),
        not_enforced=tuple(
            NotEnforced(field=n.field, since=n.since)
            for n in (compiled.not_enforced[:_SHOWN] if compiled is not None else ())
        ),
    )
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _statements(facts: PoolFacts) -> tuple[Statement, ...]:
    accepted = judged(_TYPE.ACCEPTED, AcceptedReason.ACCEPTED, facts.faults, facts.outcome)
    resolved = judged(_TYPE.RESOLVED_REFS, ResolvedRefsReason.RESOLVED_REFS, facts.faults, facts.outcome)
    autoscaling = _autoscaling(facts)
    failing = next((s for s in (accepted, resolved, autoscaling) if s.status.value == "False"), None)
    ready = (
        true(_TYPE.READY, ReadyReason.READY, in_service(facts.outcome))
        if failing is None
        else false(_TYPE.READY, failing.reason, failing.message)
    )
    stalled = next((s for s in (accepted, resolved) if not s.holds), None)
    return (
        ready,
        accepted,
        resolved,
        autoscaling,
        false(_TYPE.STALLED, ReadyReason.STALLED, "")
        if stalled is None
        else true(_TYPE.STALLED, stalled.reason, stalled.message),
    )


def _autoscaling(facts: PoolFacts) -> Statement:
    kind = _TYPE.AUTOSCALING_READY
    fault = next((f for f in facts.faults if f.condition is Faulted.AUTOSCALING_READY), None)
    if fault is not None:
        return false(kind, fault.reason, f"{fault.field}: {fault.message}")
    if facts.compiled is None or facts.compiled.scaling is None:
        return true(kind, AutoscalingReason.NOT_REQUESTED, "This pool scales nothing.")
    if facts.autoscaler is None or facts.autoscaler.able is None:
        return unknown(kind, AutoscalingReason.PENDING, "The HorizontalPodAutoscaler has not been looked at yet.")
    if facts.autoscaler.able:
        return true(kind, AutoscalingReason.READY, facts.autoscaler.words)
    return false(kind, AutoscalingReason.UNABLE_TO_SCALE, facts.autoscaler.words)


def _worst(model: str, facts: PoolFacts) -> BreakerState:
    states = {state for name, state in facts.breakers if name == model}
    return next((s for s in _WORST_FIRST if s in states), BreakerState.CLOSED)

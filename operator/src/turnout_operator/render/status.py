"""What became of a route, as its status: the compiler's verdict, what sidecars acknowledged, what drills proved, what was spent.

`observedGeneration` always advances, also on failure: a tool that waits for it must not wait for ever. `Ready` is a conjunction of
Accepted, ResolvedRefs and Programmed; a route on its degraded path is still Ready (else a provider's incident blocks every deploy).
Reconciling and Stalled are kstatus' abnormal-true conditions: there while true, absent otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from turnout_operator.amounts import dollars, span
from turnout_operator.api.conditions import (
    AcceptedReason,
    ConditionType,
    DegradationReason,
    ProgrammedReason,
    ReadyReason,
    ResolvedRefsReason,
)
from turnout_operator.api.llmroute_status import (
    DrillVerdict,
    LLMRouteStatus,
    NotEnforced,
    RouteDrills,
    SidecarCount,
    WorstCase,
)
from turnout_operator.ir import CompiledRoute, Diagnostic, Outcome, Service
from turnout_operator.render.conditions import Statement, dated, false, in_service, judged, rfc3339, true, unknown
from turnout_operator.render.rehearsed import Rehearsal, rehearsed
from turnout_operator.render.spending import Spending, budget_statuses

_TYPE = ConditionType
_NEVER = Rehearsal()


@dataclass(frozen=True, slots=True, kw_only=True)
class Programming:
    """What the sidecars of the route's namespace said. `programmed` counts those that acknowledged the policy that holds the
    generation in service and whose clusters can serve; pods in their grace period are in neither count."""

    connected: int = 0
    programmed: int = 0
    refusals: tuple[str, ...] = ()
    """The words of sidecars that refused it."""
    failing: tuple[str, ...] = ()
    """Clusters of this route that cannot serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteFacts:
    """All that is known of a route beside its manifest."""

    outcome: Outcome
    faults: tuple[Diagnostic, ...] = ()
    compiled: CompiledRoute | None = None
    """What is in service."""
    programming: Programming = Programming()
    rehearsal: Rehearsal = _NEVER
    active_step: str | None = ""
    """The degradation step in use; empty while the plan holds, None when no sidecar has said."""
    spending: tuple[Spending, ...] = ()
    spent_today: int | None = None
    """nano-USD since midnight UTC."""
    paused: bool = False


def route_status(facts: RouteFacts, previous: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The whole status as a manifest has it; `previous` is the status that stands there now."""
    outcome, compiled = facts.outcome, facts.compiled
    conditions = dated(_statements(facts, now), previous.get("conditions") or (), outcome.generation, now)
    status = LLMRouteStatus(
        observed_generation=outcome.generation,
        accepted_generation=outcome.served,
        conditions=conditions,
        worst_case=_worst_case(compiled) if compiled is not None else None,
        budgets=budget_statuses(compiled.policy.limits, compiled.quota, facts.spending) if compiled is not None else (),
        spent_today=dollars(facts.spent_today) if facts.spent_today is not None else "",
        active_step=facts.active_step or "",
        sidecars=SidecarCount(connected=facts.programming.connected, programmed=facts.programming.programmed),
        drills=_drills(facts.rehearsal),
        not_enforced=tuple(
            NotEnforced(field=n.field, since=n.since)
            for n in (compiled.not_enforced[:64] if compiled is not None else ())
        ),
    )
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _statements(facts: RouteFacts, now: datetime) -> tuple[Statement, ...]:
    accepted = judged(_TYPE.ACCEPTED, AcceptedReason.ACCEPTED, facts.faults, facts.outcome)
    resolved = judged(_TYPE.RESOLVED_REFS, ResolvedRefsReason.RESOLVED_REFS, facts.faults, facts.outcome)
    programmed = _programmed(facts)
    return (
        _ready(accepted, resolved, programmed, facts.paused),
        accepted,
        resolved,
        programmed,
        rehearsed(facts.compiled.drills if facts.compiled is not None else None, facts.rehearsal, now),
        _degradation(facts),
        _reconciling(programmed),
        _stalled(accepted, resolved, programmed),
        _paused(facts.paused),
    )


def _programmed(facts: RouteFacts) -> Statement:
    """The reasons in the order in which a person must act on them."""
    outcome, told = facts.outcome, facts.programming
    if outcome.service in (Service.REFUSED, Service.STOPPED):
        return false(_TYPE.PROGRAMMED, ProgrammedReason.NOT_ACCEPTED, in_service(outcome))
    if outcome.service is Service.LAST_GOOD:
        message = f"Generation {outcome.generation} is not accepted. {in_service(outcome)}"
        return false(_TYPE.PROGRAMMED, ProgrammedReason.LAST_GOOD, message)
    if told.refusals:
        message = "; ".join(told.refusals)
        return false(_TYPE.PROGRAMMED, ProgrammedReason.REJECTED, f"A sidecar refused the policy: {message}")
    if told.connected == 0:
        message = "No sidecar of this namespace is connected; the next one that connects gets this generation."
        return true(_TYPE.PROGRAMMED, ProgrammedReason.NO_SIDECARS, message)
    if told.failing:
        message = f"Clusters cannot serve: {', '.join(told.failing)}"
        return false(_TYPE.PROGRAMMED, ProgrammedReason.CLUSTERS_NOT_READY, message)
    counted = f"{told.programmed} of {told.connected} sidecars run generation {outcome.generation}."
    if told.programmed < told.connected:
        return false(_TYPE.PROGRAMMED, ProgrammedReason.PENDING, counted)
    return true(_TYPE.PROGRAMMED, ProgrammedReason.PROGRAMMED, counted)


def _ready(accepted: Statement, resolved: Statement, programmed: Statement, paused: bool) -> Statement:
    failing = next((s for s in (accepted, resolved, programmed) if not s.holds), None)
    if failing is not None:
        return false(_TYPE.READY, failing.reason, failing.message)
    if paused:
        return true(_TYPE.READY, ReadyReason.PAUSED, "Reconciliation is paused; what was programmed goes on.")
    return true(_TYPE.READY, ReadyReason.READY, programmed.message)


def _degradation(facts: RouteFacts) -> Statement:
    if facts.active_step is None:
        return unknown(_TYPE.DEGRADATION_ACTIVE, DegradationReason.UNKNOWN, "No sidecar has reported yet.")
    if facts.active_step:
        return true(_TYPE.DEGRADATION_ACTIVE, DegradationReason.ACTIVE, f"Requests are served by {facts.active_step}.")
    return false(_TYPE.DEGRADATION_ACTIVE, DegradationReason.INACTIVE, "The plan holds.")


def _reconciling(programmed: Statement) -> Statement:
    in_progress = programmed.reason in (ProgrammedReason.PENDING, ProgrammedReason.CLUSTERS_NOT_READY)
    make = true if in_progress else false
    return make(_TYPE.RECONCILING, ReadyReason.RECONCILING, programmed.message)


def _stalled(accepted: Statement, resolved: Statement, programmed: Statement) -> Statement:
    """What no waiting mends: somebody must write something."""
    refused = next((s for s in (accepted, resolved) if not s.holds), None)
    if refused is None and programmed.reason == ProgrammedReason.REJECTED:
        refused = programmed
    if refused is None:
        return false(_TYPE.STALLED, ReadyReason.STALLED, "")
    return true(_TYPE.STALLED, refused.reason, refused.message)


def _paused(paused: bool) -> Statement:
    make = true if paused else false
    return make(_TYPE.PAUSED, ReadyReason.PAUSED, "Reconciliation is paused by annotation.")


def _worst_case(compiled: CompiledRoute) -> WorstCase:
    worst = compiled.worst_case
    return WorstCase(attempts=worst.attempts, cost=dollars(worst.cost), latency=span(worst.latency))


def _drills(rehearsal: Rehearsal) -> RouteDrills:
    verdicts = sorted(rehearsal.verdicts, key=lambda v: v.fault)
    latest = max(rehearsal.verdicts, key=lambda v: v.at, default=None)
    return RouteDrills(
        last_schedule_time=rfc3339(rehearsal.last_schedule) if rehearsal.last_schedule else None,
        last_success=rfc3339(rehearsal.last_success) if rehearsal.last_success else None,
        last_verdict=f"{latest.fault} {latest.verdict}" if latest is not None else "",
        verdicts=tuple(
            DrillVerdict(fault=v.fault, verdict=v.verdict, drill=v.drill, time=rfc3339(v.at)) for v in verdicts
        ),
    )

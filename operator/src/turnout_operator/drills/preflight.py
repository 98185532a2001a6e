"""Looking both ways: what must hold before a fault is injected, and whether it is worth waiting for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from turnout_operator.api import FallbackDrill
from turnout_operator.api.conditions import DrillReason
from turnout_operator.api.enums import DrillFault
from turnout_operator.api.fallbackdrill import DrillScope
from turnout_operator.drills import windows
from turnout_operator.drills.names import SCHEDULED_AT
from turnout_operator.drills.view import instant
from turnout_operator.ir import CompiledRoute, DrillFacts
from turnout_sidecar.policy.model import FaultClass
from turnout_sidecar.policy.units import Millis

SUPPORTED = tuple(DrillFault(fault.value) for fault in FaultClass)
"""Faults that the sidecar's overlay can play."""
LATER = "0.2"
"""The version that will rehearse the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known beside the drill itself. Texts are empty where all is well."""

    route_exists: bool
    compiled: CompiledRoute | None
    """What is in service of the route."""
    not_programmed: str
    """Why its sidecars do not run it."""
    degraded: str
    """The degradation step in use now."""
    sidecars: int
    """Of its namespace, reporting."""
    busy: str
    """Another drill that is under way on a pool of this route."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """Why not to start. One that may pass is waited for until the starting deadline."""

    reason: DrillReason
    words: str
    passing: bool = False


def blocker(drill: FallbackDrill, around: Surroundings, now: datetime) -> Blocker | None:
    """The first reason not to inject now; None when all is clear."""
    found = next(_lasting(drill, around), None)
    if found is not None:
        return found
    passing = next(_passing(drill, around, now), None)
    if late(drill, now):
        words = f"it could not start within {drill.spec.starting_deadline} (startingDeadline)"
        if passing is None:
            return Blocker(reason=DrillReason.MISSED_START, words=words)
        return Blocker(reason=passing.reason, words=f"{words}: {passing.words}")
    return passing


def late(drill: FallbackDrill, now: datetime) -> bool:
    """Whether the starting deadline has passed since the drill was made."""
    made = instant(drill.metadata.creation_timestamp)
    return made is not None and now - made > timedelta(milliseconds=drill.spec.starting_deadline.millis())


def _lasting(drill: FallbackDrill, around: Surroundings) -> Iterator[Blocker]:
    """What waiting does not change."""
    yield from (Blocker(reason=DrillReason.NOT_SUPPORTED, words=words) for words in _unsupported(drill))
    name = drill.spec.route_ref.name
    if not around.route_exists:
        yield Blocker(
            reason=DrillReason.ROUTE_NOT_FOUND, words=f"there is no LLMRoute {name} in {drill.metadata.namespace}"
        )
    if around.compiled is not None:
        yield from _misnamed(drill, around.compiled)
        if around.compiled.drills.suspend and _stamped(drill):
            yield Blocker(reason=DrillReason.SUSPENDED, words="drills.suspend is true on the route")
    if around.degraded:
        words = f"the route is degraded now ({around.degraded}): an incident is no time for a rehearsal"
        yield Blocker(reason=DrillReason.DEGRADATION_ACTIVE, words=words)


def _passing(drill: FallbackDrill, around: Surroundings, now: datetime) -> Iterator[Blocker]:
    if around.compiled is None:
        words = (
            f"LLMRoute {drill.spec.route_ref.name} is not in service: its Accepted and ResolvedRefs conditions say why"
        )
        yield Blocker(reason=DrillReason.ROUTE_NOT_READY, words=words, passing=True)
        return
    closed = windows.closed(_lasting_as_long(around.compiled.drills, drill), now)
    if closed:
        yield Blocker(reason=DrillReason.OUTSIDE_WINDOW, words=closed, passing=True)
    if not around.sidecars:
        words = f"no sidecar of namespace {drill.metadata.namespace} reports to this operator"
        yield Blocker(reason=DrillReason.NO_SIDECARS, words=words, passing=True)
    if around.not_programmed:
        yield Blocker(reason=DrillReason.ROUTE_NOT_READY, words=around.not_programmed, passing=True)
    if around.busy:
        words = f"drill {around.busy} is under way on a pool of this route"
        yield Blocker(reason=DrillReason.ANOTHER_DRILL, words=words, passing=True)


def _unsupported(drill: FallbackDrill) -> Iterator[str]:
    """Each sentence names the field and the version that will do it: a drill never quietly does less than was asked."""
    spec = drill.spec
    if len(spec.faults) > 1:
        yield f"faults: this version injects one fault a drill, {LATER} combines them: create one drill for each"
    for fault in spec.faults:
        if fault.type not in SUPPORTED:
            known = ", ".join(SUPPORTED)
            yield f"faults: {fault.type} comes with {LATER}; this version rehearses {known}"
    if spec.scope is DrillScope.LIVE:
        yield f"scope: Live comes with {LATER}; this version rehearses with Probes"
    if spec.probes.prompts is not None:
        yield f"probes.prompts: prompts of your own and checks of their answers come with {LATER}; leave the field out"


def _misnamed(drill: FallbackDrill, route: CompiledRoute) -> Iterator[Blocker]:
    known = {c.name for c in route.policy.candidates}
    for fault in drill.spec.faults:
        for candidate in fault.candidates:
            if candidate.name not in known:
                words = f"faults: {candidate.name} is no candidate of {route.key}; it has {', '.join(sorted(known))}"
                yield Blocker(reason=DrillReason.NOT_SUPPORTED, words=words)


def _stamped(drill: FallbackDrill) -> bool:
    return SCHEDULED_AT in drill.metadata.annotations


def _lasting_as_long(facts: DrillFacts, drill: FallbackDrill) -> DrillFacts:
    return msgspec.structs.replace(facts, fault_duration=Millis(drill.spec.duration.millis()))

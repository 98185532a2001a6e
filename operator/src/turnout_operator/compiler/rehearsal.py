"""When a route's degradation is rehearsed, and whether that can happen often enough to mean anything."""

from __future__ import annotations

import functools
import itertools
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from turnout_operator.amounts import span
from turnout_operator.api import LLMRouteSpec
from turnout_operator.api.conditions import AcceptedReason
from turnout_operator.api.enums import DrillFault, FaultClass
from turnout_operator.api.rehearsal import Drills
from turnout_operator.api.rehearsal import TimeSpan as DeclaredSpan
from turnout_operator.compiler import budgets, defaults
from turnout_operator.compiler.faults import Faults
from turnout_operator.ir import DrillFacts, TimeSpan
from turnout_sidecar.policy.units import Millis, NanoUSD

_ANCHOR = datetime(2024, 1, 1, tzinfo=UTC)
"""Gaps between starts are measured from here, over a leap year: a property of the schedule, not of the day it is read."""
_STARTS = 400


def drills_of(spec: LLMRouteSpec, worst_case: NanoUSD) -> DrillFacts | None:
    """The drill facts with everything filled in; None while no schedule is declared."""
    drills = spec.drills
    if drills is None or drills.schedule is None:
        return None
    zone = drills.time_zone or budgets.UTC
    return DrillFacts(
        schedule=drills.schedule,
        time_zone=zone,
        faults=tuple(f.value for f in faults_of(spec)),
        fault_duration=Millis(drills.fault_duration.millis()),
        max_cost=NanoUSD(drills.max_cost.nano_usd()) if drills.max_cost else defaults.drill_cost(worst_case),
        max_age=Millis(drills.max_age.millis()),
        allowed_windows=tuple(_span(s) for s in drills.allowed_windows),
        exclusion_windows=tuple(_span(s) for s in drills.exclusion_windows),
        starting_deadline=Millis(drills.starting_deadline.millis()),
        keep_successful=drills.successful_drills_history_limit,
        keep_failed=drills.failed_drills_history_limit,
        suspend=drills.suspend,
    )


def faults_of(spec: LLMRouteSpec) -> tuple[DrillFault, ...]:
    """`drills.faults`, else every fault class that a degradation path names, in the order of the enum."""
    if spec.drills is not None and spec.drills.faults:
        return tuple(f for f in DrillFault if f in spec.drills.faults)
    paths = spec.degradation.paths if spec.degradation is not None else ()
    named = {fault for path in paths for fault in path.faults}
    return tuple(DrillFault(f.value) for f in FaultClass if f in named)


def examine(spec: LLMRouteSpec, faults: Faults) -> None:
    """The zones exist, the schedule fires, and at least as often as a rehearsal stays fresh."""
    drills = spec.drills
    if drills is None:
        return
    zones = [("spec.drills.timeZone", drills.time_zone)]
    for name, spans in (("allowedWindows", drills.allowed_windows), ("exclusionWindows", drills.exclusion_windows)):
        zones += [(f"spec.drills.{name}[{i}].timeZone", s.time_zone) for i, s in enumerate(spans)]
    for field, zone in zones:
        if zone is not None and not budgets.is_zone(zone):
            message = f"there is no time zone {zone}: write an IANA name such as Europe/Berlin"
            faults.refuse(AcceptedReason.INVALID, field, message)
    if drills.schedule is not None and (drills.time_zone is None or budgets.is_zone(drills.time_zone)):
        _examine_schedule(drills, drills.schedule, faults)


def _examine_schedule(drills: Drills, schedule: str, faults: Faults) -> None:
    field = "spec.drills.schedule"
    try:
        longest = _longest_gap(schedule, drills.time_zone or budgets.UTC)
    except CronSimError as error:
        message = f'{schedule!r} is no cron schedule ({error}): write five fields, for example "0 10 * * 2"'
        faults.refuse(AcceptedReason.INVALID, field, message)
        return
    if longest is None:
        message = f'{schedule!r} never comes: write a schedule with a date that exists, for example "0 10 * * 2"'
        faults.refuse(AcceptedReason.NOT_REHEARSABLE, field, message)
    elif longest > drills.max_age.millis():
        message = (
            f"{schedule!r} leaves up to {span(longest)} between drills, and a rehearsal older than maxAge {span(drills.max_age.millis())} "
            "counts as none: rehearse more often, or raise maxAge"
        )
        faults.refuse(AcceptedReason.NOT_REHEARSABLE, "spec.drills.maxAge", message)


@functools.lru_cache(maxsize=1024)
def _longest_gap(schedule: str, zone: str) -> int | None:
    """The milliseconds of the longest gap between starts; None when it never starts. Raises CronSimError for what is no schedule."""
    starts = list(itertools.islice(CronSim(schedule, _ANCHOR.astimezone(ZoneInfo(zone))), _STARTS))
    if not starts:
        return None
    gaps = [later.astimezone(UTC) - earlier.astimezone(UTC) for earlier, later in itertools.pairwise(starts)]
    return int(max(gaps).total_seconds() * 1000) if gaps else 0


def _span(declared: DeclaredSpan) -> TimeSpan:
    return TimeSpan(
        start=declared.start,
        duration=Millis(declared.duration.millis()),
        time_zone=declared.time_zone or budgets.UTC,
    )

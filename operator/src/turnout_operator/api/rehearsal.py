"""The drills of a route: when they run, what they inject, what they may cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from turnout_operator.api import spans
from turnout_operator.api.enums import DrillFault
from turnout_operator.api.model import Blame, Model, Rule, as_set, listed
from turnout_operator.api.types import CronSchedule, Duration, LocalTime, Money, Percent, Zone


class TimeSpan(Model):
    """From a wall-clock time, for a duration; UTC unless a zone is written."""

    cel_rules = (spans.positive("duration"),)
    start: LocalTime
    duration: Duration
    time_zone: Zone | None = None


class LiveDrills(Model):
    """Whether drills may touch real traffic, and at most which share."""

    cel_rules = (
        Rule(
            cel="!has(self.allowed) || !self.allowed || (has(self.maxPercent) && self.maxPercent > 0)",
            message="live drills are allowed for no request at all: write the largest share in maxPercent, for example 5",
            at=".maxPercent",
            blame=Blame.REQUIRED,
        ),
    )
    allowed: bool = False
    max_percent: Percent = 0


LONGEST_FAULT = "15m"
"""No fault may outlast this, whoever forgets it."""
HistoryLimit = Annotated[int, Field(strict=True, ge=0, le=100)]


class Drills(Model):
    """A path that is never rehearsed is not a path: stamps FallbackDrills as a CronJob stamps Jobs."""

    cel_rules = (
        Rule(
            cel=spans.within("self.faultDuration", most=LONGEST_FAULT),
            message=f"faultDuration must be above zero and at most {LONGEST_FAULT}",
            at=".faultDuration",
        ),
        spans.positive("maxAge"),
        Rule(
            cel="!has(self.maxCost) || self.maxCost.matches('[1-9]')",
            message='a drill that may spend nothing sends no probe: write an amount above zero such as "0.50"',
            at=".maxCost",
        ),
    )
    schedule: CronSchedule | None = None
    time_zone: Zone | None = None
    """UTC unless it is written."""
    faults: Annotated[tuple[DrillFault, ...], as_set(most=10)] = ()
    """All that the degradation paths name unless they are written."""
    fault_duration: Duration = Duration("30s")
    max_cost: Money | None = None
    """The most that the probes of one drill may spend."""
    max_age: Duration = Duration("336h")
    """A rehearsal older than this makes the route Rehearsed=False."""
    live: LiveDrills = LiveDrills()
    allowed_windows: Annotated[tuple[TimeSpan, ...], listed(most=32)] = ()
    """Drills start only inside one of these; empty means at any time."""
    exclusion_windows: Annotated[tuple[TimeSpan, ...], listed(most=32)] = ()
    starting_deadline: Duration = Duration("60s")
    """A start that was missed for longer than this is skipped."""
    successful_drills_history_limit: HistoryLimit = 3
    failed_drills_history_limit: HistoryLimit = 5
    suspend: bool = False

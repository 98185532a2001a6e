"""One scheduled time rehearses every declared fault, one drill after another: two at once would disturb each other's evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from turnout_operator.drills import windows
from turnout_operator.drills.names import drill_name
from turnout_operator.drills.view import DrillView
from turnout_operator.ir import DrillFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Create this drill now."""

    name: str
    fault: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A drill of the series is under way; its end brings us back."""

    name: str


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing more comes of this scheduled time. `left` are faults that it will not rehearse any more."""

    left: tuple[str, ...] = ()


def step(
    namespace: str, route: str, facts: DrillFacts, scheduled: datetime, existing: Mapping[str, DrillView], now: datetime
) -> Stamp | Waiting | Over:
    """What to do for the scheduled time, given the drills that exist by name.

    The first drill may start within the starting deadline of the scheduled time, each later one within that of its predecessor's end:
    an operator that was away for longer does not go on with an old series.
    """
    free = scheduled
    for index, fault in enumerate(facts.faults):
        name = drill_name(namespace, route, fault, scheduled)
        drill = existing.get(name)
        if drill is None:
            late = now - free > timedelta(milliseconds=facts.starting_deadline)
            if late or facts.suspend or windows.closed(facts, now):
                return Over(left=facts.faults[index:])
            return Stamp(name=name, fault=fault)
        if not drill.done:
            return Waiting(name)
        free = max(free, drill.completed or free)
    return Over()

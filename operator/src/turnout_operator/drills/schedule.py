"""Which scheduled time is due, which were missed, and when to look again.

A start that was missed for longer than the starting deadline is passed over and said, never caught up: a fault off its schedule is an
outage (that is what catch-up at any time did to others). Clock changes follow cron's rules as cronsim has them: a time that the zone
skips runs right after the gap, one that it has twice runs once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from turnout_operator.drills import windows
from turnout_operator.ir import DrillFacts

MOST_COUNTED = 100
"""Missed starts are counted up to here; more is told as that many."""
_MINUTE = timedelta(minutes=1)


class UnreadableSchedule(ValueError):  # noqa: N818 - the compiler refuses such a route; this is for one that an older compiler accepted
    """Not five cron fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """Scheduled times that will not be run: how many, the latest of them, and why."""

    count: int
    latest: datetime
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """What a schedule asks for now."""

    due: datetime | None
    """The scheduled time to run now."""
    passed: Passed | None
    next: datetime | None
    """The next scheduled time after now; None when the schedule never comes again."""


def agenda(facts: DrillFacts, since: datetime, now: datetime) -> Agenda:
    """What happened on the schedule after `since` (exclusive), up to `now`. Raises `UnreadableSchedule`.

    `since` is the last scheduled time that was run or passed over, or the route's creation.
    """
    upcoming = next(_ticks(facts, now), None)
    if facts.suspend:
        return Agenda(due=None, passed=None, next=upcoming)
    ticks = _between(facts, since, now)
    if not ticks:
        return Agenda(due=None, passed=None, next=upcoming)
    due = _startable(facts, ticks[-1], now)
    left = ticks[:-1] if due else ticks
    passed = Passed(count=len(left), latest=left[-1], why=_why(facts, left[-1])) if left else None
    return Agenda(due=due, passed=passed, next=upcoming)


def _startable(facts: DrillFacts, tick: datetime, now: datetime) -> datetime | None:
    on_time = now - tick <= timedelta(milliseconds=facts.starting_deadline)
    return tick if on_time and not windows.closed(facts, now) else None


def _why(facts: DrillFacts, tick: datetime) -> str:
    closed = windows.closed(facts, tick)
    return closed or "it was missed for longer than drills.startingDeadline"


def _between(facts: DrillFacts, since: datetime, now: datetime) -> list[datetime]:
    """Scheduled times in (since, now]. Where they are very many: the first of them, the last, and all that may still be started."""
    found: list[datetime] = []
    for tick in _ticks(facts, since):
        if tick > now:
            return found
        found.append(tick)
        if len(found) >= MOST_COUNTED:
            break
    recent = now - timedelta(milliseconds=facts.starting_deadline) - _MINUTE
    latest = next((t for t in _ticks(facts, now + _MINUTE, back=True) if t <= now), found[-1])
    startable = itertools.takewhile(lambda t: t <= now, _ticks(facts, recent))
    later = {latest, *itertools.islice(startable, MOST_COUNTED)}
    return [*found, *sorted(t for t in later if t > found[-1])]


def _ticks(facts: DrillFacts, origin: datetime, *, back: bool = False) -> Iterator[datetime]:
    """Scheduled times after an instant, or `back` from it, in UTC."""
    try:
        for local in CronSim(facts.schedule, origin.astimezone(ZoneInfo(facts.time_zone)), reverse=back):
            tick = local.astimezone(UTC)
            if tick < origin if back else tick > origin:
                yield tick
    except CronSimError as e:
        raise UnreadableSchedule(
            f"drills.schedule {facts.schedule!r}: {e}; write five cron fields such as 0 10 * * 2"
        ) from e

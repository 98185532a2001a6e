"""When drills may run: inside an allowed window where there is one, and outside every excluded one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from turnout_operator.ir import DrillFacts, TimeSpan


class Span(NamedTuple):
    """`begins` <= instant < `ends`, both aware."""

    begins: datetime
    ends: datetime


def resolve(span: TimeSpan) -> Span:
    """The instants of a span that was written as wall-clock time. Its duration is real time, also across a change of clocks.

    A wall-clock time that the zone skips is read with the offset before the change, one that it has twice is the first of both.
    """
    from_utc = datetime.fromisoformat(span.start).replace(tzinfo=ZoneInfo(span.time_zone)).astimezone(ZoneInfo("UTC"))
    return Span(from_utc, from_utc + timedelta(milliseconds=span.duration))


def closed(facts: DrillFacts, begins: datetime) -> str:
    """Why a drill must not begin at that instant; empty when it may. An exclusion also bars a drill that would reach into it."""
    ends = begins + timedelta(milliseconds=facts.fault_duration)
    for span in facts.exclusion_windows:
        excluded = resolve(span)
        if begins < excluded.ends and excluded.begins < ends:
            return f"drills are excluded from {_shown(excluded.begins)} to {_shown(excluded.ends)} (drills.exclusionWindows)"
    if facts.allowed_windows and not _inside(facts.allowed_windows, begins):
        return f"{_shown(begins)} is in none of drills.allowedWindows"
    return ""


def _inside(spans: Sequence[TimeSpan], instant: datetime) -> bool:
    return any(w.begins <= instant < w.ends for w in map(resolve, spans))


def _shown(instant: datetime) -> str:
    return instant.astimezone(ZoneInfo("UTC")).strftime("%Y-%m-%dT%H:%M:%SZ")

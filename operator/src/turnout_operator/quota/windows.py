"""The calendar spans of limits. Pure: an instant and a zone in, a span out.

A window is computed once, when its account is opened, and stored with it: a changed tzdata moves future windows only. The id holds
the kind and the start, so the same window has one name, whoever computes it, and an edited window is a new account.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple, assert_never
from zoneinfo import ZoneInfo

from turnout_operator.ir import Window

_DAY = timedelta(days=1)


class Span(NamedTuple):
    """`starts` <= instant < `ends`, Unix milliseconds."""

    id: str
    starts: int
    ends: int


def span(window: Window, zone: str, now: int) -> Span:
    """The window that the instant `now` (Unix milliseconds) lies in. Raises `zoneinfo.ZoneInfoNotFoundError`."""
    tz = _zone(zone)
    match window:
        case Window.MINUTE:
            starts, ends = _fixed(60_000, tz, now)
        case Window.HOUR:
            starts, ends = _fixed(3_600_000, tz, now)
        case Window.DAY:
            starts, ends = _days(tz, now)
        case Window.MONTH:
            starts, ends = _months(tz, now)
        case _:
            assert_never(window)
    start = datetime.fromtimestamp(starts / 1000, UTC)
    return Span(f"{window}@{start:%Y-%m-%dT%H:%M:%S}Z", starts, ends)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _fixed(length: int, tz: ZoneInfo, now: int) -> tuple[int, int]:
    """Full minutes and hours of the zone's clock, which differ from UTC's where the offset is no whole hour."""
    offset = datetime.fromtimestamp(now / 1000, tz).utcoffset()
    assert offset is not None, "a zone has an offset at every instant"
    shift = int(offset.total_seconds()) * 1000
    starts = (now + shift) // length * length - shift
    return starts, starts + length


def _days(tz: ZoneInfo, now: int) -> tuple[int, int]:
    """From midnight to midnight: 23 or 25 hours where clocks change."""
    today = datetime.fromtimestamp(now / 1000, tz).date()
    return _around(now, (_midnight(today + n * _DAY, tz) for n in (-1, 0, 1, 2)))


def _months(tz: ZoneInfo, now: int) -> tuple[int, int]:
    first = datetime.fromtimestamp(now / 1000, tz).date().replace(day=1)
    after = (first + 32 * _DAY).replace(day=1)
    return _around(
        now,
        (_midnight(d, tz) for d in ((first - _DAY).replace(day=1), first, after, (after + 32 * _DAY).replace(day=1))),
    )


def _around(now: int, boundaries: Iterable[int]) -> tuple[int, int]:
    """The neighbours of `now`. A midnight can lie after an instant of its own date where clocks went back across it."""
    known = sorted(set(boundaries))
    return max(b for b in known if b <= now), min(b for b in known if b > now)


def _midnight(day: date, tz: ZoneInfo) -> int:
    """The first instant of the day; where 00:00 is skipped, that is the change itself (fold 0 reads the offset before it)."""
    return int(datetime.combine(day, time(), tz).timestamp() * 1000)

"""Windows of limits: laws over every zone, and the days that clocks change on."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout_operator.ir import Window
from turnout_operator.quota import windows

ZONES = sorted(available_timezones() - {"localtime", "Factory"})
HOUR = 3_600_000
instants = st.integers(min_value=0, max_value=4_102_444_800_000)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@settings(max_examples=1500, derandomize=True, deadline=None)
@given(window=st.sampled_from(Window), zone=st.sampled_from(ZONES), now=instants)
def test_every_instant_lies_in_its_window_and_all_of_that_window_agrees(window: Window, zone: str, now: int) -> None:
    span = windows.span(window, zone, now)
    assert span.starts <= now < span.ends
    if window in (Window.DAY, Window.MONTH):
        assert windows.span(window, zone, span.starts) == span
        assert windows.span(window, zone, span.ends - 1) == span
        assert windows.span(window, zone, span.ends).starts == span.ends


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)], ids=["spring", "autumn", "summer"]
)
def test_a_day_in_berlin_has_as_many_hours_as_its_clock_says(day: str, hours: int) -> None:
    span = windows.span(Window.DAY, "Europe/Berlin", at(f"{day}T12:00"))
    assert span.ends - span.starts == hours * HOUR


def test_a_day_without_midnight_begins_at_the_change() -> None:
    """Beirut goes from 23:59:59 to 01:00 on 29 March 2026."""
    span = windows.span(Window.DAY, "Asia/Beirut", at("2026-03-29T12:00"))
    assert (span.starts, span.ends - span.starts) == (at("2026-03-28T22:00"), 23 * HOUR)


def test_a_day_that_a_zone_skipped_has_no_window() -> None:
    """Samoa had no 30 December 2011."""
    spans = [windows.span(Window.DAY, "Pacific/Apia", at("2011-12-29T00:00") + n * HOUR) for n in range(72)]
    starts = sorted({span.starts for span in spans})
    assert all(later - earlier == 24 * HOUR for earlier, later in pairwise(starts))


def test_months_end_where_the_next_begins() -> None:
    span = windows.span(Window.MONTH, "America/New_York", at("2026-02-15T00:00"))
    assert (span.starts, span.ends) == (at("2026-02-01T05:00"), at("2026-03-01T05:00"))
    assert span.id == "Month@2026-02-01T05:00:00Z"


def test_hours_follow_a_zone_of_half_hours() -> None:
    span = windows.span(Window.HOUR, "Asia/Kolkata", at("2026-05-05T10:10"))
    assert (span.starts, span.ends) == (at("2026-05-05T09:30"), at("2026-05-05T10:30"))

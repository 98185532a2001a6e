"""When drills run: cron with zones, clock changes, windows, missed starts."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_operator.drills import names, schedule, series
from turnout_operator.drills.view import DrillView
from turnout_operator.ir import DrillFacts, TimeSpan

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3_600_000


def facts(**changes: object) -> DrillFacts:
    fields: dict[str, object] = {
        "schedule": "0 10 * * 2",
        "time_zone": "Europe/Berlin",
        "faults": ("Unavailable", "TooSlow"),
        "fault_duration": 30_000,
        "max_cost": 500_000_000,
        "max_age": 336 * HOUR,
        "allowed_windows": (),
        "exclusion_windows": (),
        "starting_deadline": 60_000,
        "keep_successful": 3,
        "keep_failed": 5,
        "suspend": False,
    }
    return DrillFacts(**(fields | changes))  # type: ignore[arg-type]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_the_schedule_is_read_in_its_own_zone() -> None:
    agenda = schedule.agenda(facts(), utc("2026-11-20T00:00"), utc("2026-11-24T09:00:20"))
    assert agenda.due == utc("2026-11-24T09:00")
    assert agenda.passed is None
    assert agenda.next == utc("2026-12-01T09:00")


def test_the_local_hour_stays_across_both_clock_changes() -> None:
    weekly = facts(schedule="0 10 * * *")
    for day in ("2026-03-28", "2026-03-29", "2026-03-30", "2026-10-24", "2026-10-25", "2026-10-26"):
        noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=BERLIN)
        agenda = schedule.agenda(
            facts(schedule="0 10 * * *", starting_deadline=3 * HOUR), noon - timedelta(hours=20), noon
        )
        assert agenda.due is not None
        assert agenda.due.astimezone(BERLIN).strftime("%H:%M") == "10:00"
    assert weekly.time_zone == "Europe/Berlin"


def test_a_time_that_the_zone_skips_runs_once_right_after_the_gap() -> None:
    night = facts(schedule="30 2 * * *", starting_deadline=HOUR)
    agenda = schedule.agenda(night, utc("2026-03-28T12:00"), utc("2026-03-29T01:00:10"))
    assert agenda.due is not None
    assert utc("2026-03-29T01:00") <= agenda.due <= utc("2026-03-29T01:30")
    later = schedule.agenda(night, agenda.due, utc("2026-03-29T20:00"))
    assert later.due is None
    assert later.passed is None


def test_a_time_that_the_zone_has_twice_runs_once() -> None:
    night = facts(schedule="30 2 * * *", starting_deadline=3 * HOUR)
    first = schedule.agenda(night, utc("2026-10-24T12:00"), utc("2026-10-25T00:30:10")).due
    assert first == utc("2026-10-25T00:30")
    assert schedule.agenda(night, first, utc("2026-10-25T02:00")).due is None


def test_a_start_missed_for_longer_than_the_deadline_is_passed_over_and_said() -> None:
    agenda = schedule.agenda(facts(), utc("2026-11-20T00:00"), utc("2026-11-24T09:01:01"))
    assert agenda.due is None
    assert agenda.passed is not None
    assert (agenda.passed.count, agenda.passed.latest) == (1, utc("2026-11-24T09:00"))
    assert "startingDeadline" in agenda.passed.why


def test_after_a_long_absence_only_the_present_time_runs() -> None:
    agenda = schedule.agenda(facts(schedule="*/5 * * * *"), utc("2026-01-01T00:00"), utc("2026-11-24T09:00:01"))
    assert agenda.due == utc("2026-11-24T09:00")
    assert agenda.passed is not None
    assert agenda.passed.count >= schedule.MOST_COUNTED


@pytest.mark.parametrize(
    ("allowed", "excluded", "runs"),
    [
        ((), (("2026-11-24T09:30", HOUR, "Europe/Berlin"),), False),
        ((), (("2026-11-24T10:00", 1, "Europe/Berlin"),), False),
        ((), (("2026-11-24T10:00:15", HOUR, "Europe/Berlin"),), False),
        ((), (("2026-11-24T10:01", HOUR, "Europe/Berlin"),), True),
        ((), (("2026-11-24T10:00", HOUR, "America/New_York"),), True),
        ((("2026-11-24T09:00", 2 * HOUR, "Europe/Berlin"),), (), True),
        ((("2026-11-24T09:00", 2 * HOUR, "America/New_York"),), (), False),
        ((("2026-11-24T09:00", 2 * HOUR, "Europe/Berlin"),), (("2026-11-24T09:59", HOUR, "Europe/Berlin"),), False),
    ],
)
def test_windows_are_read_in_their_own_zones_and_exclusion_wins(
    allowed: tuple[tuple[str, int, str], ...], excluded: tuple[tuple[str, int, str], ...], runs: bool
) -> None:
    limits = facts(allowed_windows=spans(allowed), exclusion_windows=spans(excluded))
    agenda = schedule.agenda(limits, utc("2026-11-24T08:00"), utc("2026-11-24T09:00:00"))
    assert (agenda.due is not None) == runs
    assert (agenda.passed is None) == runs


def spans(written: tuple[tuple[str, int, str], ...]) -> tuple[TimeSpan, ...]:
    return tuple(TimeSpan(start=s, duration=d, time_zone=z) for s, d, z in written)  # type: ignore[arg-type]


def test_an_exclusion_lasts_in_real_time_across_a_clock_change() -> None:
    night = facts(schedule="0 4 * * *", exclusion_windows=spans((("2026-10-25T00:00", 4 * HOUR, "Europe/Berlin"),)))
    assert schedule.agenda(night, utc("2026-10-24T12:00"), utc("2026-10-25T03:00")).due is not None


def test_a_suspended_schedule_starts_nothing() -> None:
    agenda = schedule.agenda(facts(suspend=True), utc("2026-11-20T00:00"), utc("2026-11-24T09:00:00"))
    assert (agenda.due, agenda.passed) == (None, None)


def test_an_unreadable_schedule_says_what_would_be_right() -> None:
    with pytest.raises(schedule.UnreadableSchedule, match="write five cron fields"):
        schedule.agenda(facts(schedule="at ten"), utc("2026-11-20T00:00"), utc("2026-11-24T09:00"))


@given(
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 * * * *", "15 10 * * 2", "0 3 29 3 *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001 - made aware below
    st.lists(st.integers(1, 5_000), min_size=1, max_size=12),
)
def test_however_often_one_looks_no_scheduled_time_runs_twice_nor_out_of_order(
    cron: str, zone: str, start: datetime, minutes: list[int]
) -> None:
    limits = facts(schedule=cron, time_zone=zone, starting_deadline=10 * 60_000)
    last = now = start.replace(tzinfo=UTC)
    ran: list[datetime] = []
    for step in minutes:
        now += timedelta(minutes=step)
        agenda = schedule.agenda(limits, last, now)
        if agenda.due is not None:
            assert now - timedelta(minutes=10) <= agenda.due <= now
            ran.append(agenda.due)
        reached = agenda.due or (agenda.passed.latest if agenda.passed else None)
        if reached is not None:
            assert reached > last
            last = reached
    assert ran == sorted(set(ran))


# Names


NAME = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
FAULT = st.sampled_from(["Unavailable", "RateLimited", "TooSlow", "OverBudget", "ContextTooLong"])
TIME = st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)).map(lambda t: t.replace(tzinfo=UTC, microsecond=0))  # noqa: DTZ001
IDENTITY = st.tuples(NAME, NAME, FAULT, TIME)


@given(IDENTITY, IDENTITY)
def test_a_drill_s_name_follows_from_route_fault_and_time_and_nothing_else(
    one: tuple[str, str, str, datetime], other: tuple[str, str, str, datetime]
) -> None:
    first, second = names.drill_name(*one), names.drill_name(*other)
    assert first == names.drill_name(*one[:3], one[3].astimezone(BERLIN))
    assert (first == second) == (one == other)
    assert len(first) <= names.LONGEST
    assert all(c.isalnum() or c == "-" for c in first)
    assert first[0] != "-"
    assert first[-1] != "-"


# A series


T = utc("2026-11-24T09:00")


def drill(fault: str, phase: str = "Done", completed: datetime | None = None) -> DrillView:
    name = names.drill_name("support", "answer", fault, T)
    return DrillView(name=name, fault=fault, scheduled=T, created=T, phase=phase, verdict="Passed", completed=completed)


def step(now: datetime, *existing: DrillView, **changes: object) -> object:
    return series.step("support", "answer", facts(**changes), T, {d.name: d for d in existing}, now)


def test_the_faults_of_one_scheduled_time_run_one_after_another() -> None:
    first = step(T)
    assert isinstance(first, series.Stamp)
    assert first.fault == "Unavailable"
    assert isinstance(step(T, drill("Unavailable", "Observing")), series.Waiting)
    second = step(T + timedelta(minutes=5), drill("Unavailable", completed=T + timedelta(minutes=5)))
    assert isinstance(second, series.Stamp)
    assert second.fault == "TooSlow"
    done = [drill(f, completed=T) for f in ("Unavailable", "TooSlow")]
    assert step(T + timedelta(hours=1), *done) == series.Over()


def test_a_series_that_was_left_for_too_long_is_not_taken_up_again() -> None:
    done = drill("Unavailable", completed=T + timedelta(seconds=40))
    assert step(T + timedelta(minutes=3), done) == series.Over(left=("TooSlow",))


def test_a_series_stops_where_an_exclusion_begins_or_the_schedule_is_suspended() -> None:
    done = drill("Unavailable", completed=T)
    assert step(T, done, suspend=True) == series.Over(left=("TooSlow",))
    closed = spans((("2026-11-24T08:00", HOUR * 5, "UTC"),))
    assert step(T, done, exclusion_windows=closed) == series.Over(left=("TooSlow",))

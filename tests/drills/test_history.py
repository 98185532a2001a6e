"""Which old drills go, and what the others have shown."""

import dataclasses
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from turnout_operator.api.enums import Verdict
from turnout_operator.drills import history
from turnout_operator.drills.view import DrillView
from turnout_operator.handlers.drill_schedule import shown
from turnout_operator.ir import DrillFacts
from turnout_sidecar.policy.units import Millis, NanoUSD

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def facts(successful: int, failed: int) -> DrillFacts:
    return DrillFacts(
        schedule="0 10 * * 2",
        time_zone="UTC",
        faults=("Unavailable", "TooSlow"),
        fault_duration=Millis(30_000),
        max_cost=NanoUSD(1),
        max_age=Millis(1),
        allowed_windows=(),
        exclusion_windows=(),
        starting_deadline=Millis(60_000),
        keep_successful=successful,
        keep_failed=failed,
        suspend=False,
    )


def drill(number: int, verdict: str, fault: str = "Unavailable", *, stamped: bool = True) -> DrillView:
    at = BEGIN + timedelta(days=number)
    return DrillView(
        name=f"{fault.lower()}-{number}",
        fault=fault,
        scheduled=at if stamped else None,
        created=at,
        phase="Done",
        verdict=verdict,
        completed=at,
    )


def test_the_newest_of_each_outcome_are_kept() -> None:
    drills = [drill(n, "Passed") for n in range(5)] + [drill(n, "Inconclusive") for n in range(5, 9)]
    assert history.expired(facts(3, 2), drills, None) == (
        "unavailable-0",
        "unavailable-1",
        "unavailable-5",
        "unavailable-6",
    )


def test_what_a_person_made_is_never_deleted() -> None:
    assert history.expired(facts(0, 0), [drill(n, "Skipped", stamped=False) for n in range(9)], None) == ()


def test_the_series_under_way_is_not_touched() -> None:
    drills = [drill(n, "Skipped") for n in range(3)]
    assert history.expired(facts(0, 0), drills, drills[2].scheduled) == ("unavailable-0", "unavailable-1")


VERDICTS = st.sampled_from([v.value for v in Verdict])


@given(st.lists(st.tuples(VERDICTS, st.sampled_from(["Unavailable", "TooSlow"])), max_size=30), st.integers(0, 3))
def test_deleting_never_changes_what_a_route_has_shown(outcomes: list[tuple[str, str]], keep: int) -> None:
    drills = [drill(n, verdict, fault) for n, (verdict, fault) in enumerate(outcomes)]
    gone = set(history.expired(facts(keep, keep), drills, None))
    kept = [d for d in drills if d.name not in gone]
    assert shown(kept, None).passed == shown(drills, None).passed
    for fault in {d.fault for d in drills}:
        assert sum(d.fault == fault for d in kept) <= 2 * keep + 2


def test_a_pass_counts_until_a_later_drill_fails() -> None:
    passed, failed = drill(1, "Passed"), drill(2, "Failed")
    assert [d.drill for d in shown([passed], None).passed] == [passed.name]
    assert shown([passed, failed], None).passed == ()
    assert shown([passed, failed, drill(3, "Inconclusive")], None).passed == ()
    assert [d.drill for d in shown([passed, failed, drill(4, "Passed")], None).passed] == ["unavailable-4"]


def test_an_inconclusive_drill_neither_proves_nor_disproves() -> None:
    known = shown([drill(1, "Passed"), drill(2, "Inconclusive"), drill(3, "Skipped")], None)
    assert [d.verdict for d in known.verdicts] == [Verdict.SKIPPED]
    assert [d.drill for d in known.passed] == ["unavailable-1"]


def test_a_drill_of_another_way_than_the_present_one_shows_nothing() -> None:
    old = dataclasses.replace(drill(1, "Passed"), proves="before")
    failed = dataclasses.replace(drill(2, "Failed"), proves="before")
    new = dataclasses.replace(drill(3, "Passed"), proves="now")
    current = {"Unavailable": "now"}
    assert shown([old, failed], None, current).verdicts == ()
    assert [d.drill for d in shown([old, failed, new], None, current).passed] == ["unavailable-3"]
    assert shown([new], None, {"Unavailable": "later"}).passed == ()


def test_a_drill_under_way_shows_nothing() -> None:
    running = drill(1, "")
    assert (
        shown(
            [DrillView(**{f: getattr(running, f) for f in DrillView.__slots__} | {"phase": "Observing"})], None
        ).verdicts
        == ()
    )

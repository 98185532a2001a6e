"""A drill's runs inside one sidecar: what begins, what ends by itself, what is told."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_sidecar.core.drills import LONGEST, TELL, Rehearsals
from turnout_sidecar.core.faults import Overlay
from turnout_sidecar.core.probe import MARK, Probe, ProbeAnswer
from turnout_sidecar.policy.model import FaultClass
from turnout_sidecar.policy.report import DrillEvidence, DrillOrder
from turnout_sidecar.policy.units import Millis, NanoUSD

WALL = 1_800_000_000_000
FINE = ProbeAnswer(status=200, headers={"x-turnout-candidate": "small", "x-turnout-path": "small:ok"}, body=b"{}")
DEGRADED = ProbeAnswer(
    status=200,
    headers={
        "x-turnout-candidate": "local",
        "x-turnout-degraded": "Unavailable",
        "x-turnout-step": "candidate:local",
        "x-turnout-path": "small:Unavailable,local:ok",
        "x-turnout-attempts": "2",
        "x-turnout-cost": "0.000012",
    },
    body=b'{"turnout":{"degraded":"Unavailable"}}',
)


class Bed:
    """A sidecar whose clocks are ours. Both run together unless a test turns one."""

    def __init__(self) -> None:
        self.now = 5_000
        self.wall = WALL
        self.overlay = Overlay(random.Random(7), lambda: self.wall)
        self.rehearsals = Rehearsals(self.overlay)

    def pass_time(self, millis: int) -> None:
        self.now += millis
        self.wall += millis

    def order(self, *orders: DrillOrder) -> None:
        self.rehearsals.order(orders, Millis(self.now), self.wall)

    def due(self) -> tuple[Probe, ...]:
        return self.rehearsals.due(Millis(self.now), self.wall)

    def answer(self, probe: Probe, answer: ProbeAnswer) -> None:
        self.rehearsals.answered(probe, answer, Millis(self.now))

    def evidence(self) -> DrillEvidence:
        (told,) = self.rehearsals.evidence(Millis(self.now), self.wall)
        return told

    def meets_fault(self, probe: Probe) -> bool:
        found = self.overlay.find(token(probe), "support/answer", Millis(self.now))
        return found is not None and found.meets("small", "small") is not None

    def work(self, millis: int) -> None:
        """Answers every probe at once, as an honest sidecar would."""
        for _ in range(millis // 10):
            for probe in self.due():
                self.answer(probe, DEGRADED if self.meets_fault(probe) else FINE)
            self.pass_time(10)


def order(**changes: object) -> DrillOrder:
    fields: dict[str, object] = {
        "run": "uid-1",
        "route": "support/answer",
        "fault": "Unavailable",
        "candidates": (),
        "remaining": 30_000,
        "ends": WALL + 30_000,
        "probes": 3,
        "interval": 100,
        "max_cost": NanoUSD(1_000_000),
        "headers": (("x-tenant", "turnout-drill"),),
    }
    return DrillOrder(**(fields | changes))  # type: ignore[arg-type]


def token(probe: Probe) -> str:
    return dict(probe.headers)[MARK.encode()].decode()


def test_control_and_faulted_probes_alternate_and_only_the_faulted_ones_meet_the_fault() -> None:
    bed = Bed()
    bed.order(order())
    seen = []
    for _ in range(40):
        for probe in bed.due():
            seen.append((probe.index, probe.control, bed.meets_fault(probe)))
            bed.answer(probe, FINE)
        bed.pass_time(10)
    assert seen == [(i, c, not c) for i in range(3) for c in (True, False)]


def test_no_token_or_a_wrong_one_meets_the_fault() -> None:
    bed = Bed()
    bed.order(order())
    probe = next(iter(bed.due()))
    for guess in ("", "drill", "uid-1", token(probe)[:-1], token(probe).upper() + "x"):
        assert bed.overlay.find(guess, "support/answer", Millis(bed.now)) is None


def test_a_token_is_worth_nothing_on_another_route() -> None:
    bed = Bed()
    bed.order(order())
    (probe,) = bed.due()
    assert bed.overlay.find(token(probe), "support/other", Millis(bed.now)) is None


def test_an_order_that_is_sent_again_does_not_extend_the_fault() -> None:
    bed = Bed()
    bed.order(order(remaining=1_000, ends=WALL + 1_000))
    bed.pass_time(900)
    bed.order(order(remaining=30_000, ends=WALL + 60_000))
    assert bed.evidence().fault_active
    bed.pass_time(100)
    assert not bed.evidence().fault_active
    assert bed.evidence().state == "Reverted"


@pytest.mark.parametrize("clock", ["monotonic", "wall"])
def test_the_fault_ends_at_its_deadline_by_either_clock_with_nobody_calling(clock: str) -> None:
    bed = Bed()
    bed.order(order(remaining=1_000, ends=WALL + 1_000))
    controls = list(bed.due())
    bed.pass_time(60)
    (faulted,) = [p for p in bed.due() if not p.control]
    assert bed.meets_fault(faulted)
    if clock == "monotonic":
        bed.now += 1_000
    else:
        bed.wall += 1_000
    assert not bed.meets_fault(faulted)
    assert controls


def test_no_fault_outlasts_fifteen_minutes_whatever_the_order_says() -> None:
    bed = Bed()
    bed.order(order(remaining=10 * LONGEST, ends=WALL + 10 * LONGEST))
    bed.pass_time(LONGEST - 1)
    assert bed.evidence().fault_active
    bed.pass_time(1)
    assert not bed.evidence().fault_active


def test_an_answer_without_the_order_reverts_at_once() -> None:
    bed = Bed()
    bed.order(order())
    bed.pass_time(60)
    assert bed.evidence().fault_active
    bed.order()
    assert not bed.evidence().fault_active


def test_no_answer_at_all_changes_nothing_before_the_deadline() -> None:
    bed = Bed()
    bed.order(order(remaining=5_000, ends=WALL + 5_000))
    bed.pass_time(4_999)
    assert bed.evidence().fault_active


def test_a_reverted_run_never_begins_again() -> None:
    bed = Bed()
    bed.order(order())
    bed.order()
    bed.work(100)
    bed.order(order())
    assert not bed.evidence().fault_active
    bed.order()
    bed.pass_time(TELL)
    assert bed.rehearsals.evidence(Millis(bed.now), bed.wall) == ()
    bed.order(order())
    assert bed.rehearsals.evidence(Millis(bed.now), bed.wall) == ()
    assert bed.due() == ()


def test_evidence_holds_what_clients_saw_and_the_state_moves_on() -> None:
    bed = Bed()
    bed.order(order())
    assert bed.evidence().state == "Injecting"
    bed.work(500)
    told = bed.evidence()
    assert told.state == "Observing"
    assert told.fault_active
    faulted = [s for s in told.samples if not s.control]
    assert len(faulted) == 3
    assert faulted[0].path == ("small:Unavailable", "local:ok")
    assert faulted[0].degraded == "Unavailable"
    assert faulted[0].signalled
    assert faulted[0].cost == 12_000
    assert faulted[0].attempts == 2
    assert [s.signalled for s in told.samples if s.control] == [False] * 3


def test_recovery_is_seen_by_a_healthy_probe_after_the_fault() -> None:
    bed = Bed()
    bed.order(order())
    bed.work(500)
    bed.order()
    (probe,) = bed.due()
    assert probe.recovery
    bed.pass_time(40)
    assert bed.evidence().recovered_at is None
    bed.answer(probe, FINE)
    told = bed.evidence()
    assert told.finished
    assert told.fault_ended is not None
    assert told.recovered_at == told.fault_ended + 40


def test_a_route_that_stays_degraded_is_not_recovered_and_the_run_still_ends() -> None:
    bed = Bed()
    bed.order(order(recovery=1_000))
    bed.work(500)
    bed.order()
    for _ in range(150):
        for probe in bed.due():
            bed.answer(probe, DEGRADED)
        bed.pass_time(10)
    told = bed.evidence()
    assert told.finished
    assert told.recovered_at is None


def test_a_slow_faulted_probe_does_not_delay_the_look_for_recovery_and_still_counts() -> None:
    bed = Bed()
    bed.order(order(probes=1, recovery=1_000))
    slow = None
    for _ in range(20):
        for probe in bed.due():
            if probe.control:
                bed.answer(probe, FINE)
            else:
                slow = probe
        bed.pass_time(10)
    assert slow is not None
    bed.order()
    (recovery,) = bed.due()
    bed.pass_time(30)
    bed.answer(recovery, FINE)
    bed.pass_time(5_000)
    assert not bed.evidence().finished
    bed.answer(slow, DEGRADED)
    told = bed.evidence()
    assert told.finished
    assert told.recovered_at == (told.fault_ended or 0) + 30
    assert sum(not s.control for s in told.samples) == 1


def test_an_unanswered_probe_keeps_the_run_from_being_finished() -> None:
    bed = Bed()
    bed.order(order())
    (probe,) = bed.due()
    bed.order()
    bed.pass_time(60_000)
    assert not bed.evidence().finished
    bed.answer(probe, ProbeAnswer(failure="reset, or not in time"))
    told = bed.evidence()
    assert told.finished
    assert told.samples[0].error == "reset, or not in time"


def test_a_probe_that_never_left_is_no_sample() -> None:
    bed = Bed()
    bed.order(order())
    (probe,) = bed.due()
    bed.answer(probe, ProbeAnswer(failure="no listener", sent=False))
    assert bed.evidence().samples == ()


@pytest.mark.parametrize("fault", ["StreamCut", "Flapping", ""])
def test_a_fault_that_the_overlay_cannot_play_is_refused_in_words(fault: str) -> None:
    bed = Bed()
    bed.order(order(fault=fault))
    told = bed.evidence()
    assert told.state == "Refused"
    assert told.finished
    assert "cannot inject" in told.words
    assert bed.due() == ()


def test_an_order_whose_deadline_has_passed_injects_nothing() -> None:
    bed = Bed()
    bed.order(order(ends=WALL))
    assert bed.evidence().state == "Refused"
    assert not bed.evidence().fault_active


@pytest.mark.parametrize("fault", list(FaultClass))
def test_every_declared_fault_class_can_be_injected(fault: FaultClass) -> None:
    bed = Bed()
    bed.order(order(fault=fault))
    assert bed.evidence().fault_active


def test_tokens_of_different_runs_differ_and_none_is_in_the_evidence() -> None:
    bed = Bed()
    bed.order(order(), order(run="uid-2", route="support/other"))
    drawn = {token(p) for p in bed.due()}
    assert len(drawn) == 2
    told = repr(bed.rehearsals.evidence(Millis(bed.now), bed.wall))
    assert not any(t in told for t in drawn)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("time"), st.integers(1, 3_000)),
            st.tuples(st.just("ordered"), st.integers(1, 20_000)),
            st.tuples(st.just("reverted"), st.just(0)),
            st.tuples(st.just("probes"), st.just(0)),
        ),
        max_size=40,
    )
)
def test_whatever_is_ordered_again_no_fault_stands_after_the_first_order_s_deadline(
    steps: list[tuple[str, int]],
) -> None:
    bed = Bed()
    bed.order(order(remaining=4_000, ends=WALL + 4_000))
    began, reverted = bed.now, False
    for what, amount in steps:
        if what == "time":
            bed.pass_time(amount)
        elif what == "ordered":
            bed.order(order(remaining=amount, ends=bed.wall + amount))
        elif what == "reverted":
            bed.order()
            reverted = True
        else:
            for probe in bed.due():
                bed.answer(probe, FINE)
        expected = not reverted and bed.now < began + 4_000
        assert bed.overlay.active("uid-1", Millis(bed.now)) == expected


@given(st.lists(st.sampled_from(["time", "answer", "revert", "again"]), max_size=60), st.integers(0, 3_000))
def test_there_is_always_something_to_wait_for_and_never_a_busy_loop(steps: list[str], recovery: int) -> None:
    bed = Bed()
    bed.order(order(remaining=2_000, ends=WALL + 2_000, recovery=recovery))
    waiting: list[Probe] = []
    reverted = False
    for what in [*steps, *["time"] * 200]:
        if what == "answer" and waiting:
            bed.answer(waiting.pop(), DEGRADED)
        elif what == "revert":
            bed.order()
            reverted = True
        elif what == "again" and not reverted:
            bed.order(order())
        waiting += bed.due()
        at = bed.rehearsals.next_at(Millis(bed.now))
        assert at is None or at > bed.now
        if at is None:
            assert waiting or bed.evidence().finished
        if what == "time":
            bed.pass_time(min(100, max(1, (at or bed.now + 100) - bed.now)))
    while waiting:
        bed.answer(waiting.pop(), DEGRADED)
        waiting += bed.due()
    assert bed.evidence().finished or bed.rehearsals.next_at(Millis(bed.now)) is not None

"""From evidence to verdict: nothing passes without evidence, and every way of going wrong is named."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_operator.api.conditions import DrillReason
from turnout_operator.api.enums import Verdict
from turnout_operator.api.fallbackdrill_status import DrillPhase
from turnout_operator.drills import report, status
from turnout_operator.drills.expected import Expected
from turnout_operator.drills.verdict import Demands, Interruption, Judgement, judge
from turnout_sidecar.policy.report import DrillEvidence, ProbeResult
from turnout_sidecar.policy.units import Millis, NanoUSD

EXPECTED = Expected(
    fault="Unavailable",
    control="small",
    path=("small:Unavailable", "local:ok"),
    candidate="local",
    status=200,
    reason="Unavailable",
    step="candidate:local",
    latency=Millis(15_000),
    cost=NanoUSD(20_000_000),
)
DEMANDS = Demands(min_samples=5, max_cost=NanoUSD(500_000_000), recovery_deadline=Millis(30_000))


def faulted(index: int, **changes: Any) -> ProbeResult:
    fields: dict[str, Any] = {
        "index": index,
        "control": False,
        "at": Millis(500 * index + 250),
        "status": 200,
        "candidate": "local",
        "attempts": 2,
        "degraded": "Unavailable",
        "step": "candidate:local",
        "path": ("small:Unavailable", "local:ok"),
        "signalled": True,
        "cost": NanoUSD(1_000),
        "duration": Millis(120),
    }
    return ProbeResult(**(fields | changes))


def control(index: int, **changes: Any) -> ProbeResult:
    fields: dict[str, Any] = {
        "index": index,
        "control": True,
        "at": Millis(500 * index),
        "status": 200,
        "candidate": "small",
        "attempts": 1,
        "path": ("small:ok",),
        "duration": Millis(80),
    }
    return ProbeResult(**(fields | changes))


def honest(**changes: Any) -> DrillEvidence:
    fields: dict[str, Any] = {
        "run": "uid",
        "state": "Reverted",
        "fault_active": False,
        "finished": True,
        "fault_ended": Millis(5_000),
        "recovered_at": Millis(5_040),
        "spent": NanoUSD(30_000),
        "samples": tuple(p for n in range(10) for p in (control(n), faulted(n))),
    }
    return DrillEvidence(**(fields | changes))


def judged(evidence: DrillEvidence, **more: Any) -> Judgement:
    return judge(EXPECTED, {"pod-1": evidence}, DEMANDS, **more)


def test_an_honest_sidecar_passes_with_its_times() -> None:
    found = judged(honest())
    assert (found.verdict, found.reason) == (Verdict.PASSED, DrillReason.PASSED)
    assert found.samples == 10
    assert found.time_to_detect == 370
    assert found.time_to_recover == 40
    assert found.cost == 30_000
    assert found.observed == EXPECTED.path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": 503}, "status 503, the declared path ends in 200"),
        ({"candidate": "small"}, "small answered, local is declared"),
        ({"candidate": ""}, "the route itself answered, local is declared"),
        ({"degraded": ""}, "x-turnout-degraded says nothing"),
        ({"degraded": "TooSlow"}, "x-turnout-degraded says TooSlow"),
        ({"step": ""}, "x-turnout-step says nothing"),
        ({"signalled": False}, "the body does not say"),
        ({"path": ("local:ok",)}, "the way was local:ok"),
        ({"path": ("local:Unavailable", "small:ok")}, "the way was local:Unavailable -> small:ok"),
        ({"path": ()}, "the way was not told"),
        ({"duration": Millis(15_001)}, "the route's total deadline is 15s"),
        ({"cost": NanoUSD(20_000_001)}, "the bound is 0.02"),
        ({"error": "reset, or not in time", "status": 0}, "no answer: reset"),
    ],
)
def test_one_answer_that_is_not_as_declared_fails_the_drill_and_is_named(change: dict[str, Any], words: str) -> None:
    samples = list(honest().samples)
    samples[7] = msgspec.structs.replace(samples[7], **change)
    found = judged(honest(samples=tuple(samples)))
    assert found.verdict is Verdict.FAILED
    assert words in found.fail_step
    assert "1 of 10 probes" in found.message
    shown = status.shown(found.seen)
    assert len(shown) <= status.MOST_SAMPLES
    assert [s.wrong for s in shown if s.wrong] == [found.fail_step]


def test_retries_at_one_candidate_are_one_step_of_the_way() -> None:
    again = tuple(
        p if p.control else msgspec.structs.replace(p, path=("small:Unavailable", "small:Unavailable", "local:ok"))
        for p in honest().samples
    )
    assert judged(honest(samples=again)).verdict is Verdict.PASSED


@pytest.mark.parametrize(
    "change",
    [
        {"status": 503, "candidate": ""},
        {"degraded": "Unavailable", "candidate": "local"},
        {"candidate": "local"},
        {"error": "reset, or not in time", "status": 0},
    ],
)
def test_a_control_that_is_not_well_makes_everything_inconclusive_even_beside_failures(change: dict[str, Any]) -> None:
    bad = (control(99, **change), faulted(99, status=500))
    found = judged(honest(samples=(*honest().samples, *bad)))
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, DrillReason.CONTROL_FAILED)


def test_too_few_samples_are_inconclusive_also_when_they_are_wrong() -> None:
    for wrong in ({}, {"status": 500}):
        few = tuple(p for n in range(4) for p in (control(n), faulted(n, **wrong)))
        found = judged(honest(samples=few))
        assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, DrillReason.TOO_FEW_SAMPLES)


def test_faulted_probes_without_any_control_prove_nothing() -> None:
    found = judged(honest(samples=tuple(faulted(n) for n in range(10))))
    assert found.verdict is Verdict.INCONCLUSIVE


def test_no_recovery_in_time_fails() -> None:
    found = judged(honest(recovered_at=None))
    assert (found.verdict, found.reason) == (Verdict.FAILED, DrillReason.NOT_RECOVERED)
    assert found.fail_step.startswith("RecoveryTimeout")
    assert found.time_to_recover is None


def test_a_drill_that_cost_more_than_allowed_fails() -> None:
    found = judged(honest(spent=NanoUSD(500_000_001)))
    assert (found.verdict, found.reason) == (Verdict.FAILED, DrillReason.COST_EXCEEDED)


def test_one_bad_sidecar_among_good_ones_fails_the_drill_and_is_named() -> None:
    bad = honest(samples=tuple(p if p.control else msgspec.structs.replace(p, step="") for p in honest().samples))
    found = judge(EXPECTED, {"pod-1": honest(), "pod-2": bad, "pod-3": honest()}, DEMANDS)
    assert found.verdict is Verdict.FAILED
    assert "pod-2" in found.message
    assert found.cost == 90_000


def test_a_sidecar_that_refused_is_said_and_the_others_count() -> None:
    refused = DrillEvidence(run="uid", state="Refused", fault_active=False, finished=True, words="no such fault")
    assert judge(EXPECTED, {"pod-1": honest(), "pod-2": refused}, DEMANDS).verdict is Verdict.PASSED
    alone = judge(EXPECTED, {"pod-2": refused}, DEMANDS)
    assert alone.verdict is Verdict.INCONCLUSIVE
    assert "no such fault" in alone.message


def test_an_interruption_is_the_verdict_whatever_was_seen() -> None:
    stop = Interruption(verdict=Verdict.ABORTED, reason=DrillReason.ABORTED_BY_REQUEST, words="asked")
    assert judged(honest(), interruption=stop).verdict is Verdict.ABORTED


def test_a_path_that_ends_in_a_refusal_passes_on_that_refusal_only() -> None:
    ends = Expected(
        fault="OverBudget",
        control="small",
        path=("small:OverBudget", "respond:429"),
        candidate="",
        status=429,
        reason="OverBudget",
        step="respond",
        latency=Millis(15_000),
        cost=NanoUSD(0),
    )
    right = {
        "status": 429,
        "candidate": "",
        "degraded": "OverBudget",
        "step": "respond",
        "path": ("small:OverBudget", "respond:429"),
        "cost": NanoUSD(0),
    }
    samples = tuple(p for n in range(5) for p in (control(n), faulted(n, **right)))
    assert judge(ends, {"pod": honest(samples=samples)}, DEMANDS).verdict is Verdict.PASSED
    assert judge(ends, {"pod": honest()}, DEMANDS).verdict is Verdict.FAILED


SAMPLES = st.lists(
    st.builds(
        ProbeResult,
        index=st.integers(0, 9),
        control=st.booleans(),
        at=st.integers(0, 30_000).map(Millis),
        status=st.sampled_from([0, 200, 429, 500, 503]),
        candidate=st.sampled_from(["", "small", "local"]),
        degraded=st.sampled_from(["", "Unavailable", "TooSlow"]),
        step=st.sampled_from(["", "candidate:local", "respond"]),
        path=st.sampled_from([(), ("small:ok",), ("small:Unavailable", "local:ok")]),
        signalled=st.booleans(),
        error=st.sampled_from(["", "reset"]),
    ),
    max_size=25,
)
EVIDENCE = st.dictionaries(
    st.sampled_from(["pod-1", "pod-2", "pod-3"]),
    st.builds(
        honest,
        samples=SAMPLES.map(tuple),
        recovered_at=st.one_of(st.none(), st.just(Millis(6_000))),
        state=st.sampled_from(["Injecting", "Reverted", "Refused"]),
    ),
)


@given(EVIDENCE)
def test_what_passes_has_enough_right_answers_and_nothing_else(evidence: dict[str, DrillEvidence]) -> None:
    found = judge(EXPECTED, evidence, DEMANDS)
    samples = [s for e in evidence.values() for s in e.samples]
    if found.verdict is Verdict.PASSED:
        assert sum(not s.control for s in samples) >= DEMANDS.min_samples
        assert any(s.control for s in samples)
        assert all(s.path == (("small:ok",) if s.control else EXPECTED.path) or s.control for s in samples)
        assert all(s.status == 200 and not s.error for s in samples)
        assert all(s.signalled and s.degraded == "Unavailable" for s in samples if not s.control)
    if found.verdict is Verdict.FAILED:
        assert found.fail_step


@given(EVIDENCE)
def test_a_status_and_a_report_of_any_evidence_are_bounded(evidence: dict[str, DrillEvidence]) -> None:
    now = datetime(2026, 11, 24, 9, tzinfo=UTC)
    found = judge(EXPECTED, evidence, DEMANDS)
    patch = status.done({"metadata": {"generation": 1}}, found, EXPECTED, now)
    assert len(patch["samples"]) <= 20
    assert len(json.dumps(patch)) < 200_000
    facts = report.Facts(
        namespace="support",
        drill="d|1",
        uid="u",
        route="answer",
        route_generation=3,
        policy_version="abc",
        operator_version="0.1.0",
        reason="a\nb",
        injected=now,
        completed=now,
    )
    document = json.loads(report.as_json(facts, EXPECTED, found))
    assert document["verdict"] == found.verdict
    page = report.as_markdown(facts, EXPECTED, found)
    assert page.startswith(f"# {found.verdict}")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


def test_conditions_keep_the_time_of_their_last_change() -> None:
    begin = datetime(2026, 11, 24, 9, tzinfo=UTC)
    body: dict[str, Any] = {"metadata": {"generation": 1}}
    first = status.preflight(body, begin)
    later = status.moved({**body, "status": first}, DrillPhase.OBSERVING, "w", begin + timedelta(minutes=1))
    times: Callable[[dict[str, Any]], set[str]] = lambda p: {c["lastTransitionTime"] for c in p["conditions"]}  # noqa: E731
    assert times(later) == {"2026-11-24T09:00:00Z"}
    end = status.done({**body, "status": later}, judged(honest()), EXPECTED, begin + timedelta(minutes=2))
    known = {c["type"]: c for c in end["conditions"]}
    assert known["Complete"]["status"] == "True"
    assert known["Failed"]["status"] == "False"
    assert known["Failed"]["lastTransitionTime"] == "2026-11-24T09:00:00Z"
    assert known["Complete"]["lastTransitionTime"] == "2026-11-24T09:02:00Z"

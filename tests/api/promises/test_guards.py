"""`abortWhen`: what ends a drill early."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from turnout_operator.api.fallbackdrill import Guard
from turnout_operator.drills import guards
from turnout_sidecar.policy.report import DrillEvidence, ProbeResult
from turnout_sidecar.policy.units import Millis


def _guard(metric: str, threshold: str) -> Guard:
    return Guard.model_validate({"metric": metric, "threshold": threshold, "window": "30s"})


def _control(at: int, *, status: int = 200, duration: int = 100) -> ProbeResult:
    return ProbeResult(index=at, control=True, at=Millis(at), status=status, duration=Millis(duration))


def _breach(guard: Guard, samples: Sequence[ProbeResult], elapsed: int = 60_000) -> guards.Breach | None:
    evidence = DrillEvidence(run="r", state="Injecting", fault_active=True, samples=tuple(samples))
    return guards.breached([guard], {"app": evidence}, Millis(elapsed))


@pytest.mark.parametrize(
    ("metric", "threshold", "bad"),
    [("ErrorRate", "0.02", _control(1_000, status=503)), ("LatencyP95", "8", _control(1_000, duration=8_001))],
)
def test_a_guard_above_its_threshold_ends_the_drill(metric: str, threshold: str, bad: ProbeResult) -> None:
    guard = _guard(metric, threshold)

    assert _breach(guard, [_control(0), _control(500)]) is None
    breach = _breach(guard, [_control(0), bad])
    assert breach is not None
    assert (breach.metric, threshold in breach.words) == (metric, True)


def test_a_guard_looks_at_its_window_only() -> None:
    guard = _guard("ErrorRate", "0.02")

    assert _breach(guard, [_control(0, status=500), _control(30_001)]) is None
    assert _breach(guard, [_control(2, status=500), _control(30_001)]) is not None


def test_a_guard_without_data_for_its_whole_window_ends_the_drill() -> None:
    guard = _guard("ErrorRate", "0.02")

    assert _breach(guard, [], elapsed=29_999) is None
    assert _breach(guard, [], elapsed=30_000) is not None


def test_faulted_probes_are_no_data_of_a_guard() -> None:
    faulted = ProbeResult(index=1, control=False, at=Millis(500), status=200)

    assert _breach(_guard("ErrorRate", "0.02"), [faulted], elapsed=30_000) is not None

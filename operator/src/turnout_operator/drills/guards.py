"""What ends a drill early. Guards look at the control probes of their window; a guard without data aborts, because it guards nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from turnout_operator.amounts import span
from turnout_operator.api.fallbackdrill import Guard, GuardMetric
from turnout_sidecar.policy.report import DrillEvidence, ProbeResult
from turnout_sidecar.policy.units import Millis

_MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A guard that says stop."""

    metric: str
    words: str


def breached(guards: Sequence[Guard], evidence: Mapping[str, DrillEvidence], elapsed: Millis) -> Breach | None:
    """The first guard that is above its threshold, or that has seen nothing for its whole window. `elapsed`: since the injection.

    Real traffic's error rate is not among the data yet: scope Probes keeps the fault from it.
    """
    for guard in guards:
        window = guard.window.millis()
        recent = _recent(evidence, window)
        if not recent:
            if elapsed >= window:
                return Breach(
                    metric=guard.metric,
                    words=f"no control probe was answered for {guard.window}: {guard.metric} is unknown",
                )
            continue
        if (words := _above(guard, recent)) is not None:
            return Breach(metric=guard.metric, words=words)
    return None


def _recent(evidence: Mapping[str, DrillEvidence], window: int) -> list[ProbeResult]:
    """Controls answered within the window before each sidecar's newest sample: sidecars' clocks begin with their runs."""
    found: list[ProbeResult] = []
    for told in evidence.values():
        newest = max((s.at for s in told.samples), default=0)
        found += [s for s in told.samples if s.control and s.at > newest - window]
    return found


def _above(guard: Guard, samples: Sequence[ProbeResult]) -> str | None:
    threshold = guard.threshold.micro()
    if guard.metric is GuardMetric.ERROR_RATE:
        errors = sum(1 for s in samples if s.error or s.status >= 500 or s.status == 429)
        if errors * _MICRO > threshold * len(samples):
            return f"{errors} of {len(samples)} control probes failed, ErrorRate may be {guard.threshold}"
        return None
    slowest = _p95([s.duration for s in samples])
    if slowest * 1_000 > threshold:
        return f"LatencyP95 of {len(samples)} control probes is {span(slowest)}, {guard.threshold} s is allowed"
    return None


def _p95(durations: Sequence[int]) -> int:
    """Nearest rank."""
    ordered = sorted(durations)
    return ordered[math.ceil(0.95 * len(ordered)) - 1]

"""A drill's status as merge patches. Every patch holds only what it changes; conditions keep the time of their last change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from turnout_operator.amounts import dollars, span
from turnout_operator.api.conditions import ConditionStatus, ConditionType, DrillReason
from turnout_operator.api.enums import Verdict
from turnout_operator.api.fallbackdrill_status import DrillPhase
from turnout_operator.drills.expected import Expected
from turnout_operator.drills.verdict import Judgement, Seen, observed_path
from turnout_sidecar.policy.units import Millis

MOST_SAMPLES = 20
_TEXT = 256
_DETAIL = 1024

Patch = dict[str, Any]


def rfc3339(instant: datetime) -> str:
    """As Kubernetes writes times."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def waiting(body: dict[str, Any], words: str, now: datetime) -> Patch:
    """Something that may pass stands in the way."""
    return {"phase": DrillPhase.PENDING, **_conditions(body, DrillReason.PENDING, words, None, now)}


def preflight(body: dict[str, Any], now: datetime) -> Patch:
    """It is being looked at."""
    words = "looking both ways"
    return {
        "phase": DrillPhase.PREFLIGHT,
        "startedAt": rfc3339(now),
        **_conditions(body, DrillReason.RUNNING, words, None, now),
    }


def injecting(
    body: dict[str, Any], expected: Expected, proves: str, sidecars: int, now: datetime, ends: datetime
) -> Patch:
    """From here on sidecars may be told to inject; the deadline stands written before the first of them is."""
    words = f"{expected.fault} at {sidecars} sidecars until {rfc3339(ends)}; expected: {' -> '.join(expected.path)}"
    return {
        "phase": DrillPhase.INJECTING,
        "injectedAt": rfc3339(now),
        "faultEndsAt": rfc3339(ends),
        "proves": proves,
        "paths": [{"fault": expected.fault, "expected": list(expected.path), "observed": []}],
        **_conditions(body, DrillReason.RUNNING, words, None, now),
    }


def moved(body: dict[str, Any], phase: DrillPhase, words: str, now: datetime) -> Patch:
    """To Observing or Reverting."""
    return {"phase": phase, **_conditions(body, DrillReason.RUNNING, words, None, now)}


def done(
    body: dict[str, Any],
    judgement: Judgement,
    expected: Expected | None,
    now: datetime,
    *,
    abort_latency: Millis | None = None,
    report: str = "",
) -> Patch:
    """The end, with everything that was seen."""
    patch: Patch = {
        "phase": DrillPhase.DONE,
        "verdict": judgement.verdict,
        "failStep": judgement.fail_step[:_DETAIL],
        "completedAt": rfc3339(now),
        "sampleCount": judgement.samples,
        "cost": dollars(judgement.cost),
        "timeToDetect": _span(judgement.time_to_detect),
        "timeToRecover": _span(judgement.time_to_recover),
        "abortLatency": _span(abort_latency),
        **_conditions(body, judgement.reason, judgement.message, judgement.verdict, now),
    }
    if expected is not None:
        observed = [_cut(step) for step in judgement.observed[:20]]
        patch["paths"] = [{"fault": expected.fault, "expected": list(expected.path), "observed": observed}]
        patch["samples"] = [_sample(expected, seen) for seen in shown(judgement.seen)]
    if report:
        patch["reportRef"] = {"name": report}
    return patch


def shown(seen: Sequence[Seen]) -> tuple[Seen, ...]:
    """The samples that a status has room for: the first failing ones, then the first with the fault and without by turns."""
    failing = [s for s in seen if s.wrong][: MOST_SAMPLES // 2]
    rest = list(_by_turns([s for s in seen if not s.wrong]))[: MOST_SAMPLES - len(failing)]
    return tuple(sorted((*failing, *rest), key=lambda s: (s.sample.at, s.sidecar, s.sample.index)))


def _by_turns(seen: Sequence[Seen]) -> Iterator[Seen]:
    faulted = [s for s in seen if not s.sample.control]
    controls = [s for s in seen if s.sample.control]
    for index in range(max(len(faulted), len(controls))):
        yield from faulted[index : index + 1]
        yield from controls[index : index + 1]


def _sample(expected: Expected, seen: Seen) -> dict[str, Any]:
    sample = seen.sample
    control = f"{expected.control}:ok"
    return {
        "fault": None if sample.control else expected.fault,
        "sidecar": _cut(seen.sidecar),
        "expected": _cut(control if sample.control else " -> ".join(expected.path)),
        "observed": _cut(" -> ".join(observed_path(sample))),
        "httpStatus": sample.status or None,
        "latency": span(sample.duration),
        "cost": dollars(sample.cost),
        "passed": not seen.wrong,
        "detail": seen.wrong[:_DETAIL],
    }


def _conditions(
    body: dict[str, Any], reason: DrillReason, message: str, verdict: Verdict | None, now: datetime
) -> Patch:
    """Complete is True when the drill passed, Failed when it ended in any other way, Reconciling until then."""
    values = {
        ConditionType.COMPLETE: _truth(verdict is Verdict.PASSED),
        ConditionType.FAILED: _truth(verdict is not None and verdict is not Verdict.PASSED),
        ConditionType.RECONCILING: _truth(verdict is None),
    }
    known = {c["type"]: c for c in (body.get("status") or {}).get("conditions") or []}
    generation = body["metadata"].get("generation", 0)
    conditions = []
    for kind, status in values.items():
        before = known.get(kind, {})
        unchanged = before.get("status") == status and before.get("lastTransitionTime")
        conditions.append(
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message[:32_000],
                "lastTransitionTime": before["lastTransitionTime"] if unchanged else rfc3339(now),
                "observedGeneration": generation,
            }
        )
    return {"observedGeneration": generation, "conditions": conditions}


def _truth(value: bool) -> ConditionStatus:
    return ConditionStatus.TRUE if value else ConditionStatus.FALSE


def _span(value: Millis | None) -> str:
    return "" if value is None else span(value)


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"

"""From evidence to a verdict. Nothing is Passed without evidence, and evidence without a healthy control proves nothing.

The order of the rules is the order of trust: first what makes the evidence worthless, then what is missing, then what is wrong. So a
drill during an outage is Inconclusive and not Failed, and a single wrong answer among enough samples is Failed and not averaged away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from turnout_operator.amounts import dollars, span
from turnout_operator.api.conditions import DrillReason
from turnout_operator.api.enums import Verdict
from turnout_operator.drills.expected import Expected
from turnout_sidecar.policy.report import DrillEvidence, ProbeResult
from turnout_sidecar.policy.units import Millis, NanoUSD


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What the drill itself asks for."""

    min_samples: int
    max_cost: NanoUSD
    recovery_deadline: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """Why a drill ended before its evidence was whole."""

    verdict: Verdict
    reason: DrillReason
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One probe with the sidecar that sent it and what was wrong with it; `fault` is empty for a control."""

    sidecar: str
    sample: ProbeResult
    wrong: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How a drill ended."""

    verdict: Verdict
    reason: DrillReason
    message: str
    fail_step: str = ""
    """The first thing that was not as declared."""
    seen: tuple[Seen, ...] = field(default=())
    """Every sample, in the order of its time."""
    observed: tuple[str, ...] = ()
    """The path of the first failing faulted probe, or of the first one."""
    samples: int = 0
    """Faulted probes that were answered."""
    time_to_detect: Millis | None = None
    time_to_recover: Millis | None = None
    cost: NanoUSD


def judge(
    expected: Expected,
    evidence: Mapping[str, DrillEvidence],
    demands: Demands,
    interruption: Interruption | None = None,
) -> Judgement:
    """The verdict over all sidecars' evidence, by the sidecar's name."""
    seen = tuple(sorted(_examined(expected, evidence), key=lambda s: (s.sample.at, s.sidecar, s.sample.index)))
    faulted = [s for s in seen if not s.sample.control]
    first = next((s for s in faulted if s.wrong), faulted[0] if faulted else None)
    verdict, reason, message, fail_step = _ruling(expected, evidence, demands, interruption, seen)
    return Judgement(
        verdict=verdict,
        reason=reason,
        message=message,
        fail_step=fail_step,
        seen=seen,
        observed=() if first is None else observed_path(first.sample),
        samples=len(faulted),
        time_to_detect=_time_to_detect(faulted),
        time_to_recover=_time_to_recover(evidence),
        cost=_cost(evidence),
    )


_Ruling = tuple[Verdict, DrillReason, str, str]


def _ruling(
    expected: Expected,
    evidence: Mapping[str, DrillEvidence],
    demands: Demands,
    interruption: Interruption | None,
    seen: tuple[Seen, ...],
) -> _Ruling:
    if interruption is not None:
        return interruption.verdict, interruption.reason, interruption.words, ""
    faulted = [s for s in seen if not s.sample.control]
    controls = [s for s in seen if s.sample.control]
    broken = next((s for s in controls if s.wrong), None)
    if broken is not None:
        words = f"a probe without the fault was not answered as planned at {broken.sidecar}: {broken.wrong}"
        return Verdict.INCONCLUSIVE, DrillReason.CONTROL_FAILED, words, ""
    enough = demands.min_samples
    if len(faulted) < enough or not controls:
        words = (
            f"{len(faulted)} probes with the fault and {len(controls)} without were answered, "
            f"{enough} and 1 are the least that prove something{_refusals(evidence)}"
        )
        return Verdict.INCONCLUSIVE, DrillReason.TOO_FEW_SAMPLES, words, ""
    wrong = next((s for s in faulted if s.wrong), None)
    if wrong is not None:
        count = sum(1 for s in faulted if s.wrong)
        words = f"{count} of {len(faulted)} probes did not go as declared; first at {wrong.sidecar}: {wrong.wrong}"
        return Verdict.FAILED, DrillReason.PATH_DIFFERS, words, wrong.wrong
    return _afterwards(expected, evidence, demands, len(faulted))


def _afterwards(expected: Expected, evidence: Mapping[str, DrillEvidence], demands: Demands, samples: int) -> _Ruling:
    """The path was right: was it paid for as agreed, and did the route come back?"""
    cost = _cost(evidence)
    if cost > demands.max_cost:
        words = f"the probes cost {dollars(cost)} USD, {dollars(demands.max_cost)} were allowed"
        return Verdict.FAILED, DrillReason.COST_EXCEEDED, words, words
    for sidecar, told in sorted(evidence.items()):
        if told.state != "Refused" and (told.recovered_at is None or told.fault_ended is None):
            words = f"{sidecar} did not answer as before within {span(demands.recovery_deadline)} of the fault's end"
            return Verdict.FAILED, DrillReason.NOT_RECOVERED, words, f"RecoveryTimeout: {words}"
    return Verdict.PASSED, DrillReason.PASSED, f"{samples} probes went {' -> '.join(expected.path)}, as declared", ""


def _examined(expected: Expected, evidence: Mapping[str, DrillEvidence]) -> Iterator[Seen]:
    for sidecar, told in evidence.items():
        for sample in told.samples:
            wrong = control_fault(expected, sample) if sample.control else path_fault(expected, sample)
            yield Seen(sidecar=sidecar, sample=sample, wrong=wrong)


def control_fault(expected: Expected, sample: ProbeResult) -> str:
    """What is wrong with an answer to a probe without the fault; empty when nothing is."""
    if sample.error:
        return f"no answer: {sample.error}"
    if sample.status != 200:
        return f"status {sample.status}, 200 was expected"
    if sample.degraded:
        return f"it was degraded ({sample.degraded})"
    if sample.candidate != expected.control:
        return f"{sample.candidate or 'nobody'} answered, {expected.control} was expected"
    return ""


def path_fault(expected: Expected, sample: ProbeResult) -> str:
    """The first thing in an answer under the fault that is not as declared; empty when all is."""
    if sample.error:
        return f"no answer: {sample.error}"
    if sample.status != expected.status:
        return f"status {sample.status}, the declared path ends in {expected.status}"
    if sample.candidate != expected.candidate:
        return (
            f"{sample.candidate or 'the route itself'} answered, {expected.candidate or 'the route itself'} is declared"
        )
    if sample.degraded != expected.reason:
        return f"header x-turnout-degraded says {sample.degraded or 'nothing'}, {expected.reason or 'nothing'} would be right"
    if sample.step != expected.step:
        return f"header x-turnout-step says {sample.step or 'nothing'}, {expected.step or 'nothing'} is declared"
    if expected.reason and not sample.signalled:
        return "the body does not say that the answer is degraded (field turnout)"
    if (way := _without_repeats(sample.path)) != expected.path:
        return f"the way was {_listed(way)}, declared is {_listed(expected.path)}"
    if sample.duration > expected.latency:
        return f"it took {span(sample.duration)}, the route's total deadline is {span(expected.latency)}"
    if sample.cost > expected.cost:
        return f"it cost {dollars(sample.cost)} USD, the bound is {dollars(expected.cost)}"
    return ""


def observed_path(sample: ProbeResult) -> tuple[str, ...]:
    """A sample's way for people."""
    return (
        (f"no answer: {sample.error}",)
        if sample.error
        else _without_repeats(sample.path) or (f"status {sample.status}",)
    )


def _without_repeats(path: tuple[str, ...]) -> tuple[str, ...]:
    """Retries at the same candidate are one step of the way."""
    return tuple(entry for index, entry in enumerate(path) if index == 0 or path[index - 1] != entry)


def _listed(path: tuple[str, ...]) -> str:
    return " -> ".join(path) or "not told"


def _time_to_detect(faulted: list[Seen]) -> Millis | None:
    """From the fault's begin in a sidecar to the first degraded answer there."""
    return min((Millis(s.sample.at + s.sample.duration) for s in faulted if s.sample.degraded), default=None)


def _time_to_recover(evidence: Mapping[str, DrillEvidence]) -> Millis | None:
    """The slowest sidecar's, None until all have recovered."""
    spans: list[Millis] = []
    for told in evidence.values():
        if told.state == "Refused":
            continue
        if told.recovered_at is None or told.fault_ended is None:
            return None
        spans.append(Millis(told.recovered_at - told.fault_ended))
    return max(spans, default=None)


def _cost(evidence: Mapping[str, DrillEvidence]) -> NanoUSD:
    return NanoUSD(sum(told.spent for told in evidence.values()))


def _refusals(evidence: Mapping[str, DrillEvidence]) -> str:
    words = sorted(f"{sidecar} refused: {told.words}" for sidecar, told in evidence.items() if told.words)
    return "".join(f"; {w}" for w in words)

"""Where a running drill goes next, from what its sidecars tell. The runner writes the phase down before it acts on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from turnout_operator.api.fallbackdrill_status import DrillPhase
from turnout_sidecar.policy.report import DrillEvidence
from turnout_sidecar.policy.units import Millis

SILENCE = Millis(10_000)
"""How much longer than the recovery and the slowest probe may take a sidecar's last word is waited for."""
_SEEN_ENOUGH = frozenset({"Observing", "Reverted", "Refused"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as it was begun. `fault_ends`, and every `now` it is compared with, is Unix milliseconds."""

    participants: tuple[str, ...]
    """Sidecars that got the order."""
    fault_ends: int
    recovery_deadline: Millis
    answer_deadline: Millis
    """How long one probe may take."""

    @property
    def patience(self) -> Millis:
        """After the revert."""
        return Millis(max(self.recovery_deadline, self.answer_deadline) + SILENCE)


def next_phase(
    run: Run,
    phase: DrillPhase,
    evidence: Mapping[str, DrillEvidence],
    now: int,
    *,
    stop: bool,
    reverting_since: int | None,
) -> DrillPhase:
    """The phase to be in now. `stop`: an abort was asked for, or a guard said so."""
    if phase in (DrillPhase.INJECTING, DrillPhase.OBSERVING):
        if stop or now >= run.fault_ends or _all_seen(run, evidence):
            return DrillPhase.REVERTING
        return DrillPhase.OBSERVING if any(e.samples for e in evidence.values()) else phase
    if phase is DrillPhase.REVERTING and (_all_over(run, evidence) or _too_late(run, now, reverting_since)):
        return DrillPhase.DONE
    return phase


def look_again(run: Run, phase: DrillPhase, now: int, reverting_since: int | None) -> Millis:
    """When to look even if no report comes."""
    if phase is DrillPhase.REVERTING:
        assert reverting_since is not None, "a reverting run knows since when"
        return Millis(max(50, reverting_since + run.patience - now))
    return Millis(max(50, min(run.fault_ends - now, 1_000)))


def fault_gone(run: Run, evidence: Mapping[str, DrillEvidence]) -> bool:
    """Every participant says that no request meets the fault."""
    return all(name in evidence and not evidence[name].fault_active for name in run.participants)


def _all_seen(run: Run, evidence: Mapping[str, DrillEvidence]) -> bool:
    return all(name in evidence and evidence[name].state in _SEEN_ENOUGH for name in run.participants)


def _all_over(run: Run, evidence: Mapping[str, DrillEvidence]) -> bool:
    return all(name in evidence and evidence[name].finished for name in run.participants)


def _too_late(run: Run, now: int, reverting_since: int | None) -> bool:
    return reverting_since is not None and now >= reverting_since + run.patience

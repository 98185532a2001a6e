"""Whether every fault a route declares was rehearsed well and lately: the facts of its `Rehearsed` condition and `status.drills`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from turnout_operator.amounts import span
from turnout_operator.api.conditions import ConditionStatus, RehearsedReason
from turnout_operator.api.enums import Verdict
from turnout_operator.drills.view import CONCLUSIVE, DrillView
from turnout_operator.ir import DrillFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultVerdict:
    """The last finished drill of one fault."""

    fault: str
    verdict: str
    drill: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsedFacts:
    """For the renderer of a route's status."""

    status: ConditionStatus
    reason: RehearsedReason
    message: str
    verdicts: tuple[FaultVerdict, ...] = ()
    """One a fault, sorted."""
    last_success: datetime | None = None
    stale_at: datetime | None = None
    """When a True turns False unless a drill passes before."""


def rehearsed(facts: DrillFacts, drills: Sequence[DrillView], now: datetime) -> RehearsedFacts:
    """True when the newest conclusive drill of each declared fault passed, at most `maxAge` ago.

    Inconclusive, Skipped and Aborted drills neither prove nor disprove: what stood before stands until it is too old.
    """
    finished = sorted((d for d in drills if d.done and d.completed is not None), key=lambda d: (_at(d), d.name))
    newest = {d.fault: d for d in finished}
    proof = {d.fault: d for d in finished if d.verdict in CONCLUSIVE}
    passed = [_at(d) for d in finished if d.verdict == Verdict.PASSED]
    status, reason, message, stale = _judged(facts, proof, now)
    return RehearsedFacts(
        status=status,
        reason=reason,
        message=message,
        verdicts=tuple(
            FaultVerdict(fault=f, verdict=d.verdict, drill=d.name, time=_at(d)) for f, d in sorted(newest.items())
        ),
        last_success=max(passed, default=None),
        stale_at=stale,
    )


_Judged = tuple[ConditionStatus, RehearsedReason, str, datetime | None]


def _judged(facts: DrillFacts, proof: Mapping[str, DrillView], now: datetime) -> _Judged:
    failed = [f for f in facts.faults if f in proof and proof[f].verdict == Verdict.FAILED]
    if failed:
        named = ", ".join(f"{f} ({proof[f].name})" for f in failed)
        return ConditionStatus.FALSE, RehearsedReason.DRILL_FAILED, f"the last drill failed: {named}", None
    never = [f for f in facts.faults if f not in proof]
    age = timedelta(milliseconds=facts.max_age)
    old = [f for f in facts.faults if f in proof and now - _at(proof[f]) > age]
    if never and facts.suspend:
        return (
            ConditionStatus.FALSE,
            RehearsedReason.SUSPENDED,
            f"drills are suspended; never rehearsed: {_named(never)}",
            None,
        )
    if never:
        return ConditionStatus.FALSE, RehearsedReason.NEVER, f"no drill has passed for {_named(never)}", None
    if old:
        words = f"rehearsed longer than {span(facts.max_age)} ago (drills.maxAge): {_named(old)}"
        reason = RehearsedReason.SUSPENDED if facts.suspend else RehearsedReason.TOO_OLD
        return ConditionStatus.FALSE, reason, words, None
    oldest = min((_at(proof[f]) for f in facts.faults), default=now)
    words = (
        f"{len(facts.faults)} of {len(facts.faults)} declared faults passed a drill since {oldest:%Y-%m-%dT%H:%M:%SZ}"
    )
    return ConditionStatus.TRUE, RehearsedReason.REHEARSED, words, oldest + age


def _at(drill: DrillView) -> datetime:
    assert drill.completed is not None, "a finished drill has its time"
    return drill.completed


def _named(faults: Sequence[str]) -> str:
    return ", ".join(faults)

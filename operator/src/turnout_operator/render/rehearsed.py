"""Whether every declared degradation path was proved recently enough."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from turnout_operator.amounts import span
from turnout_operator.api.conditions import ConditionType, RehearsedReason
from turnout_operator.api.enums import DrillFault, Verdict
from turnout_operator.ir import DrillFacts
from turnout_operator.render.conditions import Statement, false, true, unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class LastDrill:
    """The last drill of one fault that ended."""

    fault: DrillFault
    verdict: Verdict
    drill: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What drills of a route have shown so far."""

    verdicts: tuple[LastDrill, ...] = ()
    """At most one a fault."""
    passed: tuple[LastDrill, ...] = ()
    """The last drill of each fault that passed, which may be older than its last."""
    last_schedule: datetime | None = None

    @property
    def last_success(self) -> datetime | None:
        """When any drill last passed."""
        return max((d.at for d in (*self.passed, *self.verdicts) if d.verdict is Verdict.PASSED), default=None)


def rehearsed(drills: DrillFacts | None, rehearsal: Rehearsal, now: datetime) -> Statement:
    """True only when each fault that the route declares has a Passed drill younger than `maxAge`, and none has failed since."""
    kind = ConditionType.REHEARSED
    if drills is None:
        return unknown(
            kind, RehearsedReason.PENDING, "Nothing of this route is in service, so nothing can be rehearsed."
        )
    last = {d.fault.value: d for d in rehearsal.verdicts}
    failed = sorted(f for f in drills.faults if f in last and last[f].verdict is Verdict.FAILED)
    if failed:
        named = ", ".join(f"{f} (drill {last[f].drill})" for f in failed)
        return false(kind, RehearsedReason.DRILL_FAILED, f"The last drill failed: {named}.")
    passed = {d.fault.value: d.at for d in (*rehearsal.passed, *rehearsal.verdicts) if d.verdict is Verdict.PASSED}
    never = [f for f in drills.faults if f not in passed]
    if never:
        suffix = " Drills are suspended." if drills.suspend else ""
        reason = RehearsedReason.SUSPENDED if drills.suspend else RehearsedReason.NEVER
        return false(kind, reason, f"Never rehearsed: {', '.join(never)}.{suffix}")
    fresh = timedelta(milliseconds=drills.max_age)
    old = [f for f in drills.faults if now - passed[f] > fresh]
    if old:
        message = f"Not rehearsed within {span(drills.max_age)}: {', '.join(old)}."
        return false(kind, RehearsedReason.TOO_OLD, message)
    return true(kind, RehearsedReason.REHEARSED, f"Every path was rehearsed within {span(drills.max_age)}.")

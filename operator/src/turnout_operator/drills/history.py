"""Which old drills may go. Never the only evidence for a fault, nor a drill that a person made, nor one of the current series."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from turnout_operator.api.enums import Verdict
from turnout_operator.drills.view import CONCLUSIVE, DrillView
from turnout_operator.ir import DrillFacts

_NEVER = datetime.min.replace(tzinfo=UTC)


def expired(facts: DrillFacts, drills: Sequence[DrillView], current: datetime | None) -> tuple[str, ...]:
    """Names to delete, sorted. The limits count the finished drills of one fault; `current` is the series that may still be under way."""
    names: set[str] = set()
    for fault in {d.fault for d in drills}:
        finished = sorted((d for d in drills if d.fault == fault and d.done), key=_age, reverse=True)
        kept = _evidence(finished)
        passed = [d for d in finished if d.verdict == Verdict.PASSED]
        other = [d for d in finished if d.verdict != Verdict.PASSED]
        old = [*passed[facts.keep_successful :], *other[facts.keep_failed :]]
        names |= {d.name for d in old if d.scheduled is not None and d.scheduled != current and d.name not in kept}
    return tuple(sorted(names))


def _evidence(finished: Sequence[DrillView]) -> set[str]:
    """The newest drill that passed and the newest that proved anything."""
    passed = [d.name for d in finished if d.verdict == Verdict.PASSED][:1]
    conclusive = [d.name for d in finished if d.verdict in CONCLUSIVE][:1]
    return {*passed, *conclusive}


def _age(drill: DrillView) -> tuple[datetime, str]:
    return drill.completed or drill.created or _NEVER, drill.name

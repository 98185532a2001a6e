"""A drill as the decisions about a route's drills see it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from turnout_operator.api.enums import Verdict
from turnout_operator.api.fallbackdrill_status import DrillPhase
from turnout_operator.drills.names import SCHEDULED_AT

CONCLUSIVE = frozenset({Verdict.PASSED, Verdict.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillView:
    """`scheduled` is None for a drill that a person made."""

    name: str
    fault: str
    """The first one of the drill."""
    scheduled: datetime | None
    created: datetime | None
    phase: str
    verdict: str
    completed: datetime | None
    proves: str = ""
    """See `proof`."""

    @property
    def done(self) -> bool:
        return self.phase == DrillPhase.DONE


def from_object(body: dict[str, Any]) -> DrillView:
    """Of a FallbackDrill as the API server gives it, however incomplete."""
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    faults = spec.get("faults") or [{}]
    return DrillView(
        name=metadata["name"],
        fault=str(faults[0].get("type", "")),
        scheduled=instant((metadata.get("annotations") or {}).get(SCHEDULED_AT)),
        created=instant(metadata.get("creationTimestamp")),
        phase=str(status.get("phase") or ""),
        verdict=str(status.get("verdict") or ""),
        completed=instant(status.get("completedAt")),
        proves=str(status.get("proves") or ""),
    )


def instant(written: object) -> datetime | None:
    """An RFC 3339 time, or None where there is none."""
    try:
        found = datetime.fromisoformat(str(written or ""))
    except ValueError:
        return None
    return found if found.tzinfo else None

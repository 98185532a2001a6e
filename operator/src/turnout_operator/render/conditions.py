"""Conditions as tools read them: one order, a transition time that moves only with the status, abnormal ones present only while true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from turnout_operator.api.conditions import Condition, ConditionStatus, ConditionType
from turnout_operator.ir import Condition as Faulted
from turnout_operator.ir import Diagnostic, Outcome, Service

LONGEST_MESSAGE = 32_000
_ABNORMAL = (ConditionType.RECONCILING, ConditionType.STALLED, ConditionType.PAUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A condition before it has a time."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str = ""

    @property
    def holds(self) -> bool:
        """Whether the status is True."""
        return self.status is ConditionStatus.TRUE


def true(kind: ConditionType, reason: str, message: str = "") -> Statement:
    """It is so."""
    return Statement(type=kind, status=ConditionStatus.TRUE, reason=str(reason), message=message)


def false(kind: ConditionType, reason: str, message: str) -> Statement:
    """It is not so."""
    return Statement(type=kind, status=ConditionStatus.FALSE, reason=str(reason), message=message)


def unknown(kind: ConditionType, reason: str, message: str) -> Statement:
    """Nobody can say."""
    return Statement(type=kind, status=ConditionStatus.UNKNOWN, reason=str(reason), message=message)


def judged(kind: ConditionType, reason: str, faults: Iterable[Diagnostic], outcome: Outcome) -> Statement:
    """Accepted or ResolvedRefs: True without faults, else the first reason and every fault with its field, and what runs instead."""
    found = tuple(f for f in faults if f.condition is Faulted(kind.value))
    if not found:
        return true(kind, reason)
    message = "; ".join(f"{f.field}: {f.message}" if f.field else f.message for f in found)
    return false(kind, found[0].reason, f"{message}. {in_service(outcome)}")


def in_service(outcome: Outcome) -> str:
    """A sentence on what runs of the object."""
    match outcome.service:
        case Service.CURRENT:
            return f"Generation {outcome.served} is in service."
        case Service.LAST_GOOD:
            return f"The last accepted generation {outcome.served} stays in service."
        case Service.STOPPED:
            return "Nothing of it is in service: what it stands on was taken away."
        case Service.REFUSED:
            return "Nothing of it is in service."


def dated(
    statements: Iterable[Statement], previous: Iterable[Mapping[str, Any]], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions for the status; `previous` is what stands there now, as decoded JSON."""
    before = {c.get("type"): c for c in previous}
    kept = [s for s in statements if s.type not in _ABNORMAL or s.holds]
    return tuple(_dated(s, before.get(s.type.value), generation, now) for s in kept)


def rfc3339(moment: datetime) -> str:
    """A time as Kubernetes writes it, in whole seconds of UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _dated(statement: Statement, before: Mapping[str, Any] | None, generation: int, now: datetime) -> Condition:
    since = before.get("lastTransitionTime") if before and before.get("status") == statement.status.value else None
    message = statement.message
    if len(message) > LONGEST_MESSAGE:
        message = message[:LONGEST_MESSAGE] + " … and more: see `turnout compile`."
    return Condition(
        type=statement.type.value,
        status=statement.status,
        reason=statement.reason,
        message=message,
        last_transition_time=since or rfc3339(now),
        observed_generation=generation,
    )

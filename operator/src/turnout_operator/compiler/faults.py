"""Gathers every fault of one object, so that a person sees all of them at once and not the first."""

from __future__ import annotations

from turnout_operator.api.conditions import AcceptedReason, AutoscalingReason, ResolvedRefsReason
from turnout_operator.ir import Condition, Diagnostic


class Faults:
    """The faults of one object. A field that a rule of the CRD already spoke of is not spoken of again by `unless_said`."""

    def __init__(self, *, kind: str, namespace: str, name: str, generation: int) -> None:
        self._kind = kind
        self._namespace = namespace
        self._name = name
        self._generation = generation
        self._found: list[Diagnostic] = []

    def refuse(self, reason: AcceptedReason, field: str, message: str) -> None:
        """The object cannot be kept as a promise."""
        self._add(Condition.ACCEPTED, reason, field, message)

    def unless_said(self, reason: AcceptedReason, field: str, message: str) -> None:
        """`refuse`, unless something already stands at that field."""
        if all(d.field != field for d in self._found):
            self.refuse(reason, field, message)

    def unresolved(self, reason: ResolvedRefsReason, field: str, message: str) -> None:
        """Something it names is not there or not allowed."""
        self._add(Condition.RESOLVED_REFS, reason, field, message)

    def unscalable(self, reason: AutoscalingReason, field: str, message: str) -> None:
        """Its autoscaler is not made; everything else of the object runs."""
        self._add(Condition.AUTOSCALING_READY, reason, field, message)

    @property
    def found(self) -> tuple[Diagnostic, ...]:
        """In the order of discovery, each once."""
        return tuple(dict.fromkeys(self._found))

    @property
    def stops(self) -> bool:
        """Whether this generation cannot run."""
        return any(d.condition is not Condition.AUTOSCALING_READY for d in self._found)

    def has(self, condition: Condition) -> bool:
        """Whether that condition is False."""
        return any(d.condition is condition for d in self._found)

    def _add(self, condition: Condition, reason: str, field: str, message: str) -> None:
        self._found.append(
            Diagnostic(
                kind=self._kind,
                namespace=self._namespace,
                name=self._name,
                generation=self._generation,
                condition=condition,
                reason=str(reason),
                field=field,
                message=message,
            )
        )

"""The CRD's own rules, asked again: an object may be older than a rule, and a folder of manifests has no apiserver before it."""

from __future__ import annotations

import functools
from datetime import UTC, date, datetime

import msgspec

from turnout_operator.api import Resource, validation
from turnout_operator.api.conditions import AcceptedReason
from turnout_operator.api.fault import Finding
from turnout_operator.api.operations import RuleException
from turnout_operator.compiler.faults import Faults


def examine(resource: Resource, faults: Faults) -> None:
    """Every rule of the CRD that this object breaks, in the apiserver's words."""
    for finding in _findings(msgspec.json.encode(resource.manifest(), order="deterministic")):
        faults.refuse(AcceptedReason.INVALID, finding.path, finding.message)


@functools.lru_cache(maxsize=1024)
def _findings(manifest: bytes) -> tuple[Finding, ...]:
    """A pure function of its bytes, so most compilations pay for the edited object only."""
    return validation.findings(msgspec.json.decode(manifest))


def examine_exceptions(exceptions: tuple[RuleException, ...], now: datetime, faults: Faults) -> None:
    """An exception that is over waives nothing."""
    for index, exception in enumerate(exceptions):
        field = f"spec.exceptions[{index}].expires"
        try:
            expires = date.fromisoformat(exception.expires)
        except ValueError:
            faults.unless_said(
                AcceptedReason.INVALID, field, f"{exception.expires} is no date: write one such as 2027-03-01"
            )
            continue
        if expires < now.astimezone(UTC).date():
            message = (
                f"this exception ended on {exception.expires}: keep the rule again, or have {exception.owner} renew it"
            )
            faults.refuse(AcceptedReason.INVALID, field, message)

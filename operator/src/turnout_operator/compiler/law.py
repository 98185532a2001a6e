"""The CRD's own rules, asked again: an object may be older than a rule, and a folder of manifests has no apiserver before it."""

from __future__ import annotations

import functools
import re
from datetime import UTC, date, datetime

import msgspec

from turnout_operator.api import Resource, validation
from turnout_operator.api.conditions import AcceptedReason
from turnout_operator.api.fault import Finding
from turnout_operator.api.operations import RuleException
from turnout_operator.compiler.faults import Faults
from turnout_operator.ir import Diagnostic
from turnout_operator.snapshot import Unreadable


def examine(resource: Resource, faults: Faults) -> None:
    """Every rule of the CRD that this object breaks, in the apiserver's words."""
    for finding in _findings(msgspec.json.encode(resource.manifest(), order="deterministic")):
        faults.refuse(_reason(finding.path), finding.path, finding.message)


_REASONS = (
    (re.compile(r"spec\.endpoints\[\d+\]\.url"), AcceptedReason.INSECURE_ENDPOINT),
    (re.compile(r"spec\.latency\.(timeToFirstToken|total)\.p\d\d"), AcceptedReason.TARGETS_OUT_OF_ORDER),
    (re.compile(r"spec\.models\[\d+\]\.tokenizer"), AcceptedReason.UNKNOWN_TOKENIZER),
)
"""Fields about which the CRD has one kind of complaint, and the reason the compiler gives for the same."""


def _reason(path: str) -> AcceptedReason:
    return next((reason for field, reason in _REASONS if field.fullmatch(path)), AcceptedReason.INVALID)


@functools.lru_cache(maxsize=1024)
def _findings(manifest: bytes) -> tuple[Finding, ...]:
    """A pure function of its bytes, so most compilations pay for the edited object only."""
    return validation.findings(msgspec.json.decode(manifest))


def told(broken: Unreadable) -> tuple[Diagnostic, ...]:
    """The faults of an object that cannot be read; that rules were left unchecked for it goes without saying."""
    faults = Faults(kind=broken.kind, namespace=broken.namespace, name=broken.name, generation=broken.generation)
    for field, message in broken.faults:
        if field:
            faults.refuse(_reason(field), field, message)
    return faults.found


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

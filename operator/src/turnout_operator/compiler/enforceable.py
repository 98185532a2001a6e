"""Declared but not enforced by this version: a bound refuses the object, a convenience is said in its status."""

from __future__ import annotations

from turnout_operator.api import LLMRouteSpec, ProviderPoolSpec
from turnout_operator.api.conditions import AcceptedReason
from turnout_operator.api.enforcement import unenforced
from turnout_operator.compiler.faults import Faults
from turnout_operator.ir import NotEnforced


def examine(spec: LLMRouteSpec | ProviderPoolSpec, faults: Faults) -> tuple[NotEnforced, ...]:
    """The conveniences, sorted by field; bounds go to `faults`."""
    bounds, conveniences = unenforced(spec)
    for gap in bounds:
        faults.refuse(AcceptedReason.NOT_ENFORCEABLE, gap.path, gap.words)
    return tuple(NotEnforced(field=f"{gap.path} {gap.value}".rstrip(), since=gap.since) for gap in conveniences)

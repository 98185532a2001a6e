"""Declared but not enforced by this version: a bound refuses the route, a convenience is said in status."""

from __future__ import annotations

from turnout_operator.api import LLMRoute, ProviderPool
from turnout_operator.compiler.faults import Faults
from turnout_operator.ir import NotEnforced


def examine(resource: LLMRoute | ProviderPool, faults: Faults) -> tuple[NotEnforced, ...]:
    """The conveniences; bounds go to `faults`."""
    return ()

"""What of a route a drill proves: the way of a request under one fault and all that decides it. An edit of it makes older drills worthless.

A drill at other candidates than the first choice goes another way, so it proves another thing than what a schedule rehearses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from turnout_operator.drills.expected import Expected, expect
from turnout_operator.ir import CompiledRoute
from turnout_sidecar.policy.model import FaultClass, Route


def digest(route: Route, expected: Expected) -> str:
    """The same for routes that take the same way under that fault, whatever their budgets and owners."""
    steps = next((p.steps for p in route.degradation if expected.fault in p.faults), ())
    way = (expected.path, steps, route.candidates, route.rules, route.order, route.attempts, route.deadlines)
    return hashlib.sha256(msgspec.json.encode(way, order="deterministic")).hexdigest()[:16]


def digests(route: CompiledRoute) -> Mapping[str, str]:
    """Of every fault class at the first choice. A fault that cannot be predicted is proved by nothing."""
    return {fault.value: _digest(route, fault) for fault in FaultClass}


def _digest(route: CompiledRoute, fault: FaultClass) -> str:
    try:
        return digest(route.policy, expect(route, fault, ()))
    except ValueError:
        return "unpredictable"

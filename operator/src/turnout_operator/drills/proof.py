"""What of a route a drill proves: all that decides the way of a request under one fault. An edit of it makes older drills worthless."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from turnout_sidecar.policy.model import FaultClass, Route


def digest(route: Route, fault: FaultClass) -> str:
    """The same for routes that take the same way under that fault, whatever their budgets and owners."""
    path = next((p.steps for p in route.degradation if fault in p.faults), ())
    way = (route.candidates, route.rules, route.order, route.attempts, route.deadlines, path)
    return hashlib.sha256(msgspec.json.encode(way, order="deterministic")).hexdigest()[:16]


def digests(route: Route) -> Mapping[str, str]:
    """Of every fault class."""
    return {fault.value: digest(route, fault) for fault in FaultClass}

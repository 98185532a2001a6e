"""What a drill must show, in the words of the evidence, read from the route's own declaration by the planner that serves requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from turnout_operator.ir import CompiledRoute
from turnout_sidecar.core import plan
from turnout_sidecar.policy.model import FaultClass, Route
from turnout_sidecar.policy.units import Millis, NanoUSD, Tokens

TENANT = "turnout-drill"
"""What probes say in identity headers that a route requires. They are charged to no tenant."""
MOST_OUTPUT = Tokens(16)
PROMPT_BYTES = 256
"""An upper bound of a probe's input, for rules that look at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One fault's declared way, for the request that probes send."""

    fault: str
    control: str
    """The candidate that answers while nothing is wrong."""
    path: tuple[str, ...]
    """Such as ``small:Unavailable``, ``local:ok``; retries at the same candidate are not told apart."""
    candidate: str
    """Who answers in the end; empty where the route itself refuses."""
    status: int
    reason: str
    """``x-turnout-degraded``"""
    step: str
    """``x-turnout-step``"""
    latency: Millis
    """The route's total deadline."""
    cost: NanoUSD
    """The most one request may cost."""

    @property
    def meets_fault(self) -> bool:
        """Whether a probe would meet the fault at all."""
        return any(entry.partition(":")[2] == self.fault for entry in self.path)


def expect(route: CompiledRoute, fault: FaultClass, candidates: Sequence[str]) -> Expected:
    """The route's way under the fault at these candidates, or at the probe's first choice where none is named.

    Raises `ValueError` where a rule cannot be read or the route declares no path for the fault.
    """
    routed = msgspec.structs.replace(route.policy, order=first_choices(route.policy))
    prediction = plan.path_for(routed, fault, candidates)
    return Expected(
        fault=fault,
        control=routed.order[0],
        path=prediction.path,
        candidate=prediction.candidate,
        status=prediction.status,
        reason=prediction.degraded,
        step=prediction.step,
        latency=route.policy.deadlines.total,
        cost=route.worst_case.cost,
    )


def first_choices(route: Route) -> tuple[str, ...]:
    """Whom a probe is routed to, rules included."""
    headers = dict(probe_headers(route))
    facts = plan.Facts(
        model=probe_model(route),
        input_tokens=PROMPT_BYTES,
        max_output_tokens=min(MOST_OUTPUT, route.tokens.max_output),
        stream=False,
        tenant=TENANT if route.tenant is not None else "",
    )
    rules = [plan.compile_rule(rule) for rule in route.rules]
    choices, _ = plan.first_choices(rules, route.order, facts, lambda name: headers.get(name, ""))
    return choices


def probe_model(route: Route) -> str:
    """A model name that the route matches."""
    models = route.matches[0].models if route.matches else ()
    return models[0] if models else route.key.partition("/")[2]


def probe_headers(route: Route) -> tuple[tuple[str, str], ...]:
    """What a request needs so that the route matches and its identity is there."""
    matched = [(h.name, h.value) for m in route.matches[:1] for h in m.headers]
    identity = [(i.header, TENANT) for i in (route.tenant, route.user, route.run) if i is not None]
    return tuple(sorted(dict([*identity, *matched]).items()))

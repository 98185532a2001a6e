"""The policy, prepared for serving: whatever can be looked up, encoded or compiled once is, when the policy arrives.

Frozen in all but the counters that requests keep here (permits, load). A running request keeps the runtime it began with, so
one request sees one policy. Breakers and loads come from the engine and outlive it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from turnout_sidecar.core import plan
from turnout_sidecar.core.breaker import Breaker
from turnout_sidecar.core.retry import RetryPermits
from turnout_sidecar.messages import Headers, ListedModel, Passage
from turnout_sidecar.policy.codec import RouteRefused
from turnout_sidecar.policy.model import (
    Candidate,
    Dialect,
    Endpoint,
    FaultClass,
    Match,
    Model,
    Pool,
    Price,
    Route,
    Scope,
    Step,
)
from turnout_sidecar.policy.units import NanoUSD


class Load:
    """One pool's attempts in flight."""

    __slots__ = ("in_flight",)

    def __init__(self) -> None:
        self.in_flight = 0


class Road(NamedTuple):
    """One endpoint of a pool, with the path that its requests take."""

    endpoint: Endpoint
    path: str


class Lane:
    """A candidate of one route, ready to be asked."""

    __slots__ = (
        "abort",
        "accounts",
        "attempt_labels",
        "breaker",
        "headers",
        "input_labels",
        "load",
        "model",
        "model_labels",
        "name",
        "output_labels",
        "passage",
        "plain_head",
        "pool",
        "price",
        "roads",
        "step",
        "stream_head",
        "weights",
    )

    def __init__(
        self, route: str, candidate: Candidate, pool: Pool, model: Model, passage: Passage, breaker: Breaker, load: Load
    ) -> None:
        self.name = candidate.name
        self.pool = pool.key
        self.model = model
        self.price: Price = model.price
        self.abort = pool.abort
        self.passage = passage
        self.breaker = breaker
        self.load = load
        self.roads = tuple(Road(e, passage.path(e.base_path)) for e in pool.endpoints)
        self.weights = tuple(e.weight for e in pool.endpoints)
        self.headers: Headers = passage.headers
        self.accounts = tuple(f"{limit.account}/-" for limit in pool.limits if limit.scope is Scope.POOL)
        self.step = plan.candidate_step(candidate.name)
        served: Headers = (
            (b"x-turnout-route", route.encode()),
            (b"x-turnout-model", model.name.encode()),
            (b"x-turnout-candidate", candidate.name.encode()),
        )
        self.plain_head: Headers = ((b"content-type", b"application/json"), *served)
        self.stream_head: Headers = (
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *served,
        )
        self.attempt_labels = (pool.key, model.name)
        self.model_labels = (route, model.name)
        self.input_labels = (route, model.name, "input")
        self.output_labels = (route, model.name, "output")


class ServedRoute:
    """One route, ready to serve."""

    __slots__ = (
        "accounts",
        "key",
        "lanes",
        "ok_labels",
        "order",
        "permits",
        "policy",
        "prices",
        "refusal_head",
        "request_limit",
        "rules",
        "steps",
        "tenant_accounts",
    )

    def __init__(self, route: Route, lanes: Mapping[str, Lane]) -> None:
        """Raises `ValueError` where a rule cannot be compiled or a fault class has no path."""
        self.policy = route
        self.key = route.key
        self.lanes = lanes
        self.order = tuple(lanes[name] for name in route.order)
        self.rules = tuple(plan.compile_rule(rule) for rule in route.rules)
        self.steps: dict[FaultClass, tuple[Step, ...]] = {f: plan.steps_for(route, f) for f in FaultClass}
        for steps in self.steps.values():
            plan.last_word(steps)
        per_request = [limit.amount for limit in route.limits if limit.scope is Scope.REQUEST]
        self.request_limit: NanoUSD | None = min(per_request, default=None)
        self.accounts = tuple(f"{limit.account}/-" for limit in route.limits if limit.scope is Scope.ROUTE)
        self.tenant_accounts = tuple(limit.account for limit in route.limits if limit.scope is Scope.TENANT)
        self.prices = tuple(lane.price for lane in lanes.values())
        self.permits = RetryPermits()
        self.refusal_head: Headers = ((b"x-turnout-route", route.key.encode()),)
        self.ok_labels = (route.key, "ok")


class Claim(NamedTuple):
    """One way in which requests reach a route."""

    match: Match
    route: ServedRoute


class Runtime:
    """All that one policy serves. `claims` by model name; `anywhere` are those that name no model."""

    __slots__ = ("anywhere", "claims", "models", "pools", "refused", "routes", "version")

    def __init__(
        self,
        version: str,
        routes: Iterable[ServedRoute],
        pools: Mapping[str, Pool],
        refused: tuple[RouteRefused, ...] = (),
    ) -> None:
        self.version = version
        self.routes = {route.key: route for route in routes}
        self.pools = pools
        self.refused = refused
        claims: dict[str, list[Claim]] = {}
        anywhere: list[Claim] = []
        for route in sorted(self.routes.values(), key=lambda r: r.key):
            for match in route.policy.matches:
                for model in match.models:
                    claims.setdefault(model, []).append(Claim(match, route))
                if not match.models:
                    anywhere.append(Claim(match, route))
        # the more headers a match names, the more it says; the compiler refuses true conflicts
        self.claims = {m: tuple(sorted(c, key=_specific)) for m, c in claims.items()}
        self.anywhere = tuple(sorted(anywhere, key=_specific))
        self.models = tuple(
            ListedModel(id=model, owner=found[0].route.policy.owner) for model, found in sorted(self.claims.items())
        )


def _specific(claim: Claim) -> int:
    return -len(claim.match.headers)


def serve(
    route: Route,
    pools: Mapping[str, Pool],
    passages: Mapping[Dialect, Passage],
    breaker: Callable[[Pool, Model], Breaker],
    load: Callable[[str], Load],
) -> ServedRoute:
    """Prepares a route. Raises `ValueError` with words for the route's author where this sidecar cannot serve it."""
    lanes = {}
    for candidate in route.candidates:
        pool = pools[candidate.pool]
        passage = passages.get(pool.dialect)
        if passage is None:
            raise ValueError(f"candidate {candidate.name}: this sidecar does not speak {pool.dialect}")
        model = next(m for m in pool.models if m.name == candidate.model)
        if not pool.endpoints:
            raise ValueError(f"candidate {candidate.name}: pool {pool.key} has no endpoint")
        lanes[candidate.name] = Lane(route.key, candidate, pool, model, passage, breaker(pool, model), load(pool.key))
    return ServedRoute(route, lanes)

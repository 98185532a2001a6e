"""What sidecars last said of the world: breakers and load. Facts for status; nothing is decided by them."""

import threading
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import NamedTuple

from turnout_operator import metrics
from turnout_operator.api.providerpool_status import BreakerState
from turnout_operator.ir import CompiledRoute
from turnout_operator.quota.ports import Identity
from turnout_sidecar.policy.model import CandidateStep, FaultClass, RespondStep
from turnout_sidecar.policy.report import BreakerReport, Report

_STALE = 15.0
"""Seconds after which a sidecar's word no longer counts: it reports each second."""


class _Said(NamedTuple):
    at: float
    namespace: str
    breakers: tuple[BreakerReport, ...]
    in_flight: Mapping[str, int]


class Sightings:
    """Thread-safe. `news` is called with a namespace when a breaker there changed its state."""

    def __init__(self, news: Callable[[str], None]) -> None:
        self._news = news
        self._lock = threading.Lock()
        self._last: dict[str, _Said] = {}

    def report(self, identity: Identity, report: Report) -> None:
        """Takes a report that the lease service took up."""
        with self._lock:
            before = self._last.get(identity.key)
            in_flight = {f.pool: f.in_flight for f in report.in_flight}
            self._last[identity.key] = _Said(monotonic(), identity.namespace, report.breakers, in_flight)
        self._measure(in_flight)
        if before is None or before.breakers != report.breakers:
            self._news(identity.namespace)

    def serve(self, pools: Iterable[str]) -> None:
        """These pools (``namespace/name``) have a metric from now on, also while nothing is asked of them."""
        self._measure(pools)

    def heard(self, namespace: str) -> bool:
        """Whether any sidecar of that namespace has reported lately."""
        return any(said.namespace == namespace for said in self._fresh())

    def breakers(self, pool: str) -> tuple[tuple[str, BreakerState], ...]:
        """(model, state) of that pool as each sidecar said."""
        return tuple(
            (b.model, BreakerState(b.state)) for said in self._fresh() for b in said.breakers if b.pool == pool
        )

    def open_in(self, namespace: str) -> frozenset[tuple[str, str]]:
        """(pool, model) whose breaker any sidecar of that namespace holds open."""
        return frozenset(
            (b.pool, b.model)
            for said in self._fresh()
            if said.namespace == namespace
            for b in said.breakers
            if b.state != BreakerState.CLOSED.value
        )

    def _measure(self, pools: Iterable[str]) -> None:
        fresh = self._fresh()
        for pool in pools:
            namespace, _, name = pool.partition("/")
            metrics.POOL_IN_FLIGHT.labels(namespace, name).set(sum(said.in_flight.get(pool, 0) for said in fresh))

    def _fresh(self) -> list[_Said]:
        with self._lock:
            now = monotonic()
            self._last = {k: v for k, v in self._last.items() if now - v.at <= _STALE}
            return list(self._last.values())


def active_step(route: CompiledRoute, stopped: frozenset[tuple[str, str]]) -> str:
    """The step that serves while these (pool, model) are stopped; empty while the first choice is not among them."""
    where = {c.name: (c.pool, c.model) for c in route.policy.candidates}
    if where[route.policy.order[0]] not in stopped:
        return ""
    path = next(p for p in route.policy.degradation if FaultClass.UNAVAILABLE in p.faults)
    for step in path.steps:
        match step:
            case CandidateStep(candidate=name) if where[name] not in stopped:
                return f"candidate {name}"
            case RespondStep(status=status):
                return f"respond {status}"
    raise AssertionError("a degradation path ends in a respond step: the compiler saw to that")

"""What sidecars last said of the world: breakers and load. Facts for status; nothing is decided by them."""

import threading
from collections.abc import Callable
from time import monotonic

from turnout_operator.api.providerpool_status import BreakerState
from turnout_operator.ir import CompiledRoute
from turnout_operator.quota.ports import Identity
from turnout_sidecar.policy.model import CandidateStep, FaultClass, RespondStep
from turnout_sidecar.policy.report import BreakerReport, Report

_STALE = 15.0
"""Seconds after which a sidecar's word no longer counts: it reports each second."""


class Sightings:
    """Thread-safe. `news` is called with a namespace when a breaker there changed its state."""

    def __init__(self, news: Callable[[str], None]) -> None:
        self._news = news
        self._lock = threading.Lock()
        self._last: dict[str, tuple[float, str, tuple[BreakerReport, ...]]] = {}

    def report(self, identity: Identity, report: Report) -> None:
        """Takes a report that the lease service took up."""
        with self._lock:
            before = self._last.get(identity.key)
            self._last[identity.key] = (monotonic(), identity.namespace, report.breakers)
        if before is None or before[2] != report.breakers:
            self._news(identity.namespace)

    def heard(self, namespace: str) -> bool:
        """Whether any sidecar of that namespace has reported lately."""
        return any(ns == namespace for ns, _ in self._fresh())

    def breakers(self, pool: str) -> tuple[tuple[str, BreakerState], ...]:
        """(model, state) of that pool as each sidecar said."""
        return tuple((b.model, BreakerState(b.state)) for _, said in self._fresh() for b in said if b.pool == pool)

    def open_in(self, namespace: str) -> frozenset[tuple[str, str]]:
        """(pool, model) whose breaker any sidecar of that namespace holds open."""
        return frozenset(
            (b.pool, b.model)
            for ns, said in self._fresh()
            if ns == namespace
            for b in said
            if b.state != BreakerState.CLOSED.value
        )

    def _fresh(self) -> list[tuple[str, tuple[BreakerReport, ...]]]:
        with self._lock:
            now = monotonic()
            self._last = {k: v for k, v in self._last.items() if now - v[0] <= _STALE}
            return [(ns, said) for _, ns, said in self._last.values()]


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

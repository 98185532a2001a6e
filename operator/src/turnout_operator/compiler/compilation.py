"""Snapshot + what was accepted before -> what is in service now, and everything that is wrong, for every object at once.

Pools first, since routes stand on them; then routes from the oldest to the newest, since the older keeps what both claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from turnout_operator.api import LLMRoute, ProviderPool
from turnout_operator.compiler import claims, last_good, law
from turnout_operator.compiler.age import age
from turnout_operator.compiler.candidates import PoolView
from turnout_operator.compiler.faults import Faults
from turnout_operator.compiler.pools import compile_pool, grant_of
from turnout_operator.compiler.routes import compile_route
from turnout_operator.ir import (
    Accepted,
    Compilation,
    CompiledPool,
    CompiledRoute,
    Diagnostic,
    Grant,
    GrantFrom,
    Outcome,
    Service,
)
from turnout_operator.snapshot import Snapshot, Unreadable

_Kind = TypeVar("_Kind", LLMRoute, ProviderPool)
_UNREAD = Grant(allowed=GrantFrom.ALL)
"""Of a pool that cannot be read and that nothing is in service of: a route is told that, and not that it lacks a grant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """One object after it was looked at."""

    outcome: Outcome
    faults: tuple[Diagnostic, ...]


def compile(snapshot: Snapshot, last_accepted: Accepted | None, now: datetime) -> Compilation:  # noqa: A001 - the word of the trade
    """The same arguments give the same bytes, in whatever order the snapshot was read. `now` is aware; exceptions end by it."""
    last = last_accepted or Accepted()
    views, judged_pools = _pools(snapshot, last)
    routes, judged_routes = _routes(snapshot, views, last, now)
    pools = [view.served for view in views.values() if view.served is not None]
    judged = [*judged_routes, *judged_pools]
    return Compilation(
        routes=tuple(sorted(routes, key=lambda r: r.key)),
        pools=tuple(sorted(pools, key=lambda p: p.key)),
        diagnostics=tuple(sorted((d for j in judged for d in j.faults), key=_position)),
        outcomes=tuple(sorted((j.outcome for j in judged), key=lambda o: (o.kind, o.key))),
    )


def _position(diagnostic: Diagnostic) -> tuple[str, str, str, str, str, str]:
    d = diagnostic
    return (d.kind, d.key, d.condition, d.field, d.reason, d.message)


def _pools(snapshot: Snapshot, last: Accepted) -> tuple[Mapping[str, PoolView], list[_Judged]]:
    before = {p.key: p for p in last.pools}
    views: dict[str, PoolView] = {}
    judged: list[_Judged] = []
    for pool in _alive(snapshot.pools):
        faults = _faults("ProviderPool", pool)
        compiled = compile_pool(pool, snapshot, faults)
        key = f"{pool.metadata.namespace}/{pool.metadata.name}"
        served = compiled or last_good.pool_in_service(before.get(key), pool, snapshot)
        grant = grant_of(pool.spec.allowed_namespaces)
        views[key] = PoolView(key=key, grant=grant, served=served, faults=faults.found)
        judged.append(_judge(pool, served, compiled is not None, before.get(key), faults.found))
    for broken in _unreadable(snapshot, "ProviderPool"):
        key, found = f"{broken.namespace}/{broken.name}", law.told(broken)
        served = last_good.pool_in_service(before.get(key), None, snapshot)
        grant = served.grant if served is not None else _UNREAD
        views[key] = PoolView(key=key, grant=grant, served=served, faults=found)
        judged.append(_judge_unreadable(broken, served, before.get(key), found))
    return views, judged


def _routes(
    snapshot: Snapshot, views: Mapping[str, PoolView], last: Accepted, now: datetime
) -> tuple[list[CompiledRoute], list[_Judged]]:
    before = {r.key: r for r in last.routes}
    placed: list[CompiledRoute] = []
    judged: list[_Judged] = []
    everything: list[LLMRoute | Unreadable] = [*_alive(snapshot.routes), *_unreadable(snapshot, "LLMRoute")]
    for route in sorted(everything, key=age):
        namespace, name = route.key
        earlier = before.get(f"{namespace}/{name}")
        labels = snapshot.labels(namespace)
        if isinstance(route, Unreadable):
            served = _still_good(earlier, views, labels, tuple(placed))
            judged.append(_judge_unreadable(route, served, earlier, law.told(route)))
        else:
            faults = _faults("LLMRoute", route)
            current = _current(route, views, labels, tuple(placed), now, faults)
            served = current or _still_good(earlier, views, labels, tuple(placed))
            judged.append(_judge(route, served, current is not None, earlier, faults.found))
        placed.extend([served] if served is not None else [])
    return placed, judged


def _current(
    route: LLMRoute,
    views: Mapping[str, PoolView],
    labels: Mapping[str, str],
    older: tuple[CompiledRoute, ...],
    now: datetime,
    faults: Faults,
) -> CompiledRoute | None:
    compiled = compile_route(route, views, labels, now, faults)
    if compiled is not None:
        claims.examine(compiled, older, faults)
    return None if faults.stops else compiled


def _alive(resources: tuple[_Kind, ...]) -> tuple[_Kind, ...]:
    """Deletion is a revocation from its first moment, whatever finalizers still hold the object."""
    return tuple(r for r in resources if r.metadata.deletion_timestamp is None)


def _still_good(
    earlier: CompiledRoute | None,
    views: Mapping[str, PoolView],
    labels: Mapping[str, str],
    older: tuple[CompiledRoute, ...],
) -> CompiledRoute | None:
    if earlier is None or any(last_good.revocations(earlier, views, labels, older)):
        return None
    return claims.with_shares_of(earlier, older)


def _judge(
    resource: LLMRoute | ProviderPool,
    served: CompiledRoute | CompiledPool | None,
    current: bool,
    earlier: CompiledRoute | CompiledPool | None,
    found: tuple[Diagnostic, ...],
) -> _Judged:
    meta = resource.metadata
    outcome = Outcome(
        kind=resource.kind,
        namespace=meta.namespace,
        name=meta.name,
        generation=meta.generation,
        served=served.generation if served is not None else None,
        service=Service.CURRENT if current else _service(served, earlier),
    )
    return _Judged(outcome=outcome, faults=found)


def _judge_unreadable(
    broken: Unreadable,
    served: CompiledRoute | CompiledPool | None,
    earlier: CompiledRoute | CompiledPool | None,
    found: tuple[Diagnostic, ...],
) -> _Judged:
    outcome = Outcome(
        kind=broken.kind,
        namespace=broken.namespace,
        name=broken.name,
        generation=broken.generation,
        served=served.generation if served is not None else None,
        service=_service(served, earlier),
    )
    return _Judged(outcome=outcome, faults=found)


def _service(served: object | None, earlier: object | None) -> Service:
    if served is not None:
        return Service.LAST_GOOD
    return Service.STOPPED if earlier is not None else Service.REFUSED


def _unreadable(snapshot: Snapshot, kind: str) -> tuple[Unreadable, ...]:
    return tuple(u for u in snapshot.unreadable if u.kind == kind)


def _faults(kind: str, resource: LLMRoute | ProviderPool) -> Faults:
    meta = resource.metadata
    return Faults(kind=kind, namespace=meta.namespace, name=meta.name, generation=meta.generation)

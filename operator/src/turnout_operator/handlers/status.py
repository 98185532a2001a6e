"""Writes status: of routes and pools, when it changed; amounts of money at most once a minute."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Literal

from turnout_operator import metrics
from turnout_operator.handlers.cache import Cache
from turnout_operator.handlers.programme import Programme
from turnout_operator.handlers.sightings import Sightings, active_step
from turnout_operator.handlers.work import Key
from turnout_operator.kube.client import Client, NotFound
from turnout_operator.kube.events import Recorder
from turnout_operator.kube.resources import HPAS, LLM_ROUTES, PROVIDER_POOLS, Resource
from turnout_operator.quota.service import BudgetFacts
from turnout_operator.render import hpa
from turnout_operator.render.pool_status import AutoscalerState, PoolFacts, pool_status
from turnout_operator.render.rehearsed import Rehearsal
from turnout_operator.render.spending import Spending
from turnout_operator.render.status import Programming, RouteFacts, route_status
from turnout_operator.xds import Progress
from turnout_sidecar.policy.model import Scope

Object = dict[str, Any]
BUDGETS_EVERY = 60.0
"""Seconds between two writes of an object's amounts, unless something else changed too."""
ANNOUNCED = ("Ready", "Programmed", "Rehearsed", "DegradationActive", "AutoscalingReady")
MONEY = ("budgets", "spentToday")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """Where facts come from; each may be called from a worker thread."""

    progress: Callable[[str, str], Progress]
    """of a namespace's sidecars against a policy version"""
    budgets: Callable[[tuple[Any, ...]], tuple[BudgetFacts, ...]]
    """of these `QuotaLimit`s; empty when the ledger cannot be read"""
    rehearsal: Callable[[str, str], Rehearsal]
    """of a route by namespace and name"""


class StatusWriter:
    """The ROUTE and POOL reconcilers."""

    def __init__(
        self,
        *,
        client: Client,
        cache: Cache,
        programme: Programme,
        sightings: Sightings,
        recorder: Recorder,
        knowledge: Knowledge,
    ) -> None:
        self._client = client
        self._cache = cache
        self._programme = programme
        self._sightings = sightings
        self._recorder = recorder
        self._knowledge = knowledge
        self._written: dict[tuple[str, str, str], float] = {}

    def route(self, key: Key) -> float | None:
        """Afterwards the route's status says what is known now."""
        body = self._cache.get(LLM_ROUTES, key.namespace, key.name)
        served = self._programme.in_service
        outcome = served.compilation.outcome_of("LLMRoute", f"{key.namespace}/{key.name}")
        if body is None or outcome is None:
            return None
        if outcome.generation != body["metadata"].get("generation"):
            return 0.2  # not compiled yet: the compilation asks again
        compiled = next((r for r in served.compilation.routes if r.key == outcome.key), None)
        spending = self._spending(compiled.quota if compiled is not None else ())
        facts = RouteFacts(
            outcome=outcome,
            faults=served.compilation.faults_of("LLMRoute", outcome.key),
            compiled=compiled,
            programming=self._programming(key, served.versions.get(key.namespace, "")),
            rehearsal=self._knowledge.rehearsal(key.namespace, key.name),
            active_step=None
            if compiled is None or not self._sightings.heard(key.namespace)
            else active_step(compiled, self._sightings.open_in(key.namespace)),
            spending=spending,
            spent_today=_today(compiled, spending),
        )
        self._write(LLM_ROUTES, body, route_status(facts, body.get("status") or {}, datetime.now(UTC)))
        return BUDGETS_EVERY

    def pool(self, key: Key) -> float | None:
        """Afterwards the pool's autoscaler stands as compiled, and its status says what is known now."""
        body = self._cache.get(PROVIDER_POOLS, key.namespace, key.name)
        compilation = self._programme.in_service.compilation
        outcome = compilation.outcome_of("ProviderPool", f"{key.namespace}/{key.name}")
        if body is None or outcome is None:
            return None
        if outcome.generation != body["metadata"].get("generation"):
            return 0.2
        compiled = next((p for p in compilation.pools if p.key == outcome.key), None)
        faults = compilation.faults_of("ProviderPool", outcome.key)
        wanted = hpa.autoscaler(compiled) if compiled is not None else None
        conflicted = any(f.condition.value == "AutoscalingReady" for f in faults)
        facts = PoolFacts(
            outcome=outcome,
            faults=faults,
            compiled=compiled,
            autoscaler=self._autoscaler(key, None if conflicted else wanted),
            breakers=self._sightings.breakers(outcome.key),
            routes=_users(self._cache.all(LLM_ROUTES), key.namespace, key.name),
            spending=self._spending(compiled.quota if compiled is not None else ()),
        )
        self._write(PROVIDER_POOLS, body, pool_status(facts, body.get("status") or {}, datetime.now(UTC)))
        return BUDGETS_EVERY if wanted is None or (facts.autoscaler and facts.autoscaler.able) else 2.0

    def _programming(self, key: Key, version: str) -> Programming:
        progress = self._knowledge.progress(key.namespace, version)
        refusals = tuple(w for w in progress.complaints if _concerns(w, key))
        return Programming(connected=progress.connected, programmed=progress.programmed, refusals=refusals)

    def _spending(self, quota: tuple[Any, ...]) -> tuple[Spending, ...]:
        return tuple(line for facts in self._knowledge.budgets(quota) for line in _lines(facts)) if quota else ()

    def _autoscaler(self, key: Key, wanted: Object | None) -> AutoscalerState | None:
        name = hpa.autoscaler_name(key.name)
        if wanted is None:
            found = self._client.find(HPAS, key.namespace, name)
            if found is not None and _ours(found):
                self._client.delete(HPAS, key.namespace, name)
            return None
        applied = self._client.apply(HPAS, wanted)
        conditions = {c["type"]: c for c in (applied.get("status") or {}).get("conditions") or ()}
        able = conditions.get("AbleToScale")
        if able is None:
            return AutoscalerState(able=None)
        return AutoscalerState(able=able["status"] == "True", words=f"{able['reason']}: {able['message']}")

    def _write(self, resource: Resource, body: Object, status: Object) -> None:
        metadata = body["metadata"]
        key = (resource.kind, metadata["namespace"], metadata["name"])
        before = body.get("status") or {}
        recent = monotonic() - self._written.get(key, -BUDGETS_EVERY) < BUDGETS_EVERY
        if status == before or (recent and _but(status, MONEY) == _but(before, MONEY)):
            return
        applied = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
            "status": status,
        }
        try:
            self._cache.wrote(resource, self._client.apply(resource, applied, subresource="status"))
        except NotFound:
            return  # deleted meanwhile
        if _but(status, MONEY) != _but(before, MONEY):
            self._announce(body, before, status)
        self._written[key] = monotonic()

    def _announce(self, body: Object, before: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """An Event for each condition that changed its mind, as `kubectl describe` shows them."""
        old = {c["type"]: c for c in before.get("conditions") or ()}
        for condition in status.get("conditions") or ():
            known = old.get(condition["type"])
            if condition["type"] not in ANNOUNCED or condition["status"] == "Unknown":
                continue
            if known is not None and (known["status"], known["reason"]) == (condition["status"], condition["reason"]):
                continue
            bad = (condition["status"] == "True") == (condition["type"] == "DegradationActive")
            kind: Literal["Normal", "Warning"] = "Warning" if bad else "Normal"
            words = f"{condition['type']}={condition['status']}: {condition.get('message', '')}"
            self._recorder.record(body, kind, condition["reason"], words)

    def count(self) -> None:
        """Sets the gauge of objects by the reason of their Ready condition."""
        metrics.OBJECTS.clear()
        for resource in (LLM_ROUTES, PROVIDER_POOLS):
            for body in self._cache.all(resource):
                conditions = (body.get("status") or {}).get("conditions") or ()
                reason = next((c["reason"] for c in conditions if c["type"] == "Ready"), "Unknown")
                metrics.OBJECTS.labels(resource.kind, reason).inc()


def _concerns(words: str, key: Key) -> bool:
    """A complaint about another route is that route's; every other one is everybody's."""
    said = words.partition(": ")[2]
    return not said.startswith("route ") or said.startswith(f"route {key.namespace}/{key.name} ")


def _users(routes: tuple[Object, ...], namespace: str, name: str) -> tuple[str, ...]:
    found = set()
    for route in routes:
        home = route["metadata"]["namespace"]
        for candidate in route.get("spec", {}).get("candidates") or ():
            reference = candidate.get("poolRef") or {}
            if (reference.get("namespace", home), reference.get("name")) == (namespace, name):
                found.add(f"{home}/{route['metadata']['name']}")
    return tuple(sorted(found))


def _lines(facts: BudgetFacts) -> list[Spending]:
    resets = datetime.fromtimestamp(facts.resets / 1_000, UTC)
    lines = [
        Spending(account=facts.account, subject=s.subject, spent=s.spent, held=s.held, resets_at=resets)
        for s in facts.fullest
    ]
    rest = (facts.spent - sum(s.spent for s in facts.fullest), facts.held - sum(s.held for s in facts.fullest))
    if any(rest):
        lines.append(Spending(account=facts.account, subject="-", spent=rest[0], held=rest[1], resets_at=resets))
    return lines


def _today(compiled: Any, spending: tuple[Spending, ...]) -> int | None:
    """What the route's own Day limit has counted; without one nobody counts by the day."""
    if compiled is None:
        return None
    daily = {q.account for q in compiled.quota if q.scope is Scope.ROUTE and q.window.value == "Day"}
    return sum(s.spent for s in spending if s.account in daily) if daily else None


def _ours(body: Object) -> bool:
    return (body["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by") == "turnout"


def _but(status: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {k: v for k, v in status.items() if k not in names}

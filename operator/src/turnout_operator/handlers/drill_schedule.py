"""Stamps drills from a route's schedule, as a CronJob stamps Jobs, and knows what they have shown.

`lastScheduleTime` is written before the first drill of that time is created; a crash in between is healed by the drills' names, which
follow from route, fault and scheduled time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

import structlog

from turnout_operator import metrics
from turnout_operator.amounts import dollars, span
from turnout_operator.api.enums import DrillFault, Verdict
from turnout_operator.drills import history, names, schedule, series
from turnout_operator.drills.schedule import Passed
from turnout_operator.drills.status import rfc3339
from turnout_operator.drills.view import CONCLUSIVE, DrillView, from_object, instant
from turnout_operator.handlers.cache import Cache
from turnout_operator.ir import DrillFacts
from turnout_operator.kube.accepted import owner_reference
from turnout_operator.kube.client import Client, Conflict
from turnout_operator.kube.events import Recorder
from turnout_operator.kube.resources import FALLBACK_DRILLS, LLM_ROUTES
from turnout_operator.render.rehearsed import LastDrill, Rehearsal

log = structlog.get_logger(__name__)
Object = dict[str, Any]

_WAITING = 5.0
_LONGEST = 3600.0


class Scheduler:
    """One reconcile of a route at a time."""

    def __init__(
        self,
        *,
        client: Client,
        cache: Cache,
        recorder: Recorder,
        wake: Callable[[str, str], None],
        now: Callable[[], datetime],
    ) -> None:
        """`wake` has a drill looked at soon."""
        self._client = client
        self._cache = cache
        self._recorder = recorder
        self._wake = wake
        self._now = now
        self._scheduled: dict[tuple[str, str], datetime] = {}
        self._told: dict[tuple[str, str], datetime] = {}

    def reconcile(self, namespace: str, name: str, facts: DrillFacts) -> float | None:
        """Seconds until something is due, None where the route is gone."""
        route = self._client.find(LLM_ROUTES, namespace, name)
        if route is None or route["metadata"].get("deletionTimestamp"):
            return None
        now = self._now()
        last = instant(((route.get("status") or {}).get("drills") or {}).get("lastScheduleTime"))
        try:
            agenda = schedule.agenda(facts, last or instant(route["metadata"]["creationTimestamp"]) or now, now)
        except schedule.UnreadableSchedule as e:
            log.error("schedule unreadable", namespace=namespace, route=name, error=str(e))
            return None
        if agenda.passed is not None:
            self._tell_passed(route, agenda.passed)
        reached = agenda.due or (agenda.passed.latest if agenda.passed else None)
        if reached is not None:
            route = self._patch(route, {"lastScheduleTime": rfc3339(reached)})
            last = reached
        if last is not None:
            self._scheduled[namespace, name] = last
        waiting = last is not None and self._stamp(route, facts, last, now)
        self._tidy(namespace, name, facts, last)
        self._count(namespace, name)
        return _WAITING if waiting else self._until(facts, agenda.next, now)

    def rehearsal(self, namespace: str, name: str, current: Mapping[str, str]) -> Rehearsal:
        """From the drills that exist. `current` is what a drill of each fault must have proved to count (see `drills.proof`)."""
        route = self._cache.get(LLM_ROUTES, namespace, name) or {}
        stored = instant(((route.get("status") or {}).get("drills") or {}).get("lastScheduleTime"))
        known = [t for t in (stored, self._scheduled.get((namespace, name))) if t is not None]
        return shown(self._drills(namespace, name), max(known, default=None), current)

    # One scheduled time

    def _stamp(self, route: Object, facts: DrillFacts, scheduled: datetime, now: datetime) -> bool:
        """True while the series goes on."""
        namespace, name = route["metadata"]["namespace"], route["metadata"]["name"]
        existing = {d.name: d for d in self._drills(namespace, name)}
        following = series.step(namespace, name, facts, scheduled, existing, now)
        match following:
            case series.Stamp():
                self._create(route, facts, scheduled, following)
                return True
            case series.Waiting():
                return True
            case series.Over(left=left):
                begun = any(d.scheduled == scheduled for d in existing.values())
                if left and begun:
                    self._tell_left(route, scheduled, left)
                return False

    def _create(self, route: Object, facts: DrillFacts, scheduled: datetime, stamp: series.Stamp) -> None:
        namespace, name = route["metadata"]["namespace"], route["metadata"]["name"]
        owner = {"apiVersion": LLM_ROUTES.api_version, "kind": LLM_ROUTES.kind, "metadata": route["metadata"]}
        body = {
            "apiVersion": FALLBACK_DRILLS.api_version,
            "kind": FALLBACK_DRILLS.kind,
            "metadata": {
                "name": stamp.name,
                "namespace": namespace,
                "labels": {names.ROUTE_LABEL: name},
                "annotations": {names.SCHEDULED_AT: rfc3339(scheduled)},
                "ownerReferences": [owner_reference(owner)],
            },
            "spec": {
                "routeRef": {"name": name},
                "faults": [{"type": stamp.fault}],
                "duration": span(facts.fault_duration),
                "startingDeadline": span(facts.starting_deadline),
                "probes": {"maxCost": dollars(facts.max_cost)},
                "reason": f"scheduled for {rfc3339(scheduled)}",
            },
        }
        try:
            created = self._client.create(FALLBACK_DRILLS, namespace, body)
        except Conflict:
            return  # another leader, or an earlier try of ours, stamped the same drill
        # The watch will find nothing new in what the cache knows already, so it is ours to say that there is work.
        self._cache.put(FALLBACK_DRILLS, created)
        self._wake(namespace, stamp.name)
        self._recorder.record(owner, "Normal", "DrillScheduled", f"{stamp.fault}: {stamp.name}")

    def _tell_passed(self, route: Object, passed: Passed) -> None:
        times = "1 scheduled drill time was" if passed.count == 1 else f"{passed.count} scheduled drill times were"
        words = f"{times} passed over, the last was {rfc3339(passed.latest)}: {passed.why}"
        self._recorder.record(_as_route(route), "Warning", "DrillMissed", words)

    def _tell_left(self, route: Object, scheduled: datetime, left: tuple[str, ...]) -> None:
        key = (route["metadata"]["namespace"], route["metadata"]["name"])
        if self._told.get(key) == scheduled:
            return
        self._told[key] = scheduled
        words = f"of the drills scheduled for {rfc3339(scheduled)} these could not start in time: {', '.join(left)}"
        self._recorder.record(_as_route(route), "Warning", "DrillMissed", words)

    # The route's record

    def _tidy(self, namespace: str, name: str, facts: DrillFacts, current: datetime | None) -> None:
        for old in history.expired(facts, self._drills(namespace, name), current):
            self._client.delete(FALLBACK_DRILLS, namespace, old)
            self._cache.drop(FALLBACK_DRILLS, namespace, old)
            self._wake(namespace, old)  # its report goes with it

    def _count(self, namespace: str, name: str) -> None:
        """A new life of the operator knows what earlier ones proved."""
        for fault, last in {d.fault: d for d in shown(self._drills(namespace, name), None).passed}.items():
            metrics.DRILL_LAST_SUCCESS.labels(namespace, name, fault.value).set(last.at.timestamp())

    def _patch(self, route: Object, drills: Object) -> Object:
        metadata = {"resourceVersion": route["metadata"]["resourceVersion"]}
        return self._client.merge(
            LLM_ROUTES,
            route["metadata"]["namespace"],
            route["metadata"]["name"],
            {"metadata": metadata, "status": {"drills": drills}},
            subresource="status",
        )

    def _drills(self, namespace: str, route: str) -> list[DrillView]:
        return [
            from_object(body)
            for body in self._cache.all(FALLBACK_DRILLS)
            if body["metadata"]["namespace"] == namespace
            and ((body.get("spec") or {}).get("routeRef") or {}).get("name") == route
        ]

    def _until(self, facts: DrillFacts, upcoming: datetime | None, now: datetime) -> float | None:
        if upcoming is None or facts.suspend:
            return None
        return max(0.05, min((upcoming - now).total_seconds(), _LONGEST))


def shown(
    drills: Sequence[DrillView], last_schedule: datetime | None, current: Mapping[str, str] = MappingProxyType({})
) -> Rehearsal:
    """What they have shown: the last drill of each fault, and the last that passed unless one has failed since.

    A drill that proved something else than `current` says shows nothing any more.
    """
    last: dict[str, LastDrill] = {}
    proof: dict[str, LastDrill] = {}
    for drill in sorted((d for d in drills if d.done and d.completed), key=lambda d: (d.completed, d.name)):
        if drill.verdict in CONCLUSIVE and drill.proves != current.get(drill.fault, drill.proves):
            continue
        assert drill.completed is not None, "only finished drills are looked at"
        found = LastDrill(
            fault=DrillFault(drill.fault), verdict=Verdict(drill.verdict), drill=drill.name, at=drill.completed
        )
        last[drill.fault] = found
        if found.verdict in CONCLUSIVE:
            proof[drill.fault] = found
    return Rehearsal(
        verdicts=tuple(last[f] for f in sorted(last)),
        passed=tuple(proof[f] for f in sorted(proof) if proof[f].verdict is Verdict.PASSED),
        last_schedule=last_schedule,
    )


def _as_route(route: Object) -> Object:
    return {"apiVersion": LLM_ROUTES.api_version, "kind": LLM_ROUTES.kind, "metadata": route["metadata"]}

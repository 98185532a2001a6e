"""Drives FallbackDrills: looks both ways, orders the fault, collects evidence, reverts, judges.

Rules
- The phase is written, by compare-and-swap on the object, before each effect: the order to inject comes after Injecting is stored with
  its deadline, the order to revert after Reverting. Whoever reads the object knows what may stand in the sidecars.
- A drill that this life did not begin is never gone on with: it is reverted, waited for until its fault must be over, and Inconclusive.
- A phase that somebody else wrote ends our part in it.
- Nothing here sleeps; each look returns when it wants to look again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, Literal

import structlog

from turnout_operator import metrics
from turnout_operator.api import FallbackDrill, InvalidManifestError
from turnout_operator.api.conditions import ConditionType, DrillReason
from turnout_operator.api.enums import Verdict
from turnout_operator.api.fallbackdrill import DrillMode
from turnout_operator.api.fallbackdrill_status import DrillPhase
from turnout_operator.drills import expected as expectations
from turnout_operator.drills import guards, preflight, progress, proof, report, status, verdict
from turnout_operator.drills.expected import Expected
from turnout_operator.drills.verdict import Demands, Interruption, Judgement
from turnout_operator.drills.view import instant
from turnout_operator.handlers.cache import Cache
from turnout_operator.handlers.drill_reports import Reports
from turnout_operator.handlers.drill_schedule import Scheduler
from turnout_operator.handlers.drill_sidecars import Key, Rehearsing, Running, Sidecar
from turnout_operator.identity import Identity
from turnout_operator.ir import CompiledRoute
from turnout_operator.kube.client import Client
from turnout_operator.kube.events import Recorder
from turnout_operator.kube.resources import FALLBACK_DRILLS, LLM_ROUTES
from turnout_operator.render.rehearsed import Rehearsal
from turnout_sidecar.policy.model import FaultClass
from turnout_sidecar.policy.report import DrillOrder, Report
from turnout_sidecar.policy.units import Millis, NanoUSD

log = structlog.get_logger(__name__)
Object = dict[str, Any]

MOST_PARTICIPANTS = 5
"""Sidecars that rehearse in one drill, however many there are: enough to see a difference between them."""
ANSWER_MARGIN = Millis(2_000)
"""How much longer than the route's total deadline a probe is waited for: later is as bad as never."""
_WAIT = 1.0
_UNDER_WAY = frozenset({DrillPhase.INJECTING, DrillPhase.OBSERVING, DrillPhase.REVERTING})


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteInService:
    """What runs of a route now: nothing, or the compiled route and the policy version that its sidecars are to report."""

    compiled: CompiledRoute | None
    policy_version: str = ""


def utc_now() -> datetime:
    return datetime.now(UTC)


class DrillRunner:
    """Thread-safe as the queue is: one reconcile of a key at a time. `namespace` is the operator's own, for reports."""

    def __init__(
        self,
        *,
        client: Client,
        cache: Cache,
        recorder: Recorder,
        namespace: str,
        in_service: Callable[[str, str], RouteInService],
        wake: Callable[[str, str], None] = lambda _namespace, _name: None,
        wake_route: Callable[[str, str], None] = lambda _namespace, _name: None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`wake` has a drill looked at soon, `wake_route` a route's schedule and status; called from any thread, must not block."""
        self._client = client
        self._cache = cache
        self._recorder = recorder
        self._in_service = in_service
        self._wake = wake
        self._wake_route = wake_route
        self._now = now
        self._rehearsing = Rehearsing()
        self._reports = Reports(client, namespace)
        self._scheduler = Scheduler(client=client, cache=cache, recorder=recorder, wake=wake, now=now)

    # What the lease service calls

    def orders(self, identity: Identity) -> tuple[DrillOrder, ...]:
        """For the answer to this sidecar's report."""
        return self._rehearsing.orders(identity, self._millis())

    def on_report(self, identity: Identity, told: Report) -> None:
        """Evidence, and that the sidecar lives. Never blocks."""
        for key in self._rehearsing.heard(identity, told, self._millis()):
            self._wake(*key)

    # What the queue calls

    def recover(self) -> None:
        """On becoming leader: nothing is ordered, and everything that was under way is looked at."""
        self.resign()
        drills = list(self._client.every(FALLBACK_DRILLS))
        for body in drills:
            self._cache.put(FALLBACK_DRILLS, body)
            if _phase(body) in _UNDER_WAY:
                self._rehearsing.foreign(_key(body), self._pools(body))
            if _phase(body) is not DrillPhase.DONE:
                self._wake(*_key(body))
        self._reports.sweep({"/".join(_key(body)) for body in drills})

    def resign(self) -> None:
        """No longer leader: sidecars are told nothing, so their faults end at the latest by their deadlines."""
        self._rehearsing.clear()
        metrics.DRILLS_RUNNING.set(0)

    def reconcile_drill(self, namespace: str, name: str) -> float | None:
        """One step of one drill; seconds until the next look, or None. Raises `Conflict`, `ApiError`, `Unreachable` to be tried again."""
        body = self._client.find(FALLBACK_DRILLS, namespace, name)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self._gone((namespace, name))
            return None
        again = self._step(body)
        metrics.DRILLS_RUNNING.set(self._rehearsing.count)
        return again

    def reconcile_schedule(self, namespace: str, route: str) -> float | None:
        """Stamps what is due and tidies what is old; seconds until the next scheduled time."""
        compiled = self._in_service(namespace, route).compiled
        return None if compiled is None else self._scheduler.reconcile(namespace, route, compiled.drills)

    def rehearsal(self, namespace: str, route: str) -> Rehearsal:
        """What the drills of a route have shown, for its status."""
        compiled = self._in_service(namespace, route).compiled
        current = proof.digests(compiled) if compiled is not None else {}
        return self._scheduler.rehearsal(namespace, route, current)

    # Steps

    def _step(self, body: Object) -> float | None:
        phase, key = _phase(body), _key(body)
        if phase is DrillPhase.DONE:
            self._rehearsing.forget(key)
            return None
        try:
            drill = FallbackDrill.from_manifest(body)
        except InvalidManifestError as e:
            return self._ended(body, _without_evidence(Verdict.ERROR, DrillReason.INTERNAL_ERROR, str(e)))
        running = self._rehearsing.get(key)
        if running is not None and (running.uid != body["metadata"]["uid"] or running.phase is not phase):
            self._rehearsing.forget(key)
            running = None
        if running is not None:
            return self._drive(body, drill, running)
        if phase in _UNDER_WAY:
            return self._take_back(body)
        return self._prepare(body, drill)

    def _prepare(self, body: Object, drill: FallbackDrill) -> float | None:
        now = self._now()
        around, sidecars, version_wanted = self._surroundings(drill)
        blocked = preflight.blocker(drill, around, now)
        if blocked is not None and blocked.passing and not preflight.late(drill, now):
            self._wait(body, blocked.words, now)
            return _WAIT
        if blocked is not None:
            return self._ended(body, _without_evidence(Verdict.SKIPPED, blocked.reason, blocked.words))
        assert around.compiled is not None, "a route that is not in service blocks"
        fault = drill.spec.faults[0]
        try:
            expected = expectations.expect(
                around.compiled, FaultClass(fault.type), tuple(c.name for c in fault.candidates)
            )
        except ValueError as e:
            return self._ended(body, _without_evidence(Verdict.ERROR, DrillReason.INTERNAL_ERROR, str(e)))
        if not expected.meets_fault:
            words = (
                f"no probe would meet {expected.fault} there: its way is {' -> '.join(expected.path)}; name {expected.control} "
                "among the fault's candidates, or none"
            )
            return self._ended(body, _without_evidence(Verdict.SKIPPED, DrillReason.NOT_REHEARSABLE, words))
        if drill.spec.mode is DrillMode.PREVIEW:
            words = (
                f"would inject {expected.fault} at {_some(sidecars)} sidecars; expected: {' -> '.join(expected.path)}"
            )
            return self._ended(body, _without_evidence(Verdict.SKIPPED, DrillReason.PREVIEWED, words), expected)
        body = self._write(body, status.preflight(body, now))
        return self._inject(body, drill, around.compiled, expected, sidecars, version_wanted)

    def _inject(
        self,
        body: Object,
        drill: FallbackDrill,
        route: CompiledRoute,
        expected: Expected,
        sidecars: tuple[Sidecar, ...],
        policy_version: str,
    ) -> float | None:
        now = self._now()
        ends = now + timedelta(milliseconds=drill.spec.duration.millis())
        running = _running(body, drill, route, expected, sidecars, _millis(now), _millis(ends), policy_version)
        busy = self._rehearsing.claim(running)
        if busy:
            self._wait(body, f"drill {busy} is under way on a pool of this route", now)
            return _WAIT
        try:
            proves = proof.digest(route.policy, expected)
            self._write(body, status.injecting(body, expected, proves, len(running.run.participants), now, ends))
        except BaseException:
            # Stored or not, nothing was ordered. If it was, the next look finds a phase that this life does not drive, and reverts.
            self._rehearsing.forget(running.key)
            raise
        self._rehearsing.change(running.key, _order)
        words = f"{expected.fault} at {len(running.run.participants)} sidecars; expected: {' -> '.join(expected.path)}"
        self._recorder.record(body, "Normal", "DrillStarted", words)
        return self._again(running)

    def _drive(self, body: Object, drill: FallbackDrill, running: Running) -> float | None:
        now = self._now()
        evidence = self._rehearsing.evidence(running.key)
        stop = running.stop or self._reason_to_stop(drill, running, now)
        following = progress.next_phase(
            running.run,
            running.phase,
            evidence,
            _millis(now),
            stop=stop is not None,
            reverting_since=running.reverting_since,
        )
        if following is running.phase:
            return self._again(running)
        if following is DrillPhase.DONE:
            return self._judge(body, running, now)
        if following is DrillPhase.REVERTING:
            words = stop.words if stop is not None else "the evidence is in, or the fault's time is over"
            self._write(body, status.moved(body, following, words, now))
            self._rehearsing.change(running.key, lambda d: _revert(d, stop, _millis(now)))
        else:
            self._write(body, status.moved(body, following, "probes are on their way", now))
            self._rehearsing.change(running.key, lambda d: _observe(d))
        return self._again(running)

    def _reason_to_stop(self, drill: FallbackDrill, running: Running, now: datetime) -> Interruption | None:
        if running.phase not in (DrillPhase.INJECTING, DrillPhase.OBSERVING):
            return None
        stop: Interruption | None = None
        if drill.spec.abort:
            stop = Interruption(
                verdict=Verdict.ABORTED, reason=DrillReason.ABORTED_BY_REQUEST, words="spec.abort was set to true"
            )
        else:
            elapsed = Millis(_millis(now) - running.injected)
            breach = guards.breached(running.guards, self._rehearsing.evidence(running.key), elapsed)
            if breach is not None:
                stop = Interruption(
                    verdict=Verdict.ABORTED, reason=DrillReason.ABORTED_BY_GUARD, words=f"abortWhen: {breach.words}"
                )
        if stop is not None:
            self._rehearsing.change(running.key, lambda d: _stop(d, stop, _millis(now)))
        return stop

    def _judge(self, body: Object, running: Running, now: datetime) -> float | None:
        judgement = verdict.judge(
            running.expected, self._rehearsing.evidence(running.key), running.demands, running.stop
        )
        stored = self._report(body, running, judgement, now)
        return self._ended(body, judgement, running.expected, report_name=stored, abort_latency=running.abort_latency)

    def _take_back(self, body: Object) -> float | None:
        """Somebody else's drill. Sidecars are told nothing of it, so its fault ends now, or at its deadline where none reports."""
        now, key = self._now(), _key(body)
        self._rehearsing.foreign(key, self._pools(body))
        ends = instant((body.get("status") or {}).get("faultEndsAt")) or now
        if _phase(body) is not DrillPhase.REVERTING:
            words = "the operator that began this drill is gone; the fault is reverted, it is not gone on with"
            self._write(body, status.moved(body, DrillPhase.REVERTING, words, now))
        # faultEndsAt is written in whole seconds, rounded down
        left = (ends + timedelta(seconds=1) - now).total_seconds()
        if left > 0:
            return min(left, 60.0)
        words = "the operator restarted while the drill ran: what was seen until then proves nothing"
        return self._ended(body, _without_evidence(Verdict.INCONCLUSIVE, DrillReason.OPERATOR_RESTARTED, words))

    def _ended(
        self,
        body: Object,
        judgement: Judgement,
        expected: Expected | None = None,
        *,
        report_name: str = "",
        abort_latency: Millis | None = None,
    ) -> float | None:
        """Writes the end, forgets the run, tells people; there is no next look."""
        now, key = self._now(), _key(body)
        patch = status.done(body, judgement, expected, now, abort_latency=abort_latency, report=report_name)
        body = self._write(body, patch)
        self._rehearsing.forget(key)
        self._tell(body, judgement, now)
        route = str(((body.get("spec") or {}).get("routeRef") or {}).get("name", ""))
        self._wake_route(key[0], route)
        return None

    # Writing and telling

    def _wait(self, body: Object, words: str, now: datetime) -> None:
        known = (body.get("status") or {}).get("conditions") or []
        if any(c["type"] == ConditionType.RECONCILING and c.get("message") == words for c in known):
            return
        self._write(body, status.waiting(body, words, now))

    def _write(self, body: Object, patch: Object) -> Object:
        """Compare-and-swap; the object as it is afterwards."""
        namespace, name = _key(body)
        metadata = {"resourceVersion": body["metadata"]["resourceVersion"], "uid": body["metadata"]["uid"]}
        written = self._client.merge(
            FALLBACK_DRILLS, namespace, name, {"metadata": metadata, "status": patch}, subresource="status"
        )
        self._cache.wrote(FALLBACK_DRILLS, written)
        return written

    def _tell(self, body: Object, judgement: Judgement, now: datetime) -> None:
        passed = judgement.verdict is Verdict.PASSED
        faults = (body.get("spec") or {}).get("faults") or [{}]
        fault = str(faults[0].get("type", ""))
        metrics.DRILLS.labels(fault, judgement.verdict.value).inc()
        namespace, name = _key(body)
        route_name = str(((body.get("spec") or {}).get("routeRef") or {}).get("name", ""))
        if passed:
            metrics.DRILL_LAST_SUCCESS.labels(namespace, route_name, fault).set(now.timestamp())
        kind: Literal["Normal", "Warning"] = "Normal" if passed else "Warning"
        reason = f"Drill{judgement.verdict.value}"
        self._recorder.record(body, kind, reason, f"{judgement.reason}: {judgement.message}")
        route = self._cache.get(LLM_ROUTES, namespace, route_name)
        if route is not None:
            self._recorder.record(
                {"apiVersion": LLM_ROUTES.api_version, "kind": LLM_ROUTES.kind, **route},
                kind,
                reason,
                f"{fault} ({name}): {judgement.message}",
            )
        log.info(
            "drill ended",
            namespace=namespace,
            drill=name,
            verdict=judgement.verdict.value,
            reason=judgement.reason.value,
        )

    def _report(self, body: Object, running: Running, judgement: Judgement, now: datetime) -> str:
        facts = report.Facts(
            namespace=running.key[0],
            drill=running.key[1],
            uid=running.uid,
            route=running.route[1],
            route_generation=running.route_generation,
            policy_version=running.policy_version,
            operator_version=version("turnout-operator"),
            reason=str((body.get("spec") or {}).get("reason") or ""),
            injected=datetime.fromtimestamp(running.injected / 1000, UTC),
            completed=now,
        )
        return self._reports.store(facts, running.expected, judgement)

    def _gone(self, key: Key) -> None:
        """The object was deleted: nothing is ordered any more, and its report goes with it."""
        self._rehearsing.forget(key)
        self._reports.delete(*key)

    # Looking around

    def _surroundings(self, drill: FallbackDrill) -> tuple[preflight.Surroundings, tuple[Sidecar, ...], str]:
        namespace, route = drill.metadata.namespace, drill.spec.route_ref.name
        known = self._cache.get(LLM_ROUTES, namespace, route)
        service = self._in_service(namespace, route)
        sidecars = self._rehearsing.living(namespace, self._millis())
        pools = frozenset(service.compiled.pools) if service.compiled is not None else frozenset()
        around = preflight.Surroundings(
            route_exists=known is not None,
            compiled=service.compiled,
            not_programmed=_not_programmed(sidecars, service.policy_version),
            degraded=_degraded(known or {}),
            sidecars=len(sidecars),
            busy=self._rehearsing.busy(drill.key, pools),
        )
        return around, sidecars, service.policy_version

    def _pools(self, body: Object) -> frozenset[str]:
        route = str(((body.get("spec") or {}).get("routeRef") or {}).get("name", ""))
        compiled = self._in_service(body["metadata"]["namespace"], route).compiled
        return frozenset(compiled.pools) if compiled is not None else frozenset()

    def _again(self, running: Running) -> float:
        wait = progress.look_again(running.run, running.phase, self._millis(), running.reverting_since)
        return wait / 1000

    def _millis(self) -> int:
        return _millis(self._now())


def _running(
    body: Object,
    drill: FallbackDrill,
    route: CompiledRoute,
    expected: Expected,
    sidecars: tuple[Sidecar, ...],
    now: int,
    ends: int,
    policy_version: str,
) -> Running:
    identities = frozenset(sorted({s.identity for s in sidecars})[:MOST_PARTICIPANTS])
    chosen = tuple(s.name for s in sidecars if s.identity in identities)
    spec = drill.spec
    allowed = route.drills.max_cost
    if spec.probes.max_cost is not None:
        allowed = NanoUSD(min(allowed, spec.probes.max_cost.nano_usd()))
    recovery = Millis(spec.recovery_deadline.millis())
    key = drill.key
    order = DrillOrder(
        run=body["metadata"]["uid"],
        route=route.key,
        fault=expected.fault,
        candidates=tuple(c.name for c in spec.faults[0].candidates),
        remaining=Millis(ends - now),
        ends=ends,
        probes=math.ceil(spec.probes.count / len(chosen)),
        interval=Millis(spec.probes.interval.millis()),
        max_cost=NanoUSD(allowed // len(chosen)),
        tenant=expectations.TENANT,
        model=expectations.probe_model(route.policy),
        headers=expectations.probe_headers(route.policy),
        max_output=min(expectations.MOST_OUTPUT, route.policy.tokens.max_output),
        timeout=Millis(route.policy.deadlines.total + ANSWER_MARGIN),
        recovery=recovery,
    )
    return Running(
        key=key,
        uid=order.run,
        route=(key[0], spec.route_ref.name),
        pools=frozenset(route.pools),
        phase=DrillPhase.INJECTING,
        order=order,
        identities=identities,
        run=progress.Run(
            participants=chosen, fault_ends=ends, recovery_deadline=recovery, answer_deadline=order.timeout
        ),
        expected=expected,
        demands=Demands(min_samples=spec.probes.min_samples, max_cost=allowed, recovery_deadline=recovery),
        guards=spec.abort_when,
        route_generation=route.generation,
        policy_version=policy_version,
        injected=now,
    )


def _order(drill: Running) -> None:
    drill.ordered = True


def _observe(drill: Running) -> None:
    drill.phase = DrillPhase.OBSERVING


def _stop(drill: Running, why: Interruption, now: int) -> None:
    if drill.stop is None:
        drill.stop, drill.stopped = why, now


def _revert(drill: Running, why: Interruption | None, now: int) -> None:
    drill.phase = DrillPhase.REVERTING
    drill.ordered = False
    drill.reverting_since = now
    if why is not None:
        _stop(drill, why, now)


def _without_evidence(how: Verdict, reason: DrillReason, words: str) -> Judgement:
    return Judgement(verdict=how, reason=reason, message=words, cost=NanoUSD(0))


def _phase(body: Object) -> DrillPhase | None:
    written = (body.get("status") or {}).get("phase")
    return DrillPhase(written) if written in set(DrillPhase) else None


def _key(body: Object) -> Key:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _some(sidecars: tuple[Sidecar, ...]) -> int:
    return min(len(sidecars), MOST_PARTICIPANTS)


def _degraded(route: Object) -> str:
    known = (route.get("status") or {}).get("conditions") or []
    active = next((c for c in known if c["type"] == ConditionType.DEGRADATION_ACTIVE and c["status"] == "True"), None)
    return "" if active is None else str(active.get("message") or active.get("reason") or "DegradationActive")


def _not_programmed(sidecars: tuple[Sidecar, ...], wanted: str) -> str:
    behind = [s.name for s in sidecars if wanted and s.policy_version != wanted]
    if not behind:
        return ""
    return f"{len(behind)} of {len(sidecars)} sidecars do not run the policy {wanted} yet, the first is {behind[0]}"


def _millis(at: datetime) -> int:
    return int(at.timestamp() * 1000)

"""The runner against a real API server, with sidecars whose answers the test decides and a clock that the test turns."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from turnout_operator.compiler import compile as compile_snapshot
from turnout_operator.handlers.cache import Cache
from turnout_operator.handlers.drill_runner import DrillRunner, RouteInService
from turnout_operator.handlers.drill_sidecars import Rehearsing
from turnout_operator.ir import Accepted, CompiledRoute
from turnout_operator.kube.client import Client, Conflict, connect
from turnout_operator.kube.events import Recorder
from turnout_operator.kube.resources import CONFIG_MAPS, EVENTS, FALLBACK_DRILLS, LLM_ROUTES
from turnout_operator.snapshot import from_manifests, secret_facts
from turnout_sidecar.core.probe import Probe, ProbeAnswer
from turnout_testing.rehearsing import FALLEN_BACK, HEALTHY, ScriptedSidecar, honest

if TYPE_CHECKING:
    from turnout_testing.controlplane import ControlPlane

ROOT = Path(__file__).resolve().parents[2]
ROUTE = "support-answer"
SIGNAL = b'{"turnout":{"degraded":"Unavailable"}}'


def manifests() -> list[dict[str, Any]]:
    files = sorted((ROOT / "examples").glob("*.yaml"))
    return [d for f in files for d in yaml.safe_load_all(f.read_text()) if d]


def compiled(namespace: str) -> CompiledRoute:
    """The example's route as if it had been written in that namespace."""
    found = manifests()
    now = datetime(2026, 11, 1, tzinfo=UTC)
    secrets = [secret_facts(m) for m in found if m["kind"] == "Secret"]
    compilation = compile_snapshot(from_manifests(found, secrets), Accepted(), now)
    (route,) = [r for r in compilation.routes if r.key == f"support/{ROUTE}"]
    policy = msgspec.structs.replace(route.policy, key=f"{namespace}/{ROUTE}")
    return msgspec.structs.replace(route, policy=policy)


@pytest.fixture(scope="module")
def client(control_plane: ControlPlane) -> Client:
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds"))
    return connect(control_plane.admin_kubeconfig)


class Bed:
    """One operator's runner, its sidecars, and the clock. The operator's own namespace is the test's."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self.at = datetime.now(UTC).replace(microsecond=0)
        self.route = compiled(namespace)
        self.version = "v1"
        self.sidecars: list[ScriptedSidecar] = []
        self.woken: set[str] = set()
        self.runner = self.operator()
        body = next(m for m in manifests() if m["kind"] == "LLMRoute" and m["metadata"]["name"] == ROUTE)
        body["metadata"]["namespace"] = namespace
        self.route_body = client.create(LLM_ROUTES, namespace, body)
        self.cache.put(LLM_ROUTES, self.route_body)

    def operator(self) -> DrillRunner:
        """A new life of the operator: nothing of an earlier one is left."""
        self.cache = Cache()
        if hasattr(self, "route_body"):
            self.cache.put(LLM_ROUTES, self.client.get(LLM_ROUTES, self.namespace, ROUTE))
        self.runner = DrillRunner(
            client=self.client,
            cache=self.cache,
            recorder=Recorder(self.client),
            namespace=self.namespace,
            in_service=lambda _namespace, name: RouteInService(
                compiled=self.route if name == ROUTE else None, policy_version=self.version
            ),
            wake=lambda _namespace, name: self.woken.add(name),
            now=lambda: self.at,
        )
        return self.runner

    def millis(self) -> int:
        return int(self.at.timestamp() * 1000)

    def sidecar(self, pod: str, **options: Any) -> ScriptedSidecar:
        made = ScriptedSidecar(self.namespace, pod, self.millis, **({"policy_version": "v1"} | options))
        self.sidecars.append(made)
        self.exchange()
        return made

    def drill(self, fault: str = "Unavailable", **spec: Any) -> str:
        body = {
            "apiVersion": FALLBACK_DRILLS.api_version,
            "kind": FALLBACK_DRILLS.kind,
            "metadata": {"name": f"drill-{uuid.uuid4().hex[:8]}", "namespace": self.namespace},
            "spec": {"routeRef": {"name": ROUTE}, "faults": [{"type": fault}]}
            | {"probes": {"count": 6, "interval": "100ms", "minSamples": 3}}
            | spec,
        }
        created = self.client.create(FALLBACK_DRILLS, self.namespace, body)
        self.cache.put(FALLBACK_DRILLS, created)  # as the watch does
        return str(created["metadata"]["name"])

    def exchange(self) -> None:
        """Every sidecar reports and takes its orders."""
        for sidecar in self.sidecars:
            self.runner.on_report(sidecar.identity, sidecar.report())
            sidecar.obey(self.runner.orders(sidecar.identity))

    def step(self, *names: str) -> None:
        """A tenth of a second in which everything is looked at once."""
        for name in names:
            self.runner.reconcile_drill(self.namespace, name)
        self.exchange()
        for sidecar in self.sidecars:
            sidecar.work()
        self.exchange()
        self.at += timedelta(milliseconds=100)

    def run(self, name: str, seconds: float = 60) -> dict[str, Any]:
        """Until there is a verdict."""
        for _ in range(int(seconds * 10)):
            self.step(name)
            if (status := self.status(name)).get("phase") == "Done":
                return status
        raise AssertionError(f"no verdict in {seconds} s: {self.status(name)}")

    def until(self, name: str, phase: str) -> dict[str, Any]:
        for _ in range(600):
            self.step(name)
            if (status := self.status(name)).get("phase") == phase:
                return status
        raise AssertionError(f"{name} was never {phase}: {self.status(name)}")

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(FALLBACK_DRILLS, self.namespace, name).get("status") or {}
        return found

    def reason(self, name: str) -> str:
        return str(next(c["reason"] for c in self.status(name)["conditions"] if c["type"] == "Complete"))

    def message(self, name: str) -> str:
        return str(next(c["message"] for c in self.status(name)["conditions"] if c["type"] == "Complete"))


@pytest.fixture
def bed(client: Client, namespace: str) -> Bed:
    return Bed(client, namespace)


def test_a_drill_of_an_honest_sidecar_passes_and_stores_its_report(bed: Bed) -> None:
    bed.sidecar("pod-1")
    bed.sidecar("pod-2")
    name = bed.drill(reason="weekly")
    status = bed.run(name)
    assert status["verdict"] == "Passed"
    assert status["paths"][0]["observed"] == ["small:Unavailable", "local:ok"]
    assert status["sampleCount"] == 6
    assert float(status["cost"]) == 0
    report = bed.client.get(CONFIG_MAPS, bed.namespace, status["reportRef"]["name"])
    assert msgspec.json.decode(report["data"]["report.json"])["drill"]["reason"] == "weekly"
    reasons = {(e["involvedObject"]["kind"], e["reason"]) for e in bed.client.every(EVENTS, bed.namespace)}
    assert reasons >= {("FallbackDrill", "DrillStarted"), ("FallbackDrill", "DrillPassed"), ("LLMRoute", "DrillPassed")}


def test_the_phase_is_stored_before_any_sidecar_is_told(bed: Bed) -> None:
    sidecar = bed.sidecar("pod-1")
    name = bed.drill()
    told: list[tuple[bool, str]] = []
    for _ in range(40):
        bed.runner.reconcile_drill(bed.namespace, name)
        ordered = bool(bed.runner.orders(sidecar.identity))
        told.append((ordered, str(bed.status(name).get("phase"))))
        bed.step(name)
    assert any(ordered for ordered, _ in told)
    assert {phase for ordered, phase in told if ordered} <= {"Injecting", "Observing"}


def test_nothing_is_injected_where_the_phase_cannot_be_stored(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    sidecar = bed.sidecar("pod-1")
    name = bed.drill()
    original = bed.client.merge

    def conflicting(*args: Any, **options: Any) -> Any:
        patch = args[3]
        if patch.get("status", {}).get("phase") == "Injecting":
            raise Conflict(409, "Conflict", "somebody else wrote")
        return original(*args, **options)

    monkeypatch.setattr(bed.client, "merge", conflicting)
    for _ in range(5):
        with pytest.raises(Conflict):
            bed.runner.reconcile_drill(bed.namespace, name)
        bed.exchange()
        assert not sidecar.any_fault()
    monkeypatch.undo()
    assert bed.run(name)["verdict"] == "Passed"


def test_a_restarted_operator_reverts_and_never_goes_on(bed: Bed) -> None:
    sidecar = bed.sidecar("pod-1")
    name = bed.drill(probes={"count": 100, "interval": "500ms", "minSamples": 3})
    bed.until(name, "Observing")
    assert sidecar.any_fault()
    bed.operator().recover()
    bed.exchange()
    assert not sidecar.any_fault()
    bed.step(name)
    assert bed.status(name)["phase"] == "Reverting"
    status = bed.run(name)
    assert (status["verdict"], bed.reason(name)) == ("Inconclusive", "OperatorRestarted")
    assert not sidecar.any_fault()


def test_a_dead_operator_leaves_no_fault_beyond_its_deadline(bed: Bed) -> None:
    sidecar = bed.sidecar("pod-1")
    name = bed.drill(duration="5s", probes={"count": 100, "interval": "500ms", "minSamples": 3})
    bed.until(name, "Observing")
    assert sidecar.any_fault()
    bed.at += timedelta(seconds=5)
    assert not sidecar.any_fault()


def test_two_leaders_at_once_end_in_one_revert(bed: Bed) -> None:
    sidecar = bed.sidecar("pod-1")
    name = bed.drill(probes={"count": 100, "interval": "500ms", "minSamples": 3})
    bed.until(name, "Observing")
    first = bed.runner
    second = bed.operator()
    second.recover()
    second.reconcile_drill(bed.namespace, name)
    assert bed.status(name)["phase"] == "Reverting"
    first.reconcile_drill(bed.namespace, name)
    assert first.orders(sidecar.identity) == ()
    assert second.orders(sidecar.identity) == ()
    assert bed.run(name)["verdict"] == "Inconclusive"


def test_an_abort_reverts_at_once_with_its_latency(bed: Bed) -> None:
    sidecar = bed.sidecar("pod-1")
    name = bed.drill(probes={"count": 100, "interval": "500ms", "minSamples": 3})
    bed.until(name, "Observing")
    bed.client.merge(FALLBACK_DRILLS, bed.namespace, name, {"spec": {"abort": True}})
    bed.step(name)
    assert not sidecar.any_fault()
    status = bed.run(name)
    assert (status["verdict"], bed.reason(name)) == ("Aborted", "AbortedByRequest")
    assert status["abortLatency"] in ("0s", "100ms", "200ms")


def test_a_guard_aborts_when_controls_go_bad(bed: Bed) -> None:
    def failing(probe: Probe, faulted: bool) -> ProbeAnswer:
        return honest(probe, faulted) if faulted or probe.recovery else ProbeAnswer(status=503)

    bed.sidecar("pod-1", answers=failing)
    guard = {"metric": "ErrorRate", "threshold": "0.02", "window": "30s"}
    name = bed.drill(abortWhen=[guard], probes={"count": 100, "interval": "500ms", "minSamples": 3})
    status = bed.run(name)
    assert (status["verdict"], bed.reason(name)) == ("Aborted", "AbortedByGuard")
    assert "control probes failed" in bed.message(name)


def test_a_guard_without_data_aborts(bed: Bed) -> None:
    sidecar = bed.sidecar("pod-1")
    sidecar.work = lambda: None  # type: ignore[method-assign]
    guard = {"metric": "LatencyP95", "threshold": "8", "window": "2s"}
    name = bed.drill(abortWhen=[guard])
    status = bed.run(name)
    assert (status["verdict"], bed.reason(name)) == ("Aborted", "AbortedByGuard")
    assert "is unknown" in bed.message(name)


def test_a_drill_without_samples_is_never_passed(bed: Bed) -> None:
    sidecar = bed.sidecar("pod-1")
    sidecar.work = lambda: None  # type: ignore[method-assign]
    status = bed.run(bed.drill(duration="3s", recoveryDeadline="1s"))
    assert status["verdict"] == "Inconclusive"
    assert status["sampleCount"] == 0


def test_a_sidecar_that_falls_silent_ends_the_drill_inconclusive(bed: Bed) -> None:
    bed.sidecar("pod-1")
    name = bed.drill(duration="3s", recoveryDeadline="1s")
    bed.runner.reconcile_drill(bed.namespace, name)
    bed.exchange()
    bed.sidecars.clear()
    status = bed.run(name)
    assert status["verdict"] == "Inconclusive"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x-turnout-step": "respond"}, "x-turnout-step says respond"),
        ({"x-turnout-candidate": "small", "x-turnout-path": "small:ok"}, "small answered, local is declared"),
    ],
)
def test_a_broken_fallback_fails_and_the_first_wrong_sample_is_kept(
    bed: Bed, change: dict[str, str], words: str
) -> None:
    def broken(probe: Probe, faulted: bool) -> ProbeAnswer:
        if not faulted:
            return honest(probe, faulted)
        return ProbeAnswer(status=200, headers={**FALLEN_BACK, **change}, body=SIGNAL)

    bed.sidecar("pod-1", answers=broken)
    status = bed.run(bed.drill())
    assert status["verdict"] == "Failed"
    assert words in status["failStep"]
    assert any(not s["passed"] and words in s["detail"] for s in status["samples"])


def test_a_route_that_does_not_come_back_fails(bed: Bed) -> None:
    def stuck(probe: Probe, faulted: bool) -> ProbeAnswer:
        if probe.recovery:
            return ProbeAnswer(status=200, headers=FALLEN_BACK)
        return honest(probe, faulted)

    bed.sidecar("pod-1", answers=stuck)
    name = bed.drill(recoveryDeadline="1s")
    status = bed.run(name)
    assert (status["verdict"], bed.reason(name)) == ("Failed", "NotRecovered")


def test_an_outage_during_the_drill_is_inconclusive(bed: Bed) -> None:
    bed.sidecar("pod-1", answers=lambda _p, _f: ProbeAnswer(status=503))
    name = bed.drill(recoveryDeadline="1s")
    assert (bed.run(name)["verdict"], bed.reason(name)) == ("Inconclusive", "ControlFailed")


# Looking both ways


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"faults": [{"type": "StreamCut"}]}, "NotSupported", "StreamCut comes with 0.2"),
        ({"faults": [{"type": "Unavailable"}, {"type": "TooSlow"}]}, "NotSupported", "one fault a drill"),
        ({"scope": "Live", "livePercent": 1}, "NotSupported", "Live comes with 0.2"),
        (
            {"probes": {"prompts": {"configMapKeyRef": {"name": "golden", "key": "prompts.jsonl"}}}},
            "NotSupported",
            "probes.prompts",
        ),
        (
            {"faults": [{"type": "Unavailable", "candidates": [{"name": "nobody"}]}]},
            "NotSupported",
            "nobody is no candidate",
        ),
        (
            {"faults": [{"type": "Unavailable", "candidates": [{"name": "local"}]}]},
            "NotRehearsable",
            "no probe would meet Unavailable there: its way is small:ok",
        ),
        ({"routeRef": {"name": "missing"}}, "RouteNotFound", "there is no LLMRoute missing"),
        ({"mode": "Preview"}, "Previewed", "would inject Unavailable"),
    ],
)
def test_what_cannot_be_done_is_skipped_at_once_in_words(
    bed: Bed, spec: dict[str, Any], reason: str, words: str
) -> None:
    sidecar = bed.sidecar("pod-1")
    name = bed.drill(**spec)
    assert bed.runner.reconcile_drill(bed.namespace, name) is None
    status = bed.status(name)
    assert (status["verdict"], bed.reason(name)) == ("Skipped", reason)
    assert words in bed.message(name)
    bed.exchange()
    assert not sidecar.any_fault()


def test_a_degraded_route_is_left_alone(bed: Bed) -> None:
    bed.sidecar("pod-1")
    condition = {
        "type": "DegradationActive",
        "status": "True",
        "reason": "Active",
        "message": "candidate local",
        "lastTransitionTime": "2026-11-01T00:00:00Z",
    }
    patch = {"status": {"conditions": [condition]}}
    bed.cache.put(LLM_ROUTES, bed.client.merge(LLM_ROUTES, bed.namespace, ROUTE, patch, subresource="status"))
    name = bed.drill()
    bed.runner.reconcile_drill(bed.namespace, name)
    assert bed.reason(name) == "DegradationActive"


def test_a_drill_waits_for_sidecars_and_gives_up_at_its_starting_deadline(bed: Bed) -> None:
    name = bed.drill(startingDeadline="10s")
    assert bed.runner.reconcile_drill(bed.namespace, name)
    assert bed.status(name)["phase"] == "Pending"
    bed.at += timedelta(seconds=12)
    assert bed.runner.reconcile_drill(bed.namespace, name) is None
    assert (bed.status(name)["verdict"], bed.reason(name)) == ("Skipped", "NoSidecars")


def test_a_drill_waits_until_every_sidecar_runs_the_policy(bed: Bed) -> None:
    late = bed.sidecar("pod-1", policy_version="v0")
    name = bed.drill()
    bed.step(name)
    assert "1 of 1 sidecars do not run the policy v1" in bed.message(name)
    late.policy_version = "v1"
    assert bed.run(name)["verdict"] == "Passed"


def test_two_drills_on_one_pool_run_one_after_the_other(bed: Bed) -> None:
    sidecar = bed.sidecar("pod-1")
    first, second = bed.drill(), bed.drill(startingDeadline="10m")
    together = 0
    for _ in range(300):
        bed.step(first, second)
        together = max(together, len(bed.runner.orders(sidecar.identity)))
        if all(bed.status(n).get("phase") == "Done" for n in (first, second)):
            break
    assert together == 1
    assert [bed.status(n)["verdict"] for n in (first, second)] == ["Passed", "Passed"]


def test_orders_go_to_the_route_s_namespace_and_to_five_sidecars_at_most(bed: Bed) -> None:
    for number in range(7):
        bed.sidecar(f"pod-{number}")
    stranger = ScriptedSidecar("elsewhere", "pod-0", bed.millis, policy_version="v1")
    bed.runner.on_report(stranger.identity, stranger.report())
    name = bed.drill()
    bed.runner.reconcile_drill(bed.namespace, name)
    ordered = [s for s in bed.sidecars if bed.runner.orders(s.identity)]
    assert len(ordered) == 5
    assert bed.runner.orders(stranger.identity) == ()
    assert bed.run(name)["verdict"] == "Passed"


def test_a_deleted_drill_is_reverted_and_its_report_goes(bed: Bed) -> None:
    sidecar = bed.sidecar("pod-1")
    done = bed.drill()
    report = bed.run(done)["reportRef"]["name"]
    running = bed.drill(probes={"count": 100, "interval": "500ms", "minSamples": 3})
    bed.until(running, "Observing")
    for name in (done, running):
        bed.client.delete(FALLBACK_DRILLS, bed.namespace, name)
        bed.runner.reconcile_drill(bed.namespace, name)
    bed.exchange()
    assert not sidecar.any_fault()
    assert bed.client.find(CONFIG_MAPS, bed.namespace, report) is None


# Schedules


def scheduled(bed: Bed, *faults: str, late: timedelta = timedelta(seconds=1)) -> datetime:
    """Gives the route a schedule that falls due once, `late` ago."""
    due = (datetime.now(UTC) + timedelta(minutes=1)).replace(second=0, microsecond=0)
    drills = msgspec.structs.replace(
        bed.route.drills,
        schedule=f"{due.minute} {due.hour} * * *",
        time_zone="UTC",
        faults=faults,
        starting_deadline=120_000,
    )
    bed.route = msgspec.structs.replace(bed.route, drills=drills)
    bed.at = due + late
    return due


def test_a_schedule_stamps_each_fault_once_though_two_leaders_look(bed: Bed) -> None:
    due = scheduled(bed, "Unavailable", "TooSlow")
    other = bed.runner
    bed.operator()
    for runner in (other, bed.runner):
        runner.reconcile_schedule(bed.namespace, ROUTE)
    (drill,) = list(bed.client.every(FALLBACK_DRILLS, bed.namespace))
    assert drill["spec"]["faults"] == [{"type": "Unavailable"}]
    assert bed.woken == {drill["metadata"]["name"]}
    assert drill["metadata"]["ownerReferences"][0]["name"] == ROUTE
    route = bed.client.get(LLM_ROUTES, bed.namespace, ROUTE)
    assert datetime.fromisoformat(route["status"]["drills"]["lastScheduleTime"]) == due
    assert bed.runner.rehearsal(bed.namespace, ROUTE).last_schedule == due


def test_a_scheduled_time_rehearses_every_fault_in_turn(bed: Bed) -> None:
    scheduled(bed, "Unavailable", "RateLimited")

    def by_fault(_probe: Probe, faulted: bool) -> ProbeAnswer:
        if not faulted:
            return ProbeAnswer(status=200, headers=HEALTHY, body=b"{}")
        fault = "RateLimited" if len(list(bed.client.every(FALLBACK_DRILLS, bed.namespace))) > 1 else "Unavailable"
        told = {"x-turnout-degraded": fault, "x-turnout-path": f"small:{fault},local:ok"}
        return ProbeAnswer(status=200, headers={**FALLEN_BACK, **told}, body=SIGNAL)

    bed.sidecar("pod-1", answers=by_fault)
    for _ in range(200):
        bed.runner.reconcile_schedule(bed.namespace, ROUTE)
        bed.step(*(d["metadata"]["name"] for d in bed.client.every(FALLBACK_DRILLS, bed.namespace)))
        drills = list(bed.client.every(FALLBACK_DRILLS, bed.namespace))
        if len(drills) == 2 and all(d["status"].get("phase") == "Done" for d in drills):
            break
    known = bed.runner.rehearsal(bed.namespace, ROUTE)
    assert {v.fault.value: v.verdict.value for v in known.verdicts} == {
        "Unavailable": "Passed",
        "RateLimited": "Passed",
    }
    assert {v.fault.value for v in known.passed} == {"Unavailable", "RateLimited"}


def test_history_limits_take_old_drills_with_their_reports_and_leave_the_newest_evidence(bed: Bed) -> None:
    bed.sidecar("pod-1")
    bed.route = msgspec.structs.replace(
        bed.route, drills=msgspec.structs.replace(bed.route.drills, keep_successful=0, keep_failed=0)
    )
    stamped = {"annotations": {"turnout.dev/scheduled-at": "2026-11-01T09:00:00Z"}}
    names = []
    for _ in range(3):
        name = bed.drill()
        bed.client.merge(FALLBACK_DRILLS, bed.namespace, name, {"metadata": stamped})
        bed.cache.put(FALLBACK_DRILLS, bed.client.get(FALLBACK_DRILLS, bed.namespace, name))
        assert bed.run(name)["verdict"] == "Passed"
        names.append(name)
        bed.at += timedelta(seconds=1)
    bed.runner.reconcile_schedule(bed.namespace, ROUTE)
    assert {d["metadata"]["name"] for d in bed.client.every(FALLBACK_DRILLS, bed.namespace)} == {names[-1]}
    for name in bed.woken & set(names[:-1]):
        bed.runner.reconcile_drill(bed.namespace, name)
    reports = list(bed.client.every(CONFIG_MAPS, bed.namespace, labels="turnout.dev/drill-report"))
    assert [r["metadata"]["annotations"]["turnout.dev/of"] for r in reports] == [f"{bed.namespace}/{names[-1]}"]
    assert {d.drill for d in bed.runner.rehearsal(bed.namespace, ROUTE).passed} == {names[-1]}


def test_a_drill_at_other_candidates_proves_another_way(bed: Bed) -> None:
    def nobody_answers(probe: Probe, faulted: bool) -> ProbeAnswer:
        refused = {"x-turnout-degraded": "Unavailable", "x-turnout-step": "respond"}
        path = {"x-turnout-path": "small:Unavailable,local:Unavailable,respond:503"}
        return ProbeAnswer(status=503, headers=refused | path, body=SIGNAL) if faulted else honest(probe, faulted)

    bed.sidecar("pod-1", answers=nobody_answers)
    both = [{"type": "Unavailable", "candidates": [{"name": "small"}, {"name": "local"}]}]
    assert bed.run(bed.drill(faults=both))["verdict"] == "Passed"
    assert bed.runner.rehearsal(bed.namespace, ROUTE).passed == ()


def test_an_edit_of_the_way_makes_an_older_drill_worthless_and_an_edit_of_money_does_not(bed: Bed) -> None:
    bed.sidecar("pod-1")
    assert bed.run(bed.drill())["verdict"] == "Passed"

    def proved() -> set[str]:
        return {d.fault.value for d in bed.runner.rehearsal(bed.namespace, ROUTE).passed}

    assert proved() == {"Unavailable"}
    before = bed.route
    other = msgspec.structs.replace(before.policy.attempts, max=1)
    bed.route = msgspec.structs.replace(before, policy=msgspec.structs.replace(before.policy, limits=()))
    assert proved() == {"Unavailable"}
    for change in ({"order": ("local", "small")}, {"degradation": ()}, {"attempts": other}):
        bed.route = msgspec.structs.replace(before, policy=msgspec.structs.replace(before.policy, **change))
        assert proved() == set()


def test_a_missed_time_is_said_once_and_not_caught_up(bed: Bed) -> None:
    scheduled(bed, "Unavailable", late=timedelta(minutes=5))
    for _ in range(3):
        bed.runner.reconcile_schedule(bed.namespace, ROUTE)
    assert list(bed.client.every(FALLBACK_DRILLS, bed.namespace)) == []
    missed = [e for e in bed.client.every(EVENTS, bed.namespace) if e["reason"] == "DrillMissed"]
    assert len(missed) == 1
    assert missed[0]["count"] == 1
    assert "startingDeadline" in missed[0]["message"]


def test_sidecars_that_are_gone_are_not_remembered_for_ever() -> None:
    known = Rehearsing()
    for number in range(5_000):
        sidecar = ScriptedSidecar("support", f"pod-{number}", lambda: 0)
        known.heard(sidecar.identity, sidecar.report(), number * 1_000)
    assert len(known._sidecars) <= 256
    assert len(known.living("support", 4_999_000)) == 11

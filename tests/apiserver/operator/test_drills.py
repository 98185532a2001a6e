"""Drills end to end: kubectl, the installed operator under its own rights, real sidecars that probe themselves, real evidence.

The broken sidecars are mutants: a folder on the test's path replaces one function of the engine. The product has no switch for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from turnout_testing import waiting
from turnout_testing.installation import NAMESPACE, Installation, Sidecar

from .conftest import route

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import World

PATIENCE = 90
MUTANTS = Path(__file__).parent / "mutants"
FAULTS = {
    "Unavailable": ("second:ok", 200),
    "RateLimited": ("second:ok", 200),
    "TooSlow": ("second:ok", 200),
    "OverBudget": ("respond:429", 429),
    "InvalidOutput": ("respond:429", 429),
}


def quick(name: str, namespace: str, **drills: Any) -> dict[str, Any]:
    """The suite's route with deadlines that a slow probe reaches soon."""
    body = route(name)
    body["metadata"]["namespace"] = namespace
    body["spec"]["latency"] = {"timeToFirstToken": {"deadline": "1s"}, "total": {"deadline": "8s"}, "stall": "2s"}
    body["spec"]["attempts"] = {"max": 2, "deadline": "1500ms"}
    body["spec"]["drills"] = {"schedule": "0 10 * * 2", "suspend": True} | drills
    return body


def drill(namespace: str, route_name: str, fault: str, **spec: Any) -> dict[str, Any]:
    probes = {"count": 4, "interval": "100ms", "minSamples": 3}
    return {
        "apiVersion": "turnout.dev/v1alpha1",
        "kind": "FallbackDrill",
        "metadata": {"generateName": f"{route_name}-{fault.lower()}-", "namespace": namespace},
        "spec": {"routeRef": {"name": route_name}, "faults": [{"type": fault}], "duration": "20s", "probes": probes}
        | spec,
    }


def create(installed: Installation, body: dict[str, Any]) -> str:
    """As `kubectl create -f`; the name it got."""
    done = installed.plane.kubectl("create", "-f", "-", "-o", "json", input=json.dumps(body))
    name: str = json.loads(done.stdout)["metadata"]["name"]
    return name


def ended(installed: Installation, namespace: str, name: str, within: float = PATIENCE) -> dict[str, Any]:
    """The drill's status once there is a verdict."""

    def status() -> dict[str, Any] | None:
        found: dict[str, Any] = installed.get("fallbackdrill", namespace, name).get("status") or {}
        return found if found.get("phase") == "Done" else None

    return waiting.until(status, what=f"a verdict of {name}", within=within, every=0.2)


def programmed(installed: Installation, namespace: str, name: str, count: int) -> bool:
    found = installed.get("llmroute", namespace, name)
    status = found.get("status") or {}
    newest = status.get("observedGeneration") == found["metadata"]["generation"]
    return newest and (status.get("sidecars") or {}).get("programmed") == count


def settle(world: World, namespace: str, *sidecars: str, mutant: str = "") -> tuple[Sidecar, ...]:
    """A namespace with a quick route and sidecars that run it."""
    installed = world.installed
    installed.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"llm": "allowed"}}}
    )
    installed.apply(quick("answer", namespace))
    path = (str(MUTANTS / mutant),) if mutant else ()
    started = tuple(installed.sidecar(namespace, name, python_path=path) for name in sidecars)
    waiting.until(
        lambda: programmed(installed, namespace, "answer", len(started)),
        what=f"{namespace} programmed",
        within=PATIENCE,
    )
    return started


@pytest.fixture(scope="module")
def honest(world: World) -> Iterator[tuple[Sidecar, ...]]:
    sidecars = settle(world, "rehearse", "app-a", "app-b")
    yield sidecars
    for sidecar in sidecars:
        sidecar.process.terminate(10)


@pytest.mark.parametrize("fault", FAULTS)
def test_an_honest_route_passes_with_evidence(world: World, honest: tuple[Sidecar, ...], fault: str) -> None:
    name = create(world.installed, drill("rehearse", "answer", fault))
    status = ended(world.installed, "rehearse", name)
    assert status["verdict"] == "Passed", json.dumps(status, indent=1)
    last, http = FAULTS[fault]
    (path,) = status["paths"]
    assert path["expected"] == path["observed"] == [f"first:{fault}", last]
    assert status["sampleCount"] >= 3
    faulted = [s for s in status["samples"] if s.get("fault")]
    assert {s["httpStatus"] for s in faulted} == {http}
    assert all(s["passed"] for s in status["samples"])
    assert status["timeToDetect"]
    assert status["timeToRecover"]
    kinds = {c["type"]: c["status"] for c in status["conditions"]}
    assert kinds == {"Complete": "True", "Failed": "False", "Reconciling": "False"}
    report = world.installed.get("configmap", NAMESPACE, status["reportRef"]["name"])
    assert json.loads(report["data"]["report.json"])["verdict"] == "Passed"
    assert report["data"]["report.md"].startswith(f"# Passed: {fault}")


def test_what_passed_shows_on_the_route_and_in_events(world: World, honest: tuple[Sidecar, ...]) -> None:
    create(world.installed, drill("rehearse", "answer", "Unavailable"))

    def shown() -> bool:
        verdicts = world.installed.get("llmroute", "rehearse", "answer")["status"].get("drills", {}).get("verdicts", [])
        return any(v["fault"] == "Unavailable" and v["verdict"] == "Passed" for v in verdicts)

    waiting.until(shown, what="the verdict on the route", within=PATIENCE)
    events = json.loads(world.installed.plane.kubectl("get", "events", "-n", "rehearse", "-o", "json").stdout)["items"]
    told = {(e["involvedObject"]["kind"], e["reason"]) for e in events}
    assert ("FallbackDrill", "DrillStarted") in told
    assert ("FallbackDrill", "DrillPassed") in told
    assert ("LLMRoute", "DrillPassed") in told


def test_no_user_request_meets_the_fault_and_no_user_budget_pays(world: World, honest: tuple[Sidecar, ...]) -> None:
    spent = route_spend(world)
    probes = {"count": 20, "interval": "100ms", "minSamples": 3}
    name = create(world.installed, drill("rehearse", "answer", "Unavailable", probes=probes))
    waiting.until(
        lambda: (
            (world.installed.get("fallbackdrill", "rehearse", name).get("status") or {}).get("phase")
            in ("Injecting", "Observing")
        ),
        what="the fault",
        within=PATIENCE,
    )
    served, users = users_until_done(world, honest, name)
    assert users > 20
    assert served == {("200", "first", "")}
    status = ended(world.installed, "rehearse", name)
    assert status["verdict"] == "Passed"
    assert float(status["cost"]) > 0
    assert {s["sidecar"].partition("/")[0] for s in status["samples"]} == {"app-a", "app-b"}
    assert route_spend(world) <= spent + users * 0.001


def users_until_done(world: World, sidecars: tuple[Sidecar, ...], name: str) -> tuple[set[tuple[str, str, str]], int]:
    """Asks like a user, some with a guessed token, until the drill is done; what was seen, and how often."""
    seen: set[tuple[str, str, str]] = set()
    count = 0
    over = threading.Event()

    def watch() -> None:
        ended(world.installed, "rehearse", name)
        over.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    body = {"model": "answer", "messages": [{"role": "user", "content": "[sim:output=2] hi"}], "max_tokens": 5}
    with httpx.Client(timeout=30) as client:
        while not over.is_set():
            for sidecar in sidecars:
                guess = {"x-turnout-drill": f"{count:032x}"} if count % 2 else {}
                answer = client.post(f"{sidecar.url}/chat/completions", json=body, headers=guess)
                headers = answer.headers
                seen.add(
                    (
                        str(answer.status_code),
                        headers.get("x-turnout-candidate", ""),
                        headers.get("x-turnout-degraded", ""),
                    )
                )
                count += 1
    watcher.join()
    return seen, count


def route_spend(world: World) -> float:
    """US dollars of the route's day, as each sidecar's book has it."""
    budgets = world.installed.get("llmroute", "rehearse", "answer")["status"].get("budgets") or []
    return sum(float(b.get("spent") or 0) for b in budgets if b["name"] == "day")


def test_an_abort_reverts_at_once_and_says_how_fast(world: World, honest: tuple[Sidecar, ...]) -> None:
    probes = {"count": 100, "interval": "500ms", "minSamples": 3}
    name = create(world.installed, drill("rehearse", "answer", "Unavailable", probes=probes, duration="5m"))
    reached(world.installed, name, "Observing")
    world.installed.plane.kubectl(
        "patch", "fallbackdrill", name, "-n", "rehearse", "--type=merge", '--patch={"spec":{"abort":true}}'
    )
    status = ended(world.installed, "rehearse", name)
    assert status["verdict"] == "Aborted"
    assert status["abortLatency"]
    reason = next(c["reason"] for c in status["conditions"] if c["type"] == "Failed")
    assert reason == "AbortedByRequest"


def test_a_killed_operator_leaves_no_fault_and_no_verdict_but_inconclusive(
    world: World, honest: tuple[Sidecar, ...]
) -> None:
    for sidecar in honest:  # a lease to go on with while nobody leases
        waiting.until(lambda s=sidecar: answers(s) == FIRST, what="a first answer", within=PATIENCE)  # type: ignore[misc]
    probes = {"count": 100, "interval": "200ms", "minSamples": 3}
    name = create(world.installed, drill("rehearse", "answer", "Unavailable", probes=probes, duration="8s"))
    before = reached(world.installed, name, "Observing")
    for replica in world.installed.replicas:
        replica.process.kill()
    try:
        after_deadline = rfc3339_seconds(before["faultEndsAt"]) + 2
        waiting.until(lambda: time.time() > after_deadline, what="the fault's deadline", within=60)
        met = [faulted_probes(sidecar) for sidecar in honest]
        assert all(met)
        assert [answers(sidecar) for sidecar in honest] == [FIRST, FIRST]
        assert world.installed.get("fallbackdrill", "rehearse", name)["status"]["phase"] == before["phase"]
    finally:
        world.installed.start_operators()
    status = ended(world.installed, "rehearse", name)
    assert status["verdict"] == "Inconclusive"
    assert next(c["reason"] for c in status["conditions"] if c["type"] == "Failed") == "OperatorRestarted"
    assert [faulted_probes(sidecar) for sidecar in honest] == met
    waiting.until(
        lambda: programmed(world.installed, "rehearse", "answer", 2), what="the sidecars back", within=PATIENCE
    )


FIRST = ("200", "first", "")


def reached(installed: Installation, name: str, phase: str) -> dict[str, Any]:
    """The status of a drill in `rehearse` once it is in that phase."""

    def status() -> dict[str, Any] | None:
        found: dict[str, Any] = installed.get("fallbackdrill", "rehearse", name).get("status") or {}
        assert found.get("phase") != "Done", json.dumps(found, indent=1)
        return found if found.get("phase") == phase else None

    return waiting.until(status, what=f"{name} to be {phase}", within=PATIENCE)


def rfc3339_seconds(written: str) -> float:
    return datetime.fromisoformat(written).timestamp()


def answers(sidecar: Sidecar) -> tuple[str, str, str]:
    """Status, candidate and degradation of one user's request."""
    body = {"model": "answer", "messages": [{"role": "user", "content": "[sim:output=2] hi"}], "max_tokens": 5}
    answer = httpx.post(f"{sidecar.url}/chat/completions", json=body, timeout=30)
    told = answer.headers
    return str(answer.status_code), told.get("x-turnout-candidate", ""), told.get("x-turnout-degraded", "")


def faulted_probes(sidecar: Sidecar) -> int:
    """Degraded requests that the sidecar's own listener has served so far."""
    return sum(
        int(line.rpartition(" ")[2])
        for line in sidecar.admin("/stats/prometheus?filter=turnout").splitlines()
        if line.startswith("turnout_degraded_total") and 'reason="Unavailable"' in line
    )


def turnout(installed: Installation, *words: str) -> subprocess.CompletedProcess[str]:
    """`turnout drill …` as a person with kubectl's rights runs it."""
    kubeconfig = f"--kubeconfig={installed.plane.admin_kubeconfig}"
    command = [sys.executable, "-m", "turnout_operator", "drill", *words, kubeconfig]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_line_runs_shows_and_lists_drills_with_exit_codes_for_ci(
    world: World, honest: tuple[Sidecar, ...]
) -> None:
    installed = world.installed
    started = turnout(
        installed, "run", "answer", "-n", "rehearse", "--probes=4", "--interval=100ms", "--wait", "-o", "json"
    )
    assert started.returncode == 0, started.stderr
    assert "Observing" in started.stderr or "Reverting" in started.stderr
    done = json.loads(started.stdout)
    assert done["status"]["verdict"] == "Passed"
    name = done["metadata"]["name"]
    shown = turnout(installed, "show", name, "-n", "rehearse")
    assert shown.returncode == 0
    assert "first:Unavailable -> second:ok" in shown.stdout
    listed = turnout(installed, "list", "-n", "rehearse", "--route=answer")
    assert any(name in line and "Passed" in line for line in listed.stdout.splitlines())
    skipped = turnout(installed, "run", "answer", "-n", "rehearse", "--fault=StreamCut", "--wait")
    assert skipped.returncode == 2
    assert "comes with" in skipped.stdout
    missing = turnout(installed, "show", "nothing", "-n", "rehearse")
    assert missing.returncode == 2
    assert "not found" in missing.stderr


def is_rehearsed(installed: Installation, namespace: str, within: float) -> dict[str, Any]:
    """The condition once it is True; else what the drills say."""

    def condition() -> dict[str, Any] | None:
        found = installed.condition("llmroute", namespace, "answer", "Rehearsed")
        return found if found.get("status") == "True" else None

    try:
        return waiting.until(condition, what="the route to be rehearsed", within=within, every=0.5)
    except waiting.NeverHappenedError as e:
        drills = installed.plane.kubectl("get", "fallbackdrills,events", "-n", namespace, "-o", "yaml").stdout
        raise AssertionError(f"{e}\n{drills}") from e


def test_a_schedule_stamps_a_drill_and_the_route_is_rehearsed(world: World) -> None:
    installed = world.installed
    (sidecar,) = settle(world, "weekly", "app")
    try:
        drills = {"schedule": "* * * * *", "suspend": False, "faults": ["Unavailable"], "faultDuration": "10s"}
        installed.apply(quick("answer", "weekly", **drills))
        rehearsed = is_rehearsed(installed, "weekly", within=180)
        assert rehearsed["reason"] == "Rehearsed"
        listed = json.loads(installed.plane.kubectl("get", "fallbackdrills", "-n", "weekly", "-o", "json").stdout)
        passed = [d for d in listed["items"] if d["status"].get("verdict") == "Passed"]
        assert passed
        assert passed[0]["metadata"]["name"].startswith("answer-unavailable-")
        assert passed[0]["metadata"]["ownerReferences"][0]["kind"] == "LLMRoute"
        assert installed.get("llmroute", "weekly", "answer")["status"]["drills"]["lastScheduleTime"]
    finally:
        sidecar.process.terminate(10)
        installed.plane.kubectl("delete", "llmroute", "answer", "-n", "weekly")


def test_without_sidecars_a_drill_is_skipped_in_words(world: World) -> None:
    world.installed.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "empty", "labels": {"llm": "allowed"}}}
    )
    world.installed.apply(quick("answer", "empty"))
    name = create(world.installed, drill("empty", "answer", "Unavailable", startingDeadline="2s"))
    status = ended(world.installed, "empty", name)
    assert status["verdict"] == "Skipped"
    words = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert words["reason"] == "NoSidecars"
    assert status["sampleCount"] == 0


def test_a_preview_injects_nothing_and_says_what_would_be_seen(world: World, honest: tuple[Sidecar, ...]) -> None:
    name = create(world.installed, drill("rehearse", "answer", "Unavailable", mode="Preview"))
    status = ended(world.installed, "rehearse", name)
    assert (status["verdict"], status["sampleCount"]) == ("Skipped", 0), json.dumps(status, indent=1)
    assert "injectedAt" not in status
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert failed["reason"] == "Previewed"
    assert "first:Unavailable -> second:ok" in failed["message"]
    assert [path["expected"] for path in status["paths"]] == [["first:Unavailable", "second:ok"]]


@pytest.mark.parametrize(
    ("mutant", "reason", "words"),
    [
        ("fallback_skipped", "PathDiffers", "status 503, the declared path ends in 200"),
        ("signal_missing", "PathDiffers", "x-turnout-degraded says nothing"),
        ("fault_stays", "NotRecovered", "RecoveryTimeout"),
    ],
)
def test_a_sidecar_that_is_broken_on_purpose_fails_the_drill(
    world: World, mutant: str, reason: str, words: str
) -> None:
    namespace = mutant.replace("_", "-")
    (sidecar,) = settle(world, namespace, "broken", mutant=mutant)
    try:
        name = create(world.installed, drill(namespace, "answer", "Unavailable", recoveryDeadline="2s"))
        status = ended(world.installed, namespace, name)
        assert status["verdict"] == "Failed", json.dumps(status, indent=1)
        assert next(c["reason"] for c in status["conditions"] if c["type"] == "Failed") == reason
        assert words in status["failStep"]
        assert turnout(world.installed, "show", name, "-n", namespace).returncode == 1
    finally:
        sidecar.process.terminate(10)


def test_a_sidecar_that_sends_no_probe_is_never_passed(world: World) -> None:
    (sidecar,) = settle(world, "silent", "mute", mutant="probes_unsent")
    try:
        name = create(world.installed, drill("silent", "answer", "Unavailable", duration="4s", recoveryDeadline="1s"))
        status = ended(world.installed, "silent", name)
        assert status["verdict"] == "Inconclusive"
        assert status["sampleCount"] == 0
    finally:
        sidecar.process.terminate(10)

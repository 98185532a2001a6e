"""Status as tools read it: always advancing, stable in time, Ready only as a conjunction."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from turnout_operator.api import validation
from turnout_operator.api.enums import DrillFault, Verdict
from turnout_operator.api.providerpool_status import BreakerState
from turnout_operator.compiler import compile as compile_snapshot
from turnout_operator.ir import Compilation
from turnout_operator.render.pool_status import AutoscalerState, PoolFacts, pool_status
from turnout_operator.render.rehearsed import LastDrill, Rehearsal
from turnout_operator.render.spending import Spending
from turnout_operator.render.status import Programming, RouteFacts, route_status
from turnout_operator.snapshot import from_manifests

BASE = Path(__file__).parent / "testdata" / "base.yaml"
NOW = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
ROUTE = "support/support-answer"


def _world() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(BASE.read_text(encoding="utf-8")))


@pytest.fixture
def compilation() -> Compilation:
    return compile_snapshot(from_manifests(_world()), None, NOW)


def _refused() -> Compilation:
    world = _world()
    world[0]["metadata"]["generation"] = 2
    world[0]["spec"]["risk"] = "High"
    return compile_snapshot(from_manifests(world), None, NOW)


def _facts(compilation: Compilation, **more: Any) -> RouteFacts:
    outcome = compilation.outcome_of("LLMRoute", ROUTE)
    assert outcome is not None
    compiled = next((r for r in compilation.routes if r.key == ROUTE), None)
    return RouteFacts(outcome=outcome, faults=compilation.faults_of("LLMRoute", ROUTE), compiled=compiled, **more)


def _conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def test_the_generation_that_was_looked_at_advances_also_when_it_is_refused() -> None:
    status = route_status(_facts(_refused()), {"observedGeneration": 1}, NOW)

    assert status["observedGeneration"] == 2
    assert "acceptedGeneration" not in status
    assert _conditions(status)["Ready"] == ("False", "NotApproved")
    assert _conditions(status)["Stalled"] == ("True", "NotApproved")
    assert "Nothing of it is in service." in status["conditions"][1]["message"]


@pytest.mark.parametrize(
    ("told", "programmed", "ready", "reconciling"),
    [
        (Programming(), ("True", "NoSidecars"), "True", False),
        (Programming(connected=2, programmed=2), ("True", "Programmed"), "True", False),
        (Programming(connected=2, programmed=1), ("False", "Pending"), "False", True),
        (Programming(connected=2, programmed=1, refusals=("no such field",)), ("False", "Rejected"), "False", False),
        (Programming(connected=2, programmed=2, failing=("pool/x",)), ("False", "ClustersNotReady"), "False", True),
    ],
    ids=["no sidecars", "all acknowledged", "one has not", "one refused", "a cluster cannot serve"],
)
def test_programmed_is_what_sidecars_acknowledged(
    compilation: Compilation, told: Programming, programmed: tuple[str, str], ready: str, reconciling: bool
) -> None:
    status = route_status(_facts(compilation, programming=told), {}, NOW)

    assert _conditions(status)["Programmed"] == programmed
    assert _conditions(status)["Ready"][0] == ready
    assert ("Reconciling" in _conditions(status)) is reconciling
    assert status["sidecars"] == {"connected": told.connected, "programmed": told.programmed}


def test_a_refusal_carries_the_sidecars_own_words(compilation: Compilation) -> None:
    told = Programming(connected=1, refusals=("support/support-answer: unknown field `x` at $.x",))
    status = route_status(_facts(compilation, programming=told), {}, NOW)

    assert "unknown field `x` at $.x" in next(c["message"] for c in status["conditions"] if c["type"] == "Ready")
    assert _conditions(status)["Stalled"] == ("True", "Rejected")


def test_transition_times_move_only_when_the_status_flips(compilation: Compilation) -> None:
    before = route_status(_facts(compilation, programming=Programming(connected=1)), {}, NOW)
    after = route_status(_facts(compilation, programming=Programming(connected=1, programmed=1)), before, LATER)
    times = {c["type"]: c["lastTransitionTime"] for c in after["conditions"]}

    assert times["Programmed"] == times["Ready"] == "2026-09-01T12:05:00Z"
    assert times["Accepted"] == times["Rehearsed"] == "2026-09-01T12:00:00Z"


def test_the_same_facts_give_the_same_status(compilation: Compilation) -> None:
    before = route_status(_facts(compilation), {}, NOW)

    assert route_status(_facts(compilation), before, LATER) == before


def test_a_route_on_its_degraded_path_is_still_ready(compilation: Compilation) -> None:
    status = route_status(_facts(compilation, active_step="candidate local"), {}, NOW)

    assert _conditions(status)["DegradationActive"] == ("True", "Active")
    assert _conditions(status)["Ready"] == ("True", "Ready")
    assert status["activeStep"] == "candidate local"


def test_degradation_is_unknown_until_a_sidecar_reports(compilation: Compilation) -> None:
    status = route_status(_facts(compilation, active_step=None), {}, NOW)

    assert _conditions(status)["DegradationActive"] == ("Unknown", "Unknown")


def _drill(fault: DrillFault, verdict: Verdict = Verdict.PASSED, age: timedelta = timedelta(days=1)) -> LastDrill:
    return LastDrill(fault=fault, verdict=verdict, drill=f"drill-{fault.value.lower()}", at=NOW - age)


EVERY = tuple(_drill(DrillFault(f)) for f in ("Unavailable", "RateLimited", "TooSlow", "OverBudget", "InvalidOutput"))


@pytest.mark.parametrize(
    ("verdicts", "passed", "expected"),
    [
        (EVERY, (), ("True", "Rehearsed")),
        (EVERY[1:], (), ("False", "NeverRehearsed")),
        (EVERY[1:], (_drill(DrillFault.UNAVAILABLE, age=timedelta(days=15)),), ("False", "TooOld")),
        ((*EVERY[1:], _drill(DrillFault.UNAVAILABLE, Verdict.FAILED)), EVERY, ("False", "DrillFailed")),
        ((*EVERY[1:], _drill(DrillFault.UNAVAILABLE, Verdict.INCONCLUSIVE)), EVERY, ("True", "Rehearsed")),
        ((*EVERY[1:], _drill(DrillFault.UNAVAILABLE, Verdict.INCONCLUSIVE)), (), ("False", "NeverRehearsed")),
    ],
    ids=["every fault", "one never", "one too old", "one failed", "inconclusive after a pass", "only inconclusive"],
)
def test_rehearsed_needs_a_fresh_pass_of_every_declared_fault(
    compilation: Compilation, verdicts: tuple[LastDrill, ...], passed: tuple[LastDrill, ...], expected: tuple[str, str]
) -> None:
    rehearsal = Rehearsal(verdicts=verdicts, passed=passed)
    status = route_status(_facts(compilation, rehearsal=rehearsal), {}, NOW)

    assert _conditions(status)["Rehearsed"] == expected
    assert _conditions(status)["Ready"] == ("True", "Ready")


def test_budgets_show_the_sum_and_the_fullest_accounts(compilation: Compilation) -> None:
    resets = datetime(2026, 9, 2, tzinfo=UTC)
    account = "support/route:support-answer/day"
    spending = (
        Spending(account=account, subject="-", spent=1_500_000_000, held=250_000_000, resets_at=resets),
        Spending(account="another", subject="-", spent=7, held=7, resets_at=resets),
    )
    status = route_status(_facts(compilation, spending=spending, spent_today=1_500_000_000), {}, NOW)

    assert [b["name"] for b in status["budgets"]] == ["request", "day"]
    day = status["budgets"][1]
    assert (day["limit"], day["spent"], day["held"], day["resetsAt"]) == ("200", "1.5", "0.25", "2026-09-02T00:00:00Z")
    assert status["spentToday"] == "1.5"


def test_every_status_fits_the_crd(compilation: Compilation) -> None:
    for facts in (_facts(compilation, rehearsal=Rehearsal(verdicts=EVERY, last_schedule=NOW)), _facts(_refused())):
        manifest = {**_world()[0], "status": route_status(facts, {}, NOW)}

        assert validation.findings(manifest) == ()


def test_conveniences_that_nothing_acts_on_are_told(compilation: Compilation) -> None:
    status = route_status(_facts(compilation), {}, NOW)

    assert {"field": "spec.latency.total.p95", "since": "0.2"} in status["notEnforced"]


def _pool(compilation: Compilation, **more: Any) -> PoolFacts:
    outcome = compilation.outcome_of("ProviderPool", "llm/vllm")
    assert outcome is not None
    compiled = next((p for p in compilation.pools if p.key == "llm/vllm"), None)
    return PoolFacts(
        outcome=outcome, faults=compilation.faults_of("ProviderPool", "llm/vllm"), compiled=compiled, **more
    )


@pytest.mark.parametrize(
    ("state", "autoscaling", "ready"),
    [
        (None, ("Unknown", "Pending"), "True"),
        (AutoscalerState(able=True, words="ReadyForNewScale: fine"), ("True", "AutoscalerReady"), "True"),
        (AutoscalerState(able=False, words="FailedGetScale: gone"), ("False", "UnableToScale"), "False"),
    ],
    ids=["not looked at", "able to scale", "unable to scale"],
)
def test_autoscaling_is_what_the_autoscaler_says(
    compilation: Compilation, state: AutoscalerState | None, autoscaling: tuple[str, str], ready: str
) -> None:
    status = pool_status(_pool(compilation, autoscaler=state), {}, NOW)

    assert _conditions(status)["AutoscalingReady"] == autoscaling
    assert _conditions(status)["Ready"][0] == ready


def test_a_model_shows_the_worst_breaker_of_all_sidecars(compilation: Compilation) -> None:
    seen = (("qwen3-8b", BreakerState.CLOSED), ("qwen3-8b", BreakerState.OPEN), ("qwen3-8b", BreakerState.HALF_OPEN))
    status = pool_status(_pool(compilation, breakers=seen, routes=(ROUTE,)), {}, NOW)

    assert status["models"] == [{"name": "qwen3-8b", "breaker": "Open"}]
    assert (status["routes"], status["routeCount"]) == ([ROUTE], 1)


def test_a_pool_with_a_foreign_autoscaler_serves_and_is_not_ready() -> None:
    rival = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "by-hand", "namespace": "llm"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "vllm"}},
    }
    compilation = compile_snapshot(from_manifests([*_world(), rival]), None, NOW)
    status = pool_status(_pool(compilation), {}, NOW)

    assert _conditions(status)["AutoscalingReady"] == ("False", "TargetOwnedByAnother")
    assert _conditions(status)["Accepted"] == ("True", "Accepted")
    assert any(r.key == ROUTE for r in compilation.routes)


def test_status_holds_nothing_of_a_secret(compilation: Compilation) -> None:
    shown = msgspec.json.encode([route_status(_facts(compilation), {}, NOW), compilation])

    assert b"not-a-real-key" not in shown

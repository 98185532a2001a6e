"""Applying, editing, revoking and deleting routes and pools, with real controllers and two operators."""

from __future__ import annotations

import copy
from typing import Any

import yaml

from turnout_testing import waiting
from turnout_testing.installation import NAMESPACE, ROOT, Installation, secret

PATIENCE = 60


def example(name: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((ROOT / "examples" / "30-routes.yaml").read_text())
    found: dict[str, Any] = next(d for d in documents if d["metadata"]["name"] == name)
    return copy.deepcopy(found)


def renamed(name: str) -> dict[str, Any]:
    route = example("support-answer")
    route["metadata"]["name"] = name
    return route


def condition(installed: Installation, kind: str, where: tuple[str, str], name: str, **wanted: Any) -> dict[str, Any]:
    """The condition once it is as wanted."""

    def asked() -> dict[str, Any]:
        found = installed.condition(kind, *where, name)
        return found if found and all(found.get(k) == v for k, v in wanted.items()) else {}

    return waiting.until(asked, what=f"{kind} {where} {name} {wanted}", within=PATIENCE)


def test_the_examples_become_ready_and_say_that_no_sidecar_is_there(installed: Installation) -> None:
    condition(installed, "llmroute", ("support", "support-answer"), "Ready", status="True")
    condition(installed, "llmroute", ("support", "support-answer"), "Programmed", reason="NoSidecars")
    status = installed.get("llmroute", "support", "support-answer")["status"]
    assert status["worstCase"] == {"attempts": 2, "cost": "0.008096", "latency": "15s"}
    assert status["observedGeneration"] == 1


def test_a_refused_edit_keeps_the_last_good_one_in_service_also_over_a_restart(installed: Installation) -> None:
    route = renamed("last-good")
    installed.apply(route)
    condition(installed, "llmroute", ("support", "last-good"), "Ready", status="True")
    route["spec"]["budget"]["limits"][0]["cost"] = "0.000001"
    installed.apply(route)
    refused = condition(installed, "llmroute", ("support", "last-good"), "Accepted", status="False")
    assert refused["reason"] == "WorstCaseExceedsLimit"
    assert "0.008096" in refused["message"]
    assert "generation 1 stays in service" in refused["message"]
    for replica in installed.replicas:
        replica.process.kill()
    installed.start_operators()
    status = waiting.until(
        lambda: installed.get("llmroute", "support", "last-good").get("status"), what="a status", within=PATIENCE
    )
    assert status["acceptedGeneration"] == 1
    assert status["observedGeneration"] == 2
    installed.plane.kubectl("delete", "llmroute", "last-good", "-n", "support")


def test_a_pool_whose_secret_is_taken_away_stops_and_comes_back_with_it(installed: Installation) -> None:
    installed.apply(renamed("revoked"))
    condition(installed, "llmroute", ("support", "revoked"), "Ready", status="True")
    installed.plane.kubectl("delete", "secret", "openai", "-n", "llm")
    condition(installed, "providerpool", ("llm", "openai"), "ResolvedRefs", status="False", reason="SecretNotFound")
    condition(installed, "llmroute", ("support", "revoked"), "Ready", status="False")
    installed.apply(secret("llm", "openai", apiKey="sk-never-print-me-7c1f"))
    condition(installed, "llmroute", ("support", "revoked"), "Ready", status="True")
    installed.plane.kubectl("delete", "llmroute", "revoked", "-n", "support")


def test_a_self_hosted_pool_gets_an_autoscaler_that_the_real_controller_takes_up(installed: Installation) -> None:
    container = {"name": "vllm", "image": "none"}
    template = {"metadata": {"labels": {"app": "vllm"}}, "spec": {"containers": [container]}}
    installed.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "vllm", "namespace": "llm"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "vllm"}}, "template": template},
        }
    )
    condition(installed, "providerpool", ("llm", "vllm"), "AutoscalingReady", status="True")
    autoscaler = installed.get("hpa", "llm", "turnout-vllm")
    able = next(c for c in autoscaler["status"]["conditions"] if c["type"] == "AbleToScale")
    assert able["status"] == "True"
    assert autoscaler["metadata"]["ownerReferences"][0]["kind"] == "ProviderPool"
    assert "app.kubernetes.io/instance" not in autoscaler["metadata"]["labels"]


def test_foreign_fields_on_an_owned_object_survive_and_owned_ones_are_put_back(installed: Installation) -> None:
    waiting.until(lambda: installed.get("hpa", "llm", "turnout-vllm"), what="the autoscaler", within=PATIENCE)
    installed.plane.kubectl("annotate", "hpa", "turnout-vllm", "-n", "llm", "example.com/mine=kept", "--overwrite")
    patch = '{"spec": {"maxReplicas": 3}}'
    installed.plane.kubectl("patch", "hpa", "turnout-vllm", "-n", "llm", "--type=merge", f"--patch={patch}")
    # A change of the pool makes the operator look at its own objects again.
    installed.plane.kubectl("label", "providerpool", "vllm", "-n", "llm", "looked=again", "--overwrite")
    waiting.until(
        lambda: installed.get("hpa", "llm", "turnout-vllm")["spec"]["maxReplicas"] == 8,
        what="the owned field put back",
        within=PATIENCE,
    )
    annotations = installed.get("hpa", "llm", "turnout-vllm")["metadata"]["annotations"]
    assert annotations["example.com/mine"] == "kept"
    assert "looked" not in installed.get("hpa", "llm", "turnout-vllm")["metadata"]["labels"]


def test_deleting_a_route_takes_what_it_owned_with_it(installed: Installation) -> None:
    installed.apply(renamed("short-lived"))
    condition(installed, "llmroute", ("support", "short-lived"), "Ready", status="True")

    def kept() -> list[str]:
        found = installed.plane.kubectl(
            "get", "configmap", "-n", NAMESPACE, "-l", "turnout.dev/accepted=route", "-o", "yaml"
        )
        return [i["metadata"]["annotations"]["turnout.dev/of"] for i in yaml.safe_load(found.stdout)["items"]]

    assert "support/short-lived" in kept()
    installed.plane.kubectl("delete", "llmroute", "short-lived", "-n", "support")
    waiting.until(lambda: "support/short-lived" not in kept(), what="the accepted generation to go", within=PATIENCE)


def test_nothing_is_written_to_users_objects_but_status(installed: Installation) -> None:
    route = installed.get("llmroute", "support", "support-answer")
    assert "finalizers" not in route["metadata"]
    annotations = set(route["metadata"].get("annotations") or {})
    assert annotations == {"kubectl.kubernetes.io/last-applied-configuration"}
    raw = installed.plane.kubectl(
        "get", "llmroute", "support-answer", "-n", "support", "-o", "json", "--show-managed-fields"
    )
    managers = {m["manager"]: m.get("subresource") for m in yaml.safe_load(raw.stdout)["metadata"]["managedFields"]}
    assert managers["turnout-operator"] == "status"


def test_the_other_replica_takes_over_when_the_leader_is_killed(installed: Installation) -> None:
    leader = waiting.until(lambda: installed.leader, what="a leader", within=PATIENCE)
    leader.process.kill()
    successor = waiting.until(lambda: installed.leader, what="a successor", within=PATIENCE)
    assert successor.name != leader.name
    installed.apply(renamed("after-takeover"))
    condition(installed, "llmroute", ("support", "after-takeover"), "Ready", status="True")
    installed.plane.kubectl("delete", "llmroute", "after-takeover", "-n", "support")
    leader.start()


def test_an_operator_outlives_an_outage_of_the_api_server(installed: Installation) -> None:
    leader = waiting.until(lambda: installed.leader, what="a leader", within=PATIENCE)
    with installed.plane.apiserver_down():
        assert leader.probe("/livez") == 200
    for replica in installed.replicas:
        if replica.process.pid is None:
            replica.start()
    waiting.until(lambda: installed.leader, what="a leader after the outage", within=PATIENCE)
    installed.apply(renamed("after-outage"))
    condition(installed, "llmroute", ("support", "after-outage"), "Ready", status="True")
    installed.plane.kubectl("delete", "llmroute", "after-outage", "-n", "support")


def test_no_provider_key_stands_in_any_object_or_log(installed: Installation) -> None:
    for kind in ("configmap", "llmroute", "providerpool", "hpa", "event", "lease"):
        assert "sk-never-print-me" not in installed.plane.kubectl("get", kind, "-A", "-o", "yaml").stdout, kind
    for replica in installed.replicas:
        assert "sk-never-print-me" not in replica.process.log.read_text(errors="replace")


def test_health_and_metrics_answer_from_outside_the_loops(installed: Installation) -> None:
    leader = waiting.until(lambda: installed.leader, what="a leader", within=PATIENCE)
    assert leader.probe("/livez") == 200
    text = leader.metrics()
    for family in (
        "turnout_reconcile_total",
        "turnout_workqueue_depth",
        "turnout_lease_reports_total",
        "turnout_drills_total",
    ):
        assert family in text

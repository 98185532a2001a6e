"""Objects that Turnout writes: in the server's own shape, and with nothing of their owner's that a GitOps tool would act on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout_operator.compiler import compile as compile_snapshot
from turnout_operator.render import hpa
from turnout_operator.snapshot import from_manifests

BASE = Path(__file__).parent / "testdata" / "base.yaml"
NOW = datetime(2026, 9, 1, tzinfo=UTC)


def _autoscaler(**changes: Any) -> dict[str, Any]:
    world = list(yaml.safe_load_all(BASE.read_text(encoding="utf-8")))
    pool = next(m for m in world if m["kind"] == "ProviderPool" and m["metadata"]["name"] == "vllm")
    pool["metadata"] |= {
        "labels": {"app.kubernetes.io/instance": "argo-app", "team": "x"},
        "annotations": {"argocd.argoproj.io/tracking-id": "app:turnout.dev/ProviderPool:llm/vllm"},
    }
    pool["spec"]["autoscaling"] |= changes
    compilation = compile_snapshot(from_manifests(world), None, NOW)
    made = hpa.autoscaler(next(p for p in compilation.pools if p.key == "llm/vllm"))
    assert made is not None
    return made


def test_labels_and_annotations_of_the_owner_never_travel() -> None:
    metadata = _autoscaler()["metadata"]

    assert "annotations" not in metadata
    assert metadata["labels"] == {
        "app.kubernetes.io/managed-by": "turnout",
        "app.kubernetes.io/part-of": "turnout",
        "turnout.dev/providerpool": "vllm",
    }
    assert [(o["kind"], o["name"], o["uid"]) for o in metadata["ownerReferences"]] == [
        ("ProviderPool", "vllm", "vllm-uid")
    ]


def test_replicas_of_the_workload_are_never_written() -> None:
    assert "replicas" not in _autoscaler()["spec"]


def test_the_target_is_an_average_so_that_starting_replicas_do_not_compound() -> None:
    external = _autoscaler()["spec"]["metrics"][0]["external"]

    assert external["target"] == {"type": "AverageValue", "averageValue": "32"}
    assert external["metric"]["selector"] == {"matchLabels": {"namespace": "llm", "pool": "vllm"}}


@pytest.mark.parametrize(
    ("value", "written"), [(1, "1"), (32, "32"), (1000, "1k"), (1500, "1500"), (64_000, "64k"), (2_000_000, "2M")]
)
def test_quantities_are_written_as_the_server_prints_them(value: int, written: str) -> None:
    assert hpa.quantity(value) == written


@settings(max_examples=50, deadline=None)
@given(startup=st.integers(0, 90_000), least=st.integers(1, 1000), span=st.integers(0, 999))
def test_every_window_and_step_stays_within_the_servers_bounds(startup: int, least: int, span: int) -> None:
    most = min(1000, least + span)
    spec = _autoscaler(startup=f"{startup}s", minReplicas=least, maxReplicas=most)["spec"]

    for direction in spec["behavior"].values():
        assert 0 <= direction["stabilizationWindowSeconds"] <= 3600
        assert all(0 < p["periodSeconds"] <= 1800 and p["value"] > 0 for p in direction["policies"])
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 300

"""ScalingFacts -> autoscaling/v2 HorizontalPodAutoscaler: requests in flight at the pool, as our own sidecars count them.

Why this shape (each line is an incident of somebody's): the target is an AverageValue, because a Value target compounds while replicas
start (1 -> 22,745 pods in a model of llm-d's); the metric is in flight plus queued and always exported, because CPU and memory of model
servers say nothing and a missing metric blocks scaling down; it scales up a few pods per start-up time and down one at a time after a
long look back, because a replica takes `startup` to help and minutes to warm; replicas of the workload are never written.

Every field that the server would default is written, in the server's order, so that a GitOps tool sees no difference.
"""

from __future__ import annotations

from typing import Any

from turnout_operator.ir import CompiledPool, ScalingFacts
from turnout_operator.render import owned

METRIC = "turnout_pool_in_flight"
"""Exported by every sidecar for every pool it may use, as 0 too."""
LONGEST_WINDOW = 3600
LONGEST_PERIOD = 1800
"""The apiserver's own bounds, in seconds."""


def autoscaler_name(pool_name: str) -> str:
    """The name of the autoscaler that belongs to a pool of that name."""
    return f"turnout-{pool_name}"


def autoscaler(pool: CompiledPool) -> dict[str, Any] | None:
    """The HorizontalPodAutoscaler as a manifest to apply; None where the pool wants none."""
    if pool.scaling is None:
        return None
    origin = pool.policy.origin
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": owned.metadata(
            name=autoscaler_name(origin.name),
            namespace=origin.namespace,
            owner_kind=origin.kind,
            owner_name=origin.name,
            owner_uid=pool.uid,
        ),
        "spec": {
            "scaleTargetRef": {
                "kind": pool.scaling.kind,
                "name": pool.scaling.name,
                "apiVersion": pool.scaling.api_version,
            },
            "minReplicas": pool.scaling.min_replicas,
            "maxReplicas": pool.scaling.max_replicas,
            "metrics": [_metric(pool.scaling, origin.namespace, origin.name)],
            "behavior": {"scaleUp": _scale_up(pool.scaling), "scaleDown": _scale_down(pool.scaling)},
        },
    }


def quantity(value: int) -> str:
    """A whole Kubernetes quantity as the apiserver prints it: ``1000`` comes back as ``1k``."""
    suffix = ""
    for larger in ("k", "M", "G"):
        if value == 0 or value % 1000:
            break
        value, suffix = value // 1000, larger
    return f"{value}{suffix}"


def _metric(scaling: ScalingFacts, namespace: str, name: str) -> dict[str, Any]:
    return {
        "type": "External",
        "external": {
            "metric": {"name": METRIC, "selector": {"matchLabels": {"namespace": namespace, "pool": name}}},
            "target": {"type": "AverageValue", "averageValue": quantity(scaling.in_flight_per_replica)},
        },
    }


def _scale_up(scaling: ScalingFacts) -> dict[str, Any]:
    """A quarter of the way to the top per start-up time, after the load has lasted half of one (at most two minutes): a burst that is
    over before a replica could help asks for none."""
    startup = scaling.startup // 1000
    step = max(1, -(-(scaling.max_replicas - scaling.min_replicas) // 4))
    return {
        "stabilizationWindowSeconds": min(120, startup // 2),
        "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": step, "periodSeconds": min(max(15, startup), LONGEST_PERIOD)}],
    }


def _scale_down(scaling: ScalingFacts) -> dict[str, Any]:
    """One pod at a time, judged by the highest demand of five start-up times and at least five minutes."""
    startup = scaling.startup // 1000
    return {
        "stabilizationWindowSeconds": min(max(300, 5 * startup), LONGEST_WINDOW),
        "selectPolicy": "Min",
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": min(max(60, startup), LONGEST_PERIOD)}],
    }

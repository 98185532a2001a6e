"""Autoscaling of self-hosted pools: whether the declared target can be reached, and whether the workload is free to be scaled."""

from __future__ import annotations

from turnout_operator.api import ProviderPool
from turnout_operator.api.conditions import AcceptedReason, AutoscalingReason
from turnout_operator.compiler.age import age
from turnout_operator.compiler.faults import Faults
from turnout_operator.ir import ScalingFacts
from turnout_operator.snapshot import AutoscalerFacts, Snapshot
from turnout_sidecar.policy.units import Millis

STARTUP = Millis(120_000)
"""Where `startup` is not written: loading a small model from a warm disk; too long only means that scaling is patient."""


def scaling_of(pool: ProviderPool, snapshot: Snapshot, faults: Faults) -> ScalingFacts | None:
    """The facts of the pool's autoscaler; None where none is declared or where another one owns the workload."""
    declared = pool.spec.autoscaling
    if declared is None:
        return None
    _examine_self_hosted(pool, faults)
    _examine_reach(pool, faults)
    target = declared.scale_target_ref
    elder = _elder(pool, snapshot)
    if elder is not None:
        message = (
            f"the older ProviderPool {elder.metadata.namespace}/{elder.metadata.name} scales {target.kind} {target.name} already: "
            "take autoscaling out of one of them"
        )
        faults.unscalable(AutoscalingReason.TARGET_OWNED, "spec.autoscaling.scaleTargetRef", message)
        return None
    rival = _rival(pool, snapshot)
    if rival is not None:
        message = (
            f"HorizontalPodAutoscaler {rival.namespace}/{rival.name} already scales {target.kind} {target.name}, and two would fight: "
            "delete it, or take autoscaling out of this pool"
        )
        faults.unscalable(AutoscalingReason.TARGET_OWNED, "spec.autoscaling.scaleTargetRef", message)
        return None
    return ScalingFacts(
        api_version=target.api_version,
        kind=target.kind,
        name=target.name,
        min_replicas=declared.min_replicas,
        max_replicas=declared.max_replicas,
        in_flight_per_replica=declared.in_flight_per_replica,
        startup=Millis(declared.startup.millis()) if declared.startup else STARTUP,
    )


def _examine_self_hosted(pool: ProviderPool, faults: Faults) -> None:
    if pool.spec.endpoints and all(e.service_ref is None for e in pool.spec.endpoints):
        message = "autoscaling scales a workload behind a Service, and every endpoint is a url: write a serviceRef, or take it out"
        faults.unless_said(AcceptedReason.INVALID, "spec.autoscaling", message)


def _examine_reach(pool: ProviderPool, faults: Faults) -> None:
    """A gauge that is bounded below its target never asks for the last replica (seen in LLMKube#482)."""
    declared = pool.spec.autoscaling
    assert declared is not None
    bounds = [m.capacity.max_concurrency if m.capacity else None for m in pool.spec.models]
    if not bounds or not all(bounds):
        return
    bound = sum(b for b in bounds if b)
    needed = declared.in_flight_per_replica * (declared.max_replicas - 1)
    if declared.max_replicas > declared.min_replicas and bound <= needed:
        reachable = -(-bound // declared.in_flight_per_replica)
        message = (
            f"more than {needed} requests in flight ask for replica {declared.max_replicas} "
            f"({declared.in_flight_per_replica} each), and maxConcurrency of the models bounds them at {bound}, "
            f"which asks for {reachable} at most: write inFlightPerReplica below {-(-bound // (declared.max_replicas - 1))}, "
            f"maxReplicas {reachable}, or more maxConcurrency"
        )
        faults.unless_said(AcceptedReason.INVALID, "spec.autoscaling.inFlightPerReplica", message)


def _rival(pool: ProviderPool, snapshot: Snapshot) -> AutoscalerFacts | None:
    """The autoscaler of somebody else that scales the same workload."""
    for found in snapshot.autoscalers:
        if found.namespace != pool.metadata.namespace or found.ours:
            continue
        if (_group(found.api_version), found.kind, found.target) == _target(pool):
            return found
    return None


def _elder(pool: ProviderPool, snapshot: Snapshot) -> ProviderPool | None:
    """An older pool of the namespace that declares the same workload."""
    mine = _target(pool)
    same = [p for p in snapshot.pools if p.metadata.namespace == pool.metadata.namespace and _target(p) == mine]
    oldest = min(same, key=age)
    return None if oldest.key == pool.key else oldest


def _target(pool: ProviderPool) -> tuple[str, str, str] | None:
    if pool.spec.autoscaling is None:
        return None
    ref = pool.spec.autoscaling.scale_target_ref
    return (_group(ref.api_version), ref.kind, ref.name)


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]

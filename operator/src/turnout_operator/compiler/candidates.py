"""Candidates of a route -> models of pools in service, each checked for consent: the grant, the approval, the data policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from turnout_operator.api import LLMRoute
from turnout_operator.api.conditions import AcceptedReason, ResolvedRefsReason
from turnout_operator.api.routing import Candidate
from turnout_operator.compiler import consent
from turnout_operator.compiler.faults import Faults
from turnout_operator.ir import CompiledPool, Condition, DataPolicy, Diagnostic, Grant
from turnout_sidecar.policy import model as policy


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """What is known of one pool that exists: what is in service of it (if anything), and why not more."""

    key: str
    grant: Grant
    """The current one, also of a pool that is not in service."""
    served: CompiledPool | None
    faults: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A candidate that may serve the route."""

    index: int
    name: str
    pool: CompiledPool
    model: policy.Model


def data_policy_of(route: LLMRoute) -> DataPolicy:
    """The route's demands on pools; a route that writes none demands nothing."""
    declared = route.spec.data_policy
    if declared is None:
        return DataPolicy(regions=(), allow_retention=True, allow_training=True)
    return DataPolicy(
        regions=tuple(sorted(declared.regions)),
        allow_retention=declared.allow_retention,
        allow_training=declared.allow_training,
    )


def resolve(
    route: LLMRoute, pools: Mapping[str, PoolView], labels: Mapping[str, str], faults: Faults
) -> tuple[Resolved, ...]:
    """The candidates that resolve, in the order of the list; every one that does not is in `faults`."""
    found = []
    for index, candidate in enumerate(route.spec.candidates):
        resolved = _resolve(route, index, candidate, pools, labels, faults)
        if resolved is not None:
            _examine_consent(route, resolved, faults)
            found.append(resolved)
    return tuple(found)


def pool_key(candidate: Candidate, namespace: str) -> str:
    """The pool a candidate names; without a namespace, the route's own."""
    return f"{candidate.pool_ref.namespace or namespace}/{candidate.pool_ref.name}"


def _resolve(
    route: LLMRoute,
    index: int,
    candidate: Candidate,
    pools: Mapping[str, PoolView],
    labels: Mapping[str, str],
    faults: Faults,
) -> Resolved | None:
    namespace = route.metadata.namespace
    key = pool_key(candidate, namespace)
    field = f"spec.candidates[{index}]"
    view = pools.get(key)
    if view is None:
        message = f"there is no ProviderPool {key}: create it, or correct the name"
        faults.unresolved(ResolvedRefsReason.POOL_NOT_FOUND, f"{field}.poolRef", message)
        return None
    if not consent.granted(view.grant, key.partition("/")[0], namespace, labels):
        # Nothing more is said of the pool: its owner has not agreed to be seen.
        message = (
            f"ProviderPool {key} does not allow routes of namespace {namespace} ({consent.in_words(view.grant)}): "
            "its owner can change spec.allowedNamespaces"
        )
        faults.unresolved(ResolvedRefsReason.NOT_ALLOWED, f"{field}.poolRef", message)
        return None
    if view.served is None:
        _say_why_not(view, f"{field}.poolRef", faults)
        return None
    model = next((m for m in view.served.policy.models if m.name == candidate.model), None)
    if model is None:
        _say_no_model(view.served, candidate.model, f"{field}.model", faults)
        return None
    return Resolved(index=index, name=candidate.name, pool=view.served, model=model)


def _say_why_not(view: PoolView, field: str, faults: Faults) -> None:
    refs = next((d for d in view.faults if d.condition is Condition.RESOLVED_REFS), None)
    if refs is not None:
        faults.unresolved(ResolvedRefsReason(refs.reason), field, f"ProviderPool {view.key}: {refs.message}")
        return
    first = next((d for d in view.faults if d.condition is Condition.ACCEPTED), None)
    why = f": {first.field}: {first.message}" if first is not None else ""
    faults.unresolved(ResolvedRefsReason.POOL_NOT_ACCEPTED, field, f"ProviderPool {view.key} is not accepted{why}")


def _say_no_model(pool: CompiledPool, model: str, field: str, faults: Faults) -> None:
    unusable = next((u for u in pool.unusable if u.model == model), None)
    if unusable is not None:
        faults.refuse(
            AcceptedReason(unusable.reason), field, f"model {model} of ProviderPool {pool.key} {unusable.words}"
        )
        return
    known = ", ".join(m.name for m in pool.policy.models) or "none"
    message = f"ProviderPool {pool.key} has no model {model}: it has {known}"
    faults.unresolved(ResolvedRefsReason.MODEL_NOT_FOUND, field, message)


def _examine_consent(route: LLMRoute, resolved: Resolved, faults: Faults) -> None:
    field = f"spec.candidates[{resolved.index}]"
    unapproved = consent.not_approved(resolved.pool, resolved.model.name, policy.Risk(route.spec.risk.value))
    if unapproved is not None:
        faults.refuse(AcceptedReason.NOT_APPROVED, f"{field}.model", unapproved)
    for broken in consent.breaks(resolved.pool, data_policy_of(route)):
        faults.refuse(AcceptedReason.DATA_POLICY, f"{field}.poolRef", broken)

"""What others must agree to before a route may use a pool: the owner's grant and approval, the route's own data policy.

These are asked of every generation in service at every compilation, not only of edits: consent that is withdrawn stops the route.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from turnout_operator.ir import CompiledPool, DataPolicy, Grant, GrantFrom, Requirement
from turnout_sidecar.policy.model import Risk


def granted(grant: Grant, pool_namespace: str, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether routes of `namespace` (with `labels`) may use a pool of `pool_namespace`; its own namespace always may under Same and All."""
    if grant.allowed is GrantFrom.ALL:
        return True
    if grant.allowed is GrantFrom.SAME:
        return pool_namespace == namespace
    return bool(grant.requirements) and all(_satisfied(r, labels) for r in grant.requirements)


def in_words(grant: Grant) -> str:
    """The grant as its owner wrote it, shortly."""
    if grant.allowed is not GrantFrom.SELECTOR:
        return f"allowedNamespaces.from: {grant.allowed}"
    wanted = ", ".join(f"{r.key} {r.operator} {'|'.join(r.values)}".rstrip() for r in grant.requirements)
    return f"namespaces with labels {wanted or 'that nobody has: the selector is empty'}"


def not_approved(pool: CompiledPool, model: str, risk: Risk) -> str | None:
    """Why the model may not serve that risk class, or None."""
    approved = next((a.risks for a in pool.approvals if a.model == model), ())
    if risk in approved:
        return None
    classes = ", ".join(approved) or "nothing"
    return (
        f"the route's risk is {risk} and model {model} of ProviderPool {pool.key} is approved for {classes}: "
        "choose an approved model, or ask the pool's owner for approvedFor"
    )


def breaks(pool: CompiledPool, wanted: DataPolicy) -> Iterator[str]:
    """How the pool breaks the route's data policy, each way with what was found."""
    if wanted.regions:
        outside = [r for r in pool.data.regions if r not in wanted.regions]
        if outside or not pool.data.regions:
            where = f"processes in {', '.join(outside)}" if outside else "states no region"
            yield f"dataPolicy.regions allows {', '.join(wanted.regions)} and ProviderPool {pool.key} {where}"
    if pool.data.retains and not wanted.allow_retention:
        yield f"dataPolicy.allowRetention is false and ProviderPool {pool.key} does not state retention: None"
    if pool.data.trains and not wanted.allow_training:
        yield f"dataPolicy.allowTraining is false and ProviderPool {pool.key} does not state training: false"


def _satisfied(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return False

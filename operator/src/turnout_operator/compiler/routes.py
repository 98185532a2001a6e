"""One LLMRoute -> the contract that its sidecars enforce. Knows nothing of other routes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from turnout_operator.api import LLMRoute, LLMRouteSpec
from turnout_operator.api.degradation import Step
from turnout_operator.api.matching import IdentityPart
from turnout_operator.compiler import bounds, defaults, enforceable, law, rehearsal, rules
from turnout_operator.compiler.budgets import Limits, limits_of
from turnout_operator.compiler.candidates import PoolView, data_policy_of, pool_key, resolve
from turnout_operator.compiler.faults import Faults
from turnout_operator.ir import CompiledRoute
from turnout_sidecar.policy import model as policy
from turnout_sidecar.policy.origin import Origin
from turnout_sidecar.policy.units import Millis


def compile_route(
    route: LLMRoute, pools: Mapping[str, PoolView], labels: Mapping[str, str], now: datetime, faults: Faults
) -> CompiledRoute | None:
    """The route's contract, or None with every reason in `faults`."""
    spec = route.spec
    law.examine(route, faults)
    law.examine_exceptions(spec.exceptions, now, faults)
    not_enforced = enforceable.examine(spec, faults)
    resolved = resolve(route, pools, labels, faults)
    reachable = tuple(c for c in resolved if c.name in reachable_names(spec))
    origin = origin_of(route)
    limits = limits_of(spec.budget.limits if spec.budget else (), origin, faults)
    matches = defaults.models_matched(spec, route.metadata.name)
    tokens, deadlines = bounds.tokens_of(spec), bounds.deadlines_of(spec)
    declared_rules = rules_of(spec)
    rules.examine(declared_rules, _fact_bounds(matches, tokens), faults)
    bounds.examine_targets(spec, faults)
    rehearsal.examine(spec, faults)
    if tokens is not None:
        bounds.examine_windows(tokens, reachable, faults)
    if deadlines is not None:
        bounds.examine_deadlines(spec, deadlines, faults)
    worst = None
    if tokens is not None and deadlines is not None:
        worst = bounds.worst_case(spec, tokens, deadlines, reachable)
        if worst is not None:
            bounds.examine_request_limits(worst, tokens, limits.policy, reachable, faults)
    if faults.stops or worst is None or tokens is None or deadlines is None:
        return None
    drills = rehearsal.drills_of(spec, worst.cost)
    assert drills is not None, "the law demands drills"
    return CompiledRoute(
        policy=_policy(route, origin, matches, tokens, deadlines, limits, declared_rules),
        worst_case=worst,
        quota=limits.quota,
        data_policy=data_policy_of(route),
        drills=drills,
        not_enforced=not_enforced,
    )


def origin_of(route: LLMRoute) -> Origin:
    """Where everything of this route came from."""
    meta = route.metadata
    return Origin(kind="LLMRoute", namespace=meta.namespace, name=meta.name, generation=meta.generation)


def reachable_names(spec: LLMRouteSpec) -> frozenset[str]:
    """Every candidate that routing, the cascade or a degradation path can lead to."""
    names = {*defaults.order(spec)}
    names |= {c.name for rule in spec.routing.rules for c in rule.use}
    names |= {c.name for c in spec.routing.cascade.to} if spec.routing.cascade else set()
    paths = spec.degradation.paths if spec.degradation else ()
    names |= {s.candidate.name for path in paths for s in path.steps if s.candidate is not None}
    return frozenset(names)


def rules_of(spec: LLMRouteSpec) -> tuple[policy.Rule, ...]:
    """The routing rules as they are evaluated."""
    return tuple(policy.Rule(name=r.name, when=r.when, use=tuple(c.name for c in r.use)) for r in spec.routing.rules)


def _fact_bounds(matches: tuple[policy.Match, ...], tokens: bounds.Tokenage | None) -> rules.Bounds | None:
    if tokens is None:
        return None
    any_model = any(not m.models for m in matches)
    models = () if any_model else tuple(sorted({model for m in matches for model in m.models}))
    return rules.Bounds(models=models, max_input=tokens.input, max_output=tokens.output)


def _policy(
    route: LLMRoute,
    origin: Origin,
    matches: tuple[policy.Match, ...],
    tokens: bounds.Tokenage,
    deadlines: policy.Deadlines,
    limits: Limits,
    declared_rules: tuple[policy.Rule, ...],
) -> policy.Route:
    spec, meta = route.spec, route.metadata
    assert spec.owner is not None
    assert spec.budget is not None
    return policy.Route(
        origin=origin,
        key=f"{meta.namespace}/{meta.name}",
        owner=spec.owner,
        feature=spec.feature or meta.name,
        risk=policy.Risk(spec.risk.value),
        workload=policy.Workload(spec.workload.value),
        apis=tuple(a for a in policy.Api if a.value in spec.apis),
        matches=matches,
        tenant=_identity(spec.identity.tenant),
        user=_identity(spec.identity.user),
        run=_identity(spec.identity.run),
        labels=tuple(policy.Label(name=i.name, header=i.header.name) for i in spec.identity.labels if i.header),
        candidates=tuple(
            policy.Candidate(name=c.name, pool=pool_key(c, meta.namespace), model=c.model) for c in spec.candidates
        ),
        rules=declared_rules,
        order=defaults.order(spec),
        tokens=policy.TokenBudget(
            max_input=tokens.input, max_output=tokens.output, min_output=defaults.min_output(tokens.output)
        ),
        limits=limits.policy,
        max_hold_wait=Millis(spec.budget.max_hold_wait.millis()),
        max_lease_wait=Millis(spec.budget.max_lease_wait.millis()),
        deadlines=deadlines,
        attempts=_attempts(spec),
        degradation=_degradation(spec),
    )


def _identity(part: IdentityPart | None) -> policy.IdentityHeader | None:
    if part is None or part.header is None:
        return None
    return policy.IdentityHeader(header=part.header.name, required=part.required)


def _attempts(spec: LLMRouteSpec) -> policy.Attempts:
    declared = spec.attempts
    assert declared is not None
    assert declared.max is not None
    return policy.Attempts(
        max=declared.max,
        max_per_candidate=defaults.max_per_candidate(declared, declared.max),
        retry_on=tuple(policy.RetryClass(c.value) for c in declared.retry_on),
        backoff=policy.Backoff(base=Millis(declared.backoff.base.millis()), max=Millis(declared.backoff.max.millis())),
        honor_retry_after=Millis(declared.honor_retry_after.max.millis()),
        retry_budget=policy.RetryBudget(
            percent=declared.retry_budget.percent, min_concurrent=declared.retry_budget.min_concurrent
        ),
        idempotency_key=policy.IdempotencyKey(declared.idempotency_key.value),
    )


def _degradation(spec: LLMRouteSpec) -> tuple[policy.DegradationPath, ...]:
    assert spec.degradation is not None
    return tuple(
        policy.DegradationPath(
            faults=tuple(policy.FaultClass(f.value) for f in path.faults),
            steps=tuple(s for s in map(_step, path.steps) if s is not None),
        )
        for path in spec.degradation.paths
    )


def _step(step: Step) -> policy.Step | None:
    """The step as this version takes it; every other kind was refused by `enforceable`."""
    if step.candidate is not None:
        return policy.CandidateStep(candidate=step.candidate.name)
    if step.respond is not None:
        return policy.RespondStep(
            status=step.respond.status,
            message=step.respond.message or "",  # the sidecar says what the fault was
            retry_after=Millis(step.respond.retry_after.millis()) if step.respond.retry_after else None,
        )
    return None

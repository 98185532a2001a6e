"""One ProviderPool -> what routes may use of it. Knows nothing of routes."""

from __future__ import annotations

from turnout_operator.api import ProviderPool
from turnout_operator.api.conditions import AcceptedReason, ResolvedRefsReason
from turnout_operator.api.pooled_model import PooledModel, Pricing
from turnout_operator.api.providerpool import AllowedNamespaces, Dialect, Endpoint, Retention
from turnout_operator.api.types import Price
from turnout_operator.clusters import Credential, Destination, SecretKey, named, not_public, parse_url, service_address
from turnout_operator.compiler import enforceable, law
from turnout_operator.compiler.budgets import limits_of
from turnout_operator.compiler.faults import Faults
from turnout_operator.compiler.scaling import scaling_of
from turnout_operator.ir import (
    Approval,
    CompiledPool,
    Grant,
    GrantFrom,
    PoolData,
    Requirement,
    Unusable,
)
from turnout_operator.snapshot import Snapshot
from turnout_sidecar.policy import model as policy
from turnout_sidecar.policy.origin import Origin
from turnout_sidecar.policy.units import Millis, PicoUSD, Tokens

HEADERS = {Dialect.OPENAI: ("authorization", "Bearer "), Dialect.ANTHROPIC: ("x-api-key", "")}
"""The header and prefix that carry the key, by dialect."""
BASE_PATHS = {Dialect.OPENAI: "/v1", Dialect.ANTHROPIC: "/v1"}
"""Where the API begins behind a Service, and behind a url that names no path: as each vendor's own servers do."""

LONGEST_NAME = 63
"""Of `poolRef.name`, and of the label values that metrics and autoscalers carry it in."""


def compile_pool(pool: ProviderPool, snapshot: Snapshot, faults: Faults) -> CompiledPool | None:
    """The pool as routes may use it, or None with every reason in `faults`."""
    spec = pool.spec
    law.examine(pool, faults)
    not_enforced = enforceable.examine(spec, faults)
    _examine_presence(pool, faults)
    credential = _credential(pool, snapshot, faults)
    destinations = tuple(_destination(pool, i, credential, faults) for i in range(len(spec.endpoints)))
    origin = origin_of(pool)
    limits = limits_of(spec.budget.limits, origin, faults)
    scaling = scaling_of(pool, snapshot, faults)
    dialect = _dialect(spec.dialect, faults)
    if faults.stops or dialect is None:
        return None
    located = tuple((d, p) for d, p in destinations if d is not None)
    return CompiledPool(
        policy=policy.Pool(
            origin=origin,
            key=f"{origin.namespace}/{origin.name}",
            dialect=dialect,
            endpoints=tuple(
                policy.Endpoint(
                    name=e.name, cluster=d.cluster, authority=d.authority, base_path=base_path, weight=e.weight
                )
                for e, (d, base_path) in zip(spec.endpoints, located, strict=True)
            ),
            models=tuple(m for m in map(_model, spec.models) if m is not None),
            health=policy.Health(
                consecutive_failures=spec.health.consecutive_failures,
                open_for=Millis(spec.health.open_for.millis()),
                half_open_probes=spec.health.half_open_probes,
                max_open_for=Millis(spec.health.max_open_for.millis()),
            ),
            abort=policy.AbortBilling(spec.abort.value),
            limits=limits.policy,
        ),
        destinations=tuple(d for d, _ in located),
        quota=limits.quota,
        scaling=scaling,
        grant=grant_of(spec.allowed_namespaces),
        approvals=approvals_of(pool),
        data=data_of(pool),
        unusable=tuple(u for u in map(_unusable, spec.models) if u is not None),
        uid=pool.metadata.uid,
        not_enforced=not_enforced,
    )


def origin_of(pool: ProviderPool) -> Origin:
    """Where everything of this pool came from."""
    meta = pool.metadata
    return Origin(kind="ProviderPool", namespace=meta.namespace, name=meta.name, generation=meta.generation)


def grant_of(allowed: AllowedNamespaces) -> Grant:
    """The owner's grant."""
    selector = allowed.selector
    if allowed.from_ != "Selector" or selector is None:
        return Grant(allowed=GrantFrom(allowed.from_.value))
    wanted = [Requirement(key=k, operator="In", values=(v,)) for k, v in sorted(selector.match_labels.items())]
    wanted += [
        Requirement(key=e.key, operator=e.operator.value, values=tuple(e.values)) for e in selector.match_expressions
    ]
    return Grant(allowed=GrantFrom.SELECTOR, requirements=tuple(wanted))


def approvals_of(pool: ProviderPool) -> tuple[Approval, ...]:
    """Which risk classes each declared model may serve."""
    return tuple(
        Approval(model=m.name, risks=tuple(policy.Risk(r.value) for r in m.approved_for)) for m in pool.spec.models
    )


def data_of(pool: ProviderPool) -> PoolData:
    """What the provider states about data; AbuseMonitoring keeps prompts too, if only for a while."""
    stated = pool.spec.data_policy
    regions = {*stated.regions, *(e.region for e in pool.spec.endpoints if e.region is not None)}
    return PoolData(
        regions=tuple(sorted(regions)), retains=stated.retention is not Retention.NONE, trains=stated.training
    )


def _examine_presence(pool: ProviderPool, faults: Faults) -> None:
    if not pool.spec.endpoints:
        message = "no endpoints: write at least one, for example {name: main, url: https://api.openai.com/v1}"
        faults.unless_said(AcceptedReason.INVALID, "spec.endpoints", message)
    if not pool.spec.models:
        message = "no models: write at least one with contextWindow, maxOutputTokens and pricing"
        faults.unless_said(AcceptedReason.INVALID, "spec.models", message)
    if len(pool.metadata.name) > LONGEST_NAME:
        message = (
            f"the name has {len(pool.metadata.name)} characters, and routes can name at most {LONGEST_NAME}: shorten it"
        )
        faults.unless_said(AcceptedReason.INVALID, "metadata.name", message)
    seen: dict[str, int] = {}
    for index, model in enumerate(pool.spec.models):
        first = seen.setdefault(model.name, index)
        if first != index:
            message = f"model {model.name} already stands in models[{first}]: keep one of them"
            faults.unless_said(AcceptedReason.INVALID, f"spec.models[{index}].name", message)


def _credential(pool: ProviderPool, snapshot: Snapshot, faults: Faults) -> Credential | None:
    source = pool.spec.credentials
    if source is None:
        return None
    ref = source.secret_ref
    namespace = pool.metadata.namespace
    field = "spec.credentials.secretRef"
    secret = snapshot.secrets.get((namespace, ref.name))
    if secret is None:
        message = f"there is no Secret {ref.name} in namespace {namespace}: create it with the key {ref.key}"
        faults.unresolved(ResolvedRefsReason.SECRET_NOT_FOUND, field, message)
    elif secret.problem:
        faults.unresolved(
            ResolvedRefsReason.SECRET_NOT_FOUND, field, f"Secret {namespace}/{ref.name}: {secret.problem}"
        )
    elif ref.key not in secret.keys:
        found = ", ".join(secret.keys) or "no key at all"
        message = f"Secret {namespace}/{ref.name} has {found}: add the key {ref.key}, or name another"
        faults.unresolved(ResolvedRefsReason.SECRET_KEY_NOT_FOUND, f"{field}.key", message)
    header, prefix = HEADERS.get(pool.spec.dialect, ("authorization", "Bearer "))
    return Credential(secret=SecretKey(namespace=namespace, name=ref.name, key=ref.key), header=header, prefix=prefix)


def _destination(
    pool: ProviderPool, index: int, credential: Credential | None, faults: Faults
) -> tuple[Destination | None, str]:
    """The endpoint and its base path; None with a fault when it cannot be reached safely."""
    endpoint = pool.spec.endpoints[index]
    field = f"spec.endpoints[{index}]"
    if endpoint.service_ref is not None:
        service = endpoint.service_ref
        address = service_address(service.name, pool.metadata.namespace, service.port)
    elif endpoint.url is None:
        faults.unless_said(AcceptedReason.INVALID, field, "write exactly one of url and serviceRef")
        return None, ""
    else:
        try:
            address = parse_url(endpoint.url)
        except ValueError as error:
            faults.unless_said(AcceptedReason.INVALID, f"{field}.url", str(error))
            return None, ""
        _examine_safety(endpoint, field, address.host, address.tls, faults)
    destination = Destination(
        pool=f"{pool.metadata.namespace}/{pool.metadata.name}",
        endpoint=endpoint.name,
        host=address.host,
        port=address.port,
        tls=address.tls,
        sni=address.host if address.tls else "",
        credential=credential,
    )
    return named(destination), address.base_path or BASE_PATHS.get(pool.spec.dialect, "")


def _examine_safety(endpoint: Endpoint, field: str, host: str, tls: bool, faults: Faults) -> None:
    if endpoint.allow_insecure:
        return
    if not tls:
        message = (
            "the url is not https, so the key and the prompts travel in the clear: write https, or allowInsecure: true"
        )
        faults.unless_said(AcceptedReason.INSECURE_ENDPOINT, f"{field}.url", message)
    why = not_public(host)
    if why is not None:
        message = f"{why}: write a public host, a serviceRef for a Service of the cluster, or allowInsecure: true"
        faults.unless_said(AcceptedReason.INSECURE_ENDPOINT, f"{field}.url", message)


def _dialect(declared: Dialect, faults: Faults) -> policy.Dialect | None:
    spoken = next((d for d in policy.Dialect if d.value == declared.value), None)
    if spoken is None:
        known = " or ".join(d.value for d in policy.Dialect)
        message = f"this version does not speak {declared.value} to providers: write {known}"
        faults.unless_said(AcceptedReason.NOT_ENFORCEABLE, "spec.dialect", message)
    return spoken


def _model(model: PooledModel) -> policy.Model | None:
    if _unusable(model) is not None:
        return None
    assert model.pricing is not None
    assert model.context_window is not None
    assert model.max_output_tokens is not None
    return policy.Model(
        name=model.name,
        price=price_of(model.pricing),
        context_window=Tokens(model.context_window),
        max_output=Tokens(model.max_output_tokens),
    )


def price_of(pricing: Pricing) -> policy.Price:
    """pico-USD a token; what a cache write or hit costs is the input price unless it is written."""
    assert pricing.input is not None
    base = pricing.input.pico_per_token()

    def price(written: Price | None) -> PicoUSD:
        return PicoUSD(base if written is None else written.pico_per_token())

    return policy.Price(
        input=PicoUSD(base),
        output=PicoUSD(pricing.output.pico_per_token() if pricing.output else 0),
        cached_input=price(pricing.cached_input),
        cache_write_5m=price(pricing.cache_write5m),
        cache_write_1h=price(pricing.cache_write1h),
    )


def _unusable(model: PooledModel) -> Unusable | None:
    """Why no route may use the model: what is unknown cannot be bounded."""
    if model.pricing is None or model.pricing.input is None or model.pricing.output is None:
        words = 'has no price: write pricing {input, output} per million tokens, "0" where it costs nothing'
        return Unusable(model=model.name, reason=AcceptedReason.UNKNOWN_PRICE.value, words=words)
    if model.context_window is None or model.max_output_tokens is None:
        missing = "contextWindow" if model.context_window is None else "maxOutputTokens"
        words = f"declares no {missing}, so nobody can tell whether the token budget fits: write it"
        return Unusable(model=model.name, reason=AcceptedReason.TOKENS_DO_NOT_FIT.value, words=words)
    return None

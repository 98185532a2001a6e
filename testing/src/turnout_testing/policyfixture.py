"""Policies for scenarios: one route over three pools, every number of which a scenario can change.

Route ``support/answer`` (model ``answer``): candidates small (OpenAI, pool llm/openai, model gpt-small), claude (Anthropic, pool
llm/claude, model claude-big), local (OpenAI, pool llm/vllm, model qwen, free). Prices are round, so that costs can be read:
small 1 and 4, claude 3 and 15 micro-USD a token in and out.

Keys: order=small,local  attempts=N  per_candidate=N  retry=Connect,Reset|none  backoff=0ms/0ms  honor=2s  retry_budget=20/3
first=3s|none  attempt=9s  total=30s  stall=5s|none  max_input=N  max_output=N  min_output=N  hold_wait=250ms  lease_wait=500ms
limit.request=USD  limit.day=USD (Route)  limit.tenant=USD (Tenant)  limit.pool=USD (Pool of small)
path.FAULT=local,503   tenant=required|optional   idempotency=None|Generate|Forward   health=5/30s/1/5m  abort=Stops|Continues
rule.NAME=EXPRESSION>small,local   match.HEADER=VALUE   label.NAME=HEADER   price.small=IN/OUT (pico-USD a token)
"""

from turnout_sidecar.policy import codec
from turnout_sidecar.policy.model import (
    AbortBilling,
    Api,
    Attempts,
    Backoff,
    Candidate,
    CandidateStep,
    Deadlines,
    DegradationPath,
    Dialect,
    Endpoint,
    FaultClass,
    HeaderMatch,
    Health,
    IdempotencyKey,
    IdentityHeader,
    Label,
    Limit,
    Match,
    Model,
    Pool,
    Price,
    RespondStep,
    RetryBudget,
    RetryClass,
    Risk,
    Route,
    Rule,
    Scope,
    Step,
    TokenBudget,
    Workload,
)
from turnout_sidecar.policy.origin import Origin
from turnout_sidecar.policy.units import Millis, NanoUSD, PicoUSD, Tokens
from turnout_testing.scenario import millis, nano

ROUTE = "support/answer"
MODEL = "answer"
CANDIDATES = ("small", "claude", "local")

_ORIGIN = Origin(kind="LLMRoute", namespace="support", name="answer", generation=1)

DEFAULTS = {
    "order": "small,local",
    "attempts": "3",
    "per_candidate": "1",
    "retry": "Connect,Reset,FirstTokenDeadline,RateLimited,ServerError",
    "backoff": "0ms/0ms",
    "honor": "2s",
    "retry_budget": "20/3",
    "first": "3s",
    "attempt": "9s",
    "total": "30s",
    "stall": "5s",
    "max_input": "8000",
    "max_output": "256",
    "min_output": "16",
    "hold_wait": "250ms",
    "lease_wait": "500ms",
    "path.Unavailable": "local,503",
    "path.RateLimited": "local,429",
    "path.TooSlow": "local,504",
    "path.OverBudget": "429",
    "path.InvalidOutput": "claude,502",
    "tenant": "optional",
    "idempotency": "None",
    "health": "5/30s/1/5m",
    "abort": "Stops",
    "price.small": "1000000/4000000",
    "price.claude": "3000000/15000000",
    "price.local": "0/0",
}


def document(options: dict[str, str], endpoints: dict[str, Endpoint] | None = None) -> bytes:
    """The policy as bytes. `endpoints`: where the pools really are, by candidate; made-up ones without."""
    unknown = [
        k for k in options if k not in DEFAULTS and k.partition(".")[0] not in ("limit", "rule", "match", "label")
    ]
    if unknown:
        raise ValueError(f"no such policy keys: {unknown}")
    o = DEFAULTS | options
    pools = tuple(_pool(name, o, endpoints or {}) for name in CANDIDATES)
    return codec.encode((_route(o),), pools)


def _pool(candidate: str, o: dict[str, str], endpoints: dict[str, Endpoint]) -> Pool:
    name = {"small": "openai", "claude": "claude", "local": "vllm"}[candidate]
    failures, open_for, probes, longest = o["health"].split("/")
    limits = (_limit("month", Scope.POOL, o["limit.pool"], f"llm/pool:{name}"),) if "limit.pool" in o else ()
    return Pool(
        origin=Origin(kind="ProviderPool", namespace="llm", name=name, generation=1),
        key=f"llm/{name}",
        dialect=Dialect.ANTHROPIC if candidate == "claude" else Dialect.OPENAI,
        endpoints=(endpoints.get(candidate) or _endpoint(name),),
        models=(_model(candidate, o),),
        health=Health(
            consecutive_failures=int(failures),
            open_for=Millis(millis(open_for)),
            half_open_probes=int(probes),
            max_open_for=Millis(millis(longest)),
        ),
        abort=AbortBilling(o["abort"]),
        limits=limits if candidate == "small" else (),
    )


def _endpoint(name: str) -> Endpoint:
    return Endpoint(name="a", cluster=f"{name}-cluster", authority=f"{name}.test", base_path="/v1", weight=1)


def _model(candidate: str, o: dict[str, str]) -> Model:
    name = {"small": "gpt-small", "claude": "claude-big", "local": "qwen"}[candidate]
    price_in, price_out = (PicoUSD(int(p)) for p in o[f"price.{candidate}"].split("/"))
    price = Price(
        input=price_in, output=price_out, cached_input=price_in, cache_write_5m=price_in, cache_write_1h=price_in
    )
    return Model(name=name, price=price, context_window=Tokens(100_000), max_output=Tokens(8_192))


def _route(o: dict[str, str]) -> Route:
    headers = tuple(HeaderMatch(name=k.partition(".")[2], value=v) for k, v in o.items() if k.startswith("match."))
    return Route(
        origin=_ORIGIN,
        key=ROUTE,
        owner="team-support",
        feature="answer",
        risk=Risk.STANDARD,
        workload=Workload.INTERACTIVE,
        apis=(Api.CHAT_COMPLETIONS,),
        matches=(Match(models=(MODEL,), headers=headers),),
        tenant=IdentityHeader(header="x-tenant-id", required=o["tenant"] == "required"),
        user=None,
        run=None,
        labels=tuple(Label(name=k.partition(".")[2], header=v) for k, v in o.items() if k.startswith("label.")),
        candidates=tuple(_candidate(name) for name in CANDIDATES),
        rules=tuple(_rule(k.partition(".")[2], v) for k, v in o.items() if k.startswith("rule.")),
        order=tuple(o["order"].split(",")),
        tokens=TokenBudget(
            max_input=Tokens(int(o["max_input"])),
            max_output=Tokens(int(o["max_output"])),
            min_output=Tokens(int(o["min_output"])),
        ),
        limits=_limits(o),
        max_hold_wait=Millis(millis(o["hold_wait"])),
        max_lease_wait=Millis(millis(o["lease_wait"])),
        deadlines=Deadlines(
            first_token=_or_none(o["first"]),
            attempt=Millis(millis(o["attempt"])),
            total=Millis(millis(o["total"])),
            stall=_or_none(o["stall"]),
        ),
        attempts=_attempts(o),
        degradation=tuple(DegradationPath(faults=(f,), steps=_steps(o[f"path.{f}"])) for f in FaultClass),
    )


def _candidate(name: str) -> Candidate:
    pool = {"small": "llm/openai", "claude": "llm/claude", "local": "llm/vllm"}[name]
    model = {"small": "gpt-small", "claude": "claude-big", "local": "qwen"}[name]
    return Candidate(name=name, pool=pool, model=model)


def _rule(name: str, text: str) -> Rule:
    when, _, use = text.rpartition(">")
    return Rule(name=name, when=when, use=tuple(use.split(",")))


def _limits(o: dict[str, str]) -> tuple[Limit, ...]:
    found = []
    if "limit.request" in o:
        found.append(_limit("request", Scope.REQUEST, o["limit.request"], ""))
    if "limit.day" in o:
        found.append(_limit("day", Scope.ROUTE, o["limit.day"], "support/route:answer"))
    if "limit.tenant" in o:
        found.append(_limit("tenant", Scope.TENANT, o["limit.tenant"], "support/share:tenants"))
    return tuple(found)


def _limit(name: str, scope: Scope, amount: str, prefix: str) -> Limit:
    account = f"{prefix}/{name}" if prefix else ""
    return Limit(origin=_ORIGIN, name=name, scope=scope, account=account, amount=NanoUSD(nano(amount)))


def account(limit: str, subject: str = "-") -> str:
    """The ledger's name of one of the fixture's limits."""
    prefixes = {"day": "support/route:answer", "tenant": "support/share:tenants", "month": "llm/pool:openai"}
    return f"{prefixes[limit]}/{limit}/{subject}"


def _attempts(o: dict[str, str]) -> Attempts:
    base, longest = o["backoff"].split("/")
    percent, floor = o["retry_budget"].split("/")
    return Attempts(
        max=int(o["attempts"]),
        max_per_candidate=int(o["per_candidate"]),
        retry_on=() if o["retry"] == "none" else tuple(RetryClass(c) for c in o["retry"].split(",")),
        backoff=Backoff(base=Millis(millis(base)), max=Millis(millis(longest))),
        honor_retry_after=Millis(millis(o["honor"])),
        retry_budget=RetryBudget(percent=int(percent), min_concurrent=int(floor)),
        idempotency_key=IdempotencyKey(o["idempotency"]),
    )


def _steps(text: str) -> tuple[Step, ...]:
    """``local,503``: candidates by name, then the status of the last word (``429/30s`` with a retry-after)."""
    *candidates, last = text.split(",")
    status, _, retry_after = last.partition("/")
    respond = RespondStep(
        status=int(status), message="", retry_after=Millis(millis(retry_after)) if retry_after else None
    )
    return (*(CandidateStep(candidate=name) for name in candidates), respond)


def _or_none(text: str) -> Millis | None:
    return None if text == "none" else Millis(millis(text))

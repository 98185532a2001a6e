"""The compiled policy: what the operator promises and the sidecar enforces. The reader owns this contract.

Frozen and hashable throughout, so an unchanged push is no push. Every value a person chose is here resolved, in
integer units; the sidecar fills in no default of its own. Times are milliseconds, money is nano-USD, prices are
pico-USD a token. A change that an older sidecar cannot read raises `SCHEMA`; the operator renders N and N-1.
"""

from enum import StrEnum

import msgspec

from turnout_sidecar.policy.origin import Origin
from turnout_sidecar.policy.units import Millis, NanoUSD, PicoUSD, Tokens

SCHEMA = 1
SCHEMAS_READ = (1,)


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all policy values: an unknown field is a refusal, because a bound that is not understood is not kept."""


class Api(StrEnum):
    CHAT_COMPLETIONS = "ChatCompletions"


class Dialect(StrEnum):
    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"


class Risk(StrEnum):
    LOW = "Low"
    STANDARD = "Standard"
    HIGH = "High"


class Workload(StrEnum):
    INTERACTIVE = "Interactive"
    BACKGROUND = "Background"
    EVALUATION = "Evaluation"


class FaultClass(StrEnum):
    """Why a request leaves its first choice; each stands in exactly one degradation path of a route."""

    UNAVAILABLE = "Unavailable"
    RATE_LIMITED = "RateLimited"
    TOO_SLOW = "TooSlow"
    OVER_BUDGET = "OverBudget"
    INVALID_OUTPUT = "InvalidOutput"


class RetryClass(StrEnum):
    CONNECT = "Connect"
    RESET = "Reset"
    FIRST_TOKEN_DEADLINE = "FirstTokenDeadline"
    RATE_LIMITED = "RateLimited"
    SERVER_ERROR = "ServerError"


class Scope(StrEnum):
    REQUEST = "Request"
    ROUTE = "Route"
    TENANT = "Tenant"
    POOL = "Pool"


class IdempotencyKey(StrEnum):
    GENERATE = "Generate"
    FORWARD = "Forward"
    NONE = "None"


class AbortBilling(StrEnum):
    """What the provider bills when a stream is cut."""

    STOPS = "Stops"
    CONTINUES = "Continues"


class Price(Value, frozen=True):
    """pico-USD a token."""

    input: PicoUSD
    output: PicoUSD
    cached_input: PicoUSD
    cache_write_5m: PicoUSD
    cache_write_1h: PicoUSD


class Model(Value, frozen=True):
    name: str
    price: Price
    context_window: Tokens
    max_output: Tokens


class Health(Value, frozen=True):
    """The breaker of one pool x model: opens after so many failures in a row, for `open_for` doubling to `max_open_for`."""

    consecutive_failures: int
    open_for: Millis
    half_open_probes: int
    max_open_for: Millis


class Endpoint(Value, frozen=True):
    """One place to send to. `cluster` is Envoy's cluster (named by content hash), `base_path` starts with a slash or is empty."""

    name: str
    cluster: str
    authority: str
    base_path: str
    weight: int


class Limit(Value, frozen=True):
    """One hard cost limit. `account` is the ledger key without subject and window:
    ``<namespace>/<route:NAME | share:NAME | pool:NAME>/<limit name>``; empty for scope Request, which needs no ledger."""

    origin: Origin
    name: str
    scope: Scope
    account: str
    amount: NanoUSD


class Pool(Value, frozen=True):
    origin: Origin
    key: str
    """``namespace/name``"""
    dialect: Dialect
    endpoints: tuple[Endpoint, ...]
    models: tuple[Model, ...]
    health: Health
    abort: AbortBilling
    limits: tuple[Limit, ...] = ()


class Candidate(Value, frozen=True):
    name: str
    pool: str
    model: str


class HeaderMatch(Value, frozen=True):
    name: str
    value: str


class Match(Value, frozen=True):
    """A request matches when its model is among `models` (empty: any model) and every header is equal."""

    models: tuple[str, ...]
    headers: tuple[HeaderMatch, ...] = ()


class IdentityHeader(Value, frozen=True):
    header: str
    required: bool = False


class Label(Value, frozen=True):
    name: str
    header: str


class Rule(Value, frozen=True):
    """`when` is CEL over ``request`` {model, inputTokens, maxOutputTokens, stream, headers, tenant}; first match wins."""

    name: str
    when: str
    use: tuple[str, ...]


class TokenBudget(Value, frozen=True):
    """`min_output`: an answer clamped below this is no answer; the OverBudget path is taken instead."""

    max_input: Tokens
    max_output: Tokens
    min_output: Tokens


class Deadlines(Value, frozen=True):
    first_token: Millis | None
    """Streaming attempts only: until the first content."""
    attempt: Millis
    total: Millis
    stall: Millis | None


class Backoff(Value, frozen=True):
    """Full jitter: uniform in [0, min(max, base * 2^n)]."""

    base: Millis
    max: Millis


class RetryBudget(Value, frozen=True):
    percent: int
    min_concurrent: int


class Attempts(Value, frozen=True):
    max: int
    max_per_candidate: int
    retry_on: tuple[RetryClass, ...]
    backoff: Backoff
    honor_retry_after: Millis
    """Longest Retry-After that is waited for; a longer one means the next candidate."""
    retry_budget: RetryBudget
    idempotency_key: IdempotencyKey


class CandidateStep(Value, frozen=True, tag_field="step", tag="candidate"):
    candidate: str


class RespondStep(Value, frozen=True, tag_field="step", tag="respond"):
    status: int
    message: str
    retry_after: Millis | None = None
    code: str = ""


Step = CandidateStep | RespondStep


class DegradationPath(Value, frozen=True):
    faults: tuple[FaultClass, ...]
    steps: tuple[Step, ...]
    """Ends in a `RespondStep`, always."""


class Route(Value, frozen=True):
    origin: Origin
    key: str
    """``namespace/name``"""
    owner: str
    feature: str
    risk: Risk
    workload: Workload
    apis: tuple[Api, ...]
    matches: tuple[Match, ...]
    tenant: IdentityHeader | None
    user: IdentityHeader | None
    run: IdentityHeader | None
    labels: tuple[Label, ...]
    candidates: tuple[Candidate, ...]
    rules: tuple[Rule, ...]
    order: tuple[str, ...]
    """Candidates by name, tried first to last where no rule matches."""
    tokens: TokenBudget
    limits: tuple[Limit, ...]
    max_hold_wait: Millis
    max_lease_wait: Millis
    deadlines: Deadlines
    attempts: Attempts
    degradation: tuple[DegradationPath, ...]


class Policy(Value, frozen=True):
    """All that one sidecar enforces. `version` is the content hash of everything else."""

    schema: int
    version: str
    routes: tuple[Route, ...]
    pools: tuple[Pool, ...]

"""Every metric of the sidecar, declared once. Envoy serves them under its `turnout` namespace: `turnout_requests_total`, …

Label sets are bounded: routes, pools, models and candidates come from the policy, everything else is a closed enum. Never a
tenant, never a model name that a client or a provider made up. The `gen_ai_…` names follow OpenTelemetry's GenAI conventions
as far as Envoy allows: dots become underscores, times are integer milliseconds.
"""

from enum import StrEnum
from typing import NamedTuple, Protocol

Labels = tuple[str, ...]


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    name: str
    kind: Kind
    labels: Labels
    about: str


class MetricSink(Protocol):
    """Where values go. `labels` are the values, in the order in which the metric names them. Callable on any thread."""

    def count(self, metric: Metric, labels: Labels, by: int = 1) -> None: ...

    def observe(self, metric: Metric, labels: Labels, value: int) -> None: ...

    def gauge(self, metric: Metric, labels: Labels, value: int) -> None: ...


REQUESTS = Metric(
    "requests_total",
    Kind.COUNTER,
    ("route", "reason"),
    "Requests ended. Reason: ok, a refusal's code, client_gone or cut.",
)
ATTEMPTS = Metric("attempts_total", Kind.COUNTER, ("pool", "model", "outcome"), "Attempts ended, by outcome.")
DEGRADED = Metric(
    "degraded_total",
    Kind.COUNTER,
    ("route", "reason", "step"),
    "Requests that left their first choice: the fault class, and the declared step that was taken.",
)
BUDGET_REFUSALS = Metric(
    "budget_refusals_total", Kind.COUNTER, ("route", "limit", "code"), "Holds refused for good, by limit and code."
)
CLAMPED = Metric(
    "clamped_total", Kind.COUNTER, ("route",), "Attempts whose output cap was lowered to what the budget allows."
)
COST = Metric(
    "cost_nano_usd_total", Kind.COUNTER, ("route", "model"), "What attempts were charged, in 10^-9 US dollars."
)
ABOVE_HOLD = Metric(
    "charges_above_hold_total",
    Kind.COUNTER,
    ("pool", "model"),
    "Attempts that were billed above their bound: the bound's assumptions do not hold for this model.",
)
UNMETERED = Metric(
    "unmetered_total", Kind.COUNTER, ("pool", "model"), "Whole answers without usage, charged with their bound."
)
TOKENS = Metric(
    "gen_ai_client_token_usage",
    Kind.HISTOGRAM,
    ("route", "gen_ai_request_model", "gen_ai_token_type"),
    "Tokens of an answered attempt; type is input or output.",
)
DURATION = Metric(
    "gen_ai_client_operation_duration",
    Kind.HISTOGRAM,
    ("route", "gen_ai_request_model"),
    "Milliseconds from the request's arrival to the end of its answer.",
)
FIRST_TOKEN = Metric(
    "gen_ai_server_time_to_first_token",
    Kind.HISTOGRAM,
    ("route", "gen_ai_request_model"),
    "Milliseconds from a streaming attempt's start to its first content.",
)
BREAKERS = Metric("breaker_state", Kind.GAUGE, ("pool", "model"), "0 closed, 1 half-open, 2 open (traffic stopped).")
IN_FLIGHT = Metric("in_flight", Kind.GAUGE, ("pool",), "Attempts in flight at the provider.")
PARKED = Metric("parked", Kind.GAUGE, (), "Requests that wait for money.")
HELD = Metric("holds_open", Kind.GAUGE, (), "Holds neither settled nor released.")
BUGS = Metric(
    "bugs_total",
    Kind.COUNTER,
    ("entry",),
    "Exceptions inside the engine. Each is a bug and cost one client its answer.",
)
POLICY_REFUSALS = Metric("policy_refusals_total", Kind.COUNTER, ("what",), "Policies refused: document or route.")

ALL: tuple[Metric, ...] = (
    REQUESTS,
    ATTEMPTS,
    DEGRADED,
    BUDGET_REFUSALS,
    CLAMPED,
    COST,
    ABOVE_HOLD,
    UNMETERED,
    TOKENS,
    DURATION,
    FIRST_TOKEN,
    BREAKERS,
    IN_FLIGHT,
    PARKED,
    HELD,
    BUGS,
    POLICY_REFUSALS,
)


class Discard:
    """A sink for where nobody looks."""

    def count(self, metric: Metric, labels: Labels, by: int = 1) -> None:
        pass

    def observe(self, metric: Metric, labels: Labels, value: int) -> None:
        pass

    def gauge(self, metric: Metric, labels: Labels, value: int) -> None:
        pass

"""How long a request may take and how often it may be tried: targets are measured, deadlines are enforced."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from turnout_operator.api import spans
from turnout_operator.api.model import Model, Rule, as_set
from turnout_operator.api.types import Attempts, Count, Duration, Percent


def _in_order(lower: str, upper: str) -> Rule:
    return Rule(
        cel=spans.compared(f"self.{lower}", "<=", f"self.{upper}"),
        message=f"{lower} is above {upper}: write the targets in order, p50 <= p95 <= p99 <= deadline",
        message_cel=(
            f"'{lower} ' + self.{lower} + ' is above {upper} ' + self.{upper} + "
            "': write the targets in order, p50 <= p95 <= p99 <= deadline'"
        ),
        at=f".{lower}",
    )


class Targets(Model):
    """Percentiles to aim for, in order, and the deadline that ends the wait."""

    cel_rules = (
        _in_order("p50", "p95"),
        _in_order("p50", "p99"),
        _in_order("p95", "p99"),
        _in_order("p50", "deadline"),
        _in_order("p95", "deadline"),
        _in_order("p99", "deadline"),
        spans.positive("deadline"),
    )
    p50: Duration | None = None
    p95: Duration | None = None
    p99: Duration | None = None
    deadline: Duration | None = None


class Latency(Model):
    """The latency budget of a route."""

    cel_rules = (
        Rule(
            cel=spans.compared("self.timeToFirstToken.deadline", "<=", "self.total.deadline"),
            message="the first-token deadline is above the total deadline and would never act",
            message_cel=(
                "'the first-token deadline ' + self.timeToFirstToken.deadline + ' is above the total deadline ' + "
                "self.total.deadline + ' and would never act'"
            ),
            at=".timeToFirstToken.deadline",
        ),
        spans.positive("stall"),
    )
    time_to_first_token: Targets | None = None
    """Of a streaming attempt; needed by Interactive routes."""
    total: Targets | None = None
    """Of the whole chain: queue, attempts, fallbacks and repairs together."""
    stall: Duration | None = None
    """The longest silence inside a stream; without it only the attempt's deadline bounds one."""


class RetryCause(StrEnum):
    """A failure after which the same candidate may be asked again."""

    CONNECT = "Connect"
    RESET = "Reset"
    FIRST_TOKEN_DEADLINE = "FirstTokenDeadline"
    RATE_LIMITED = "RateLimited"
    SERVER_ERROR = "ServerError"


class Jitter(StrEnum):
    """How waits are spread: Full draws from zero to the wait."""

    FULL = "Full"
    NONE = "None"


class Backoff(Model):
    """Waits between attempts at one candidate: doubled from `base`, at most `max`."""

    cel_rules = (
        Rule(
            cel=spans.compared_with_defaults(
                "self.base", "<=", "self.max", defaults={"self.base": "100ms", "self.max": "2s"}
            ),
            message="backoff.base (100ms unless written) is above backoff.max (2s unless written): write base <= max",
            at=".base",
        ),
    )
    base: Duration = Duration("100ms")
    max: Duration = Duration("2s")
    jitter: Jitter = Jitter.FULL


class RetryAfterBound(Model):
    """A provider's Retry-After is waited for up to `max`; a longer one is a fallback."""

    max: Duration = Duration("2s")


class RetryBudget(Model):
    """Retries in flight are at most `percent` of requests in flight, and at least `minConcurrent` are allowed."""

    percent: Percent = 20
    min_concurrent: Count = 3


class IdempotencyKey(StrEnum):
    """What the provider gets as idempotency key."""

    GENERATE = "Generate"
    FORWARD = "Forward"
    NONE = "None"


EVERY_RETRY_CAUSE = tuple(RetryCause)


class AttemptBounds(Model):
    """Bounds over the whole chain: retries, fallbacks, escalations, repairs and hedges together."""

    cel_rules = (
        Rule(
            cel="!has(self.max) || !has(self.maxPerCandidate) || self.maxPerCandidate <= self.max",
            message="maxPerCandidate is above max: one candidate cannot have more attempts than the whole chain",
            at=".maxPerCandidate",
        ),
        spans.positive("deadline"),
    )
    max: Attempts | None = None
    max_per_candidate: Attempts | None = None
    """At most `max`, which it is unless it is written."""
    deadline: Duration | None = None
    """Of one attempt; `latency.total.deadline` divided by `max` unless it is written."""
    retry_on: Annotated[tuple[RetryCause, ...], as_set(most=5)] = EVERY_RETRY_CAUSE
    backoff: Backoff = Backoff()
    honor_retry_after: RetryAfterBound = RetryAfterBound()
    retry_budget: RetryBudget = RetryBudget()
    idempotency_key: IdempotencyKey = IdempotencyKey.GENERATE

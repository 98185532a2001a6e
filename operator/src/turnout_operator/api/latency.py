"""How long a request may take and how often it may be tried: targets are measured, deadlines are enforced."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from turnout_operator.api.model import Model, as_set
from turnout_operator.api.types import Attempts, Count, Duration, Percent


class Targets(Model):
    """Percentiles to aim for, in order, and the deadline that ends the wait."""

    p50: Duration | None = None
    p95: Duration | None = None
    p99: Duration | None = None
    deadline: Duration | None = None


class Latency(Model):
    """The latency budget of a route."""

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

"""Whether and when the same candidate is asked again."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from turnout_sidecar.policy.model import Backoff, RetryBudget
from turnout_sidecar.policy.units import Millis


def backoff(policy: Backoff, retries: int, rng: random.Random) -> Millis:
    """Full jitter: uniform in [0, min(max, base * 2^retries)], which spreads a herd best (AWS, "Exponential Backoff And Jitter")."""
    ceiling = min(policy.max, policy.base << min(retries, 30))
    return Millis(round(rng.uniform(0, ceiling)))


def retry_after(value: str, wall: int) -> Millis | None:
    """What a provider's `Retry-After` asks for; `wall` is Unix milliseconds. None where there is none or it cannot be read."""
    text = value.strip()
    if not text:
        return None
    try:
        return Millis(max(0, round(float(text) * 1_000)))
    except (ValueError, OverflowError):
        pass
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return Millis(max(0, round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000) - wall))


class RetryPermits:
    """One route's retries in flight, bounded by its requests in flight: Envoy's retry budget, so that retries cannot feed an outage."""

    __slots__ = ("active", "retrying")

    def __init__(self) -> None:
        self.active = 0
        self.retrying = 0

    def allow(self, budget: RetryBudget) -> bool:
        return self.retrying < max(budget.min_concurrent, self.active * budget.percent // 100)

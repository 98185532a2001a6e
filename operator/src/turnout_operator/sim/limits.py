"""The provider's rate limits: one pair of token buckets per key and model. Pure but for the buckets; `now` in seconds."""

import math

import msgspec

from turnout_operator.sim.profile import Dialect, RateLimits


class _Bucket:
    """Holds up to a minute's worth, refills evenly, starts full."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.size = per_minute
        self.level = float(per_minute)
        self._seen = now

    def refill(self, now: float) -> None:
        self.level = min(float(self.size), self.level + max(0.0, now - self._seen) * self.size / 60)
        self._seen = max(now, self._seen)

    def wait(self, amount: int) -> float:
        """Seconds until `amount` is there (for more than the bucket holds: until it is full)."""
        missing = min(amount, self.size) - self.level
        return max(0.0, missing * 60 / self.size)


class Verdict(msgspec.Struct, frozen=True):
    """`retry_after`: seconds; None when the request may pass. `headers`: the limits as the dialect tells them."""

    retry_after: float | None
    headers: dict[str, str]


class Limiter:
    """All buckets of the provider."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str, str], _Bucket] = {}

    def admit(self, key: str, model: str, limits: RateLimits, tokens: int, dialect: Dialect, now: float) -> Verdict:
        """Takes one request and `tokens` from the buckets if both have them. A request larger than the bucket waits
        until it is full, as no wait would ever be enough."""
        asked = (("requests", limits.requests_per_minute, 1), ("tokens", limits.tokens_per_minute, tokens))
        buckets = [(kind, self._bucket(key, model, kind, size, now), amount) for kind, size, amount in asked if size]
        waits = [bucket.wait(amount) for _, bucket, amount in buckets]
        admitted = max(waits, default=0.0) < 1e-9
        if admitted:
            for _, bucket, amount in buckets:
                bucket.level -= min(amount, bucket.size)
        headers: dict[str, str] = {}
        for kind, bucket, _ in buckets:
            headers |= _headers(dialect, kind, bucket)
        if admitted:
            return Verdict(None, headers)
        headers |= {"retry-after": str(math.ceil(max(waits))), "retry-after-ms": str(math.ceil(max(waits) * 1000))}
        return Verdict(max(waits), headers)

    def _bucket(self, key: str, model: str, kind: str, size: int, now: float) -> _Bucket:
        bucket = self._buckets.setdefault((key, model, kind), _Bucket(size, now))
        bucket.refill(now)
        return bucket


def _headers(dialect: Dialect, kind: str, bucket: _Bucket) -> dict[str, str]:
    left = str(max(0, math.floor(bucket.level)))
    reset = f"{(bucket.size - bucket.level) * 60 / bucket.size:.3f}s"
    if dialect is Dialect.OPENAI:
        names = (f"x-ratelimit-limit-{kind}", f"x-ratelimit-remaining-{kind}", f"x-ratelimit-reset-{kind}")
        return dict(zip(names, (str(bucket.size), left, reset), strict=True))
    return {f"anthropic-ratelimit-{kind}-limit": str(bucket.size), f"anthropic-ratelimit-{kind}-remaining": left}

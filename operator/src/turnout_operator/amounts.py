"""Integers back to what a person writes: dollars, spans of time, prices. Exact, shortest form."""

from __future__ import annotations

_UNITS = ((3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))


def _decimal(value: int, digits: int) -> str:
    whole, fraction = divmod(value, 10**digits)
    text = f"{fraction:0{digits}d}".rstrip("0")
    return f"{whole}.{text}" if text else str(whole)


def dollars(nano_usd: int) -> str:
    """10^-9 USD as a decimal string without a sign: ``8096000`` -> ``0.008096``."""
    return _decimal(nano_usd, 9)


def per_million(pico_per_token: int) -> str:
    """10^-12 USD a token as US dollars per million tokens: ``250000`` -> ``0.25``."""
    return _decimal(pico_per_token, 6)


def span(millis: int) -> str:
    """Milliseconds as a Kubernetes duration: ``90000`` -> ``1m30s``, ``0`` -> ``0s``."""
    parts = []
    for size, unit in _UNITS:
        count, millis = divmod(millis, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"

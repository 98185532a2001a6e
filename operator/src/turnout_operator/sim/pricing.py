"""The provider's own arithmetic for its bill.

This is the oracle that the engine's accounting is judged by, so it shares no code with it and imports nothing of the
product outside this package: exact fractions here, whatever the engine does there.
"""

import math
from fractions import Fraction

import msgspec

from turnout_operator.sim.profile import Prices

_NANO_PER_TOKEN = Fraction(10**9, 10**6)  # one dollar per million tokens is a thousand nano-dollars a token


class Usage(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Tokens of one request. `input` is all of the input; `cached` and `cache_write` are the parts of it so priced."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0

    @property
    def fresh(self) -> int:
        """Input tokens at the plain input price."""
        return self.input - self.cached - self.cache_write


def cost_nano_usd(usage: Usage, prices: Prices) -> int:
    """What the provider charges for one request, in 10^-9 USD, rounded up once."""
    cached = prices.input if prices.cached_input is None else prices.cached_input
    written = prices.input if prices.cache_write is None else prices.cache_write
    dollars_per_million = (
        usage.fresh * Fraction(prices.input)
        + usage.cached * Fraction(cached)
        + usage.cache_write * Fraction(written)
        + usage.output * Fraction(prices.output)
    )
    return math.ceil(dollars_per_million * _NANO_PER_TOKEN)

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


class Tariff:
    """A model's prices as whole numbers over one denominator, so that a bill is one integer division."""

    def __init__(self, prices: Prices) -> None:
        cached = prices.input if prices.cached_input is None else prices.cached_input
        written = prices.input if prices.cache_write is None else prices.cache_write
        per_token = [Fraction(price) * _NANO_PER_TOKEN for price in (prices.input, cached, written, prices.output)]
        self._denominator = math.lcm(*(price.denominator for price in per_token))
        self._input, self._cached, self._written, self._output = (int(price * self._denominator) for price in per_token)

    def cost_nano_usd(self, usage: Usage) -> int:
        """What the provider charges for one request, in 10^-9 USD, rounded up once."""
        total = (
            usage.fresh * self._input
            + usage.cached * self._cached
            + usage.cache_write * self._written
            + usage.output * self._output
        )
        return -(-total // self._denominator)

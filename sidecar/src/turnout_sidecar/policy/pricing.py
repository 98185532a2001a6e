"""What an attempt can cost, and what it did cost. Integers only; an attempt is rounded up to a whole nano-USD.

The simulator's bill has arithmetic of its own on purpose: it is the oracle that this file is tested against.
"""

from turnout_sidecar.policy.model import Price
from turnout_sidecar.policy.units import NanoUSD, PicoUSD, Tokens, to_nano


def attempt_bound(price: Price, input_bound: Tokens, output_bound: Tokens) -> NanoUSD:
    """The most one attempt can cost: every input token at its dearest reading (plain, or written to a cache)."""
    dearest_input = max(price.input, price.cached_input, price.cache_write_5m, price.cache_write_1h)
    return to_nano(PicoUSD(input_bound * dearest_input + output_bound * price.output))


def affordable_output(price: Price, input_bound: Tokens, budget: NanoUSD) -> Tokens:
    """The largest output bound whose `attempt_bound` still fits `budget`; negative when the input alone does not."""
    dearest_input = max(price.input, price.cached_input, price.cache_write_5m, price.cache_write_1h)
    left = budget * 1_000 - input_bound * dearest_input
    if left < 0:
        return Tokens(-1)
    return Tokens(left // price.output) if price.output else Tokens(2**31)

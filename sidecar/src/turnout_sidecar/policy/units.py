"""Units of the whole product. Money and tokens are integers; nothing here rounds down in the spender's favour."""

from typing import NewType

Tokens = NewType("Tokens", int)
PicoUSD = NewType("PicoUSD", int)
"""10^-12 US dollars: the unit of arithmetic. Of 4,553 public prices 356 are no whole nano-USD a token."""
NanoUSD = NewType("NanoUSD", int)
"""10^-9 US dollars: the unit of the ledger (an int64 holds 9.2 billion dollars)."""
Millis = NewType("Millis", int)

PICO_PER_NANO = 1_000


def to_nano(amount: PicoUSD) -> NanoUSD:
    """The smallest whole number of nano-USD that is not below `amount`: each attempt is rounded up, never down."""
    return NanoUSD(-(-amount // PICO_PER_NANO))

"""How an answer says what was done with it: `x-turnout-…` headers, and the `turnout` field of a degraded body.

Never a comment and never a named event on chat completions: strict clients break on both.
"""

import msgspec

from turnout_sidecar.messages import Headers
from turnout_sidecar.policy.units import NanoUSD

DRILL_HEADER = "x-turnout-drill"

_encode = msgspec.json.Encoder().encode
_NANO = 1_000_000_000


def dollars(amount: NanoUSD) -> str:
    """An exact decimal string, as the API writes money."""
    whole, rest = divmod(amount, _NANO)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".") if rest else str(whole)


def degraded(reason: str, step: str) -> Headers:
    return ((b"x-turnout-degraded", reason.encode()), (b"x-turnout-step", step.encode()))


def field(reason: str, step: str, wanted: str, served: str) -> bytes:
    """The JSON of the `turnout` field. `wanted` and `served` are candidates."""
    return _encode({"degraded": reason, "step": step, "from": wanted, "to": served})

"""What an attempt is charged: by the provider's usage where there is one, else by what it may have generated.

Never zero for a stream that was left early: reading every delta and going before the usage event would be free otherwise.
"""

from collections.abc import Iterable

from turnout_sidecar.messages import Usage
from turnout_sidecar.policy.model import AbortBilling, Price
from turnout_sidecar.policy.units import NanoUSD, PicoUSD, Tokens, to_nano

IN_FLIGHT = Tokens(256)
"""Output that a provider may have generated before it learned that we left: two seconds at 128 tokens a second. A guess."""


def of_usage(usage: Usage, price: Price) -> NanoUSD:
    return to_nano(
        PicoUSD(
            usage.input * price.input
            + usage.cached_input * price.cached_input
            + usage.cache_write_5m * price.cache_write_5m
            + usage.cache_write_1h * price.cache_write_1h
            + usage.output * price.output
        )
    )


def of_unknown_model(usage: Usage, prices: Iterable[Price]) -> NanoUSD:
    """Somebody else than we asked has answered: the dearest of the route's candidates is charged."""
    return max(of_usage(usage, price) for price in prices)


def of_aborted(
    *,
    bound: NanoUSD,
    price: Price,
    input_bound: Tokens,
    output_bound: Tokens,
    usage: Usage | None,
    text_bytes: int,
    visible: bool,
    abort: AbortBilling,
) -> NanoUSD:
    """A stream that was cut by anybody. `visible`: all billed output shows in the stream, so its bytes bound its tokens.

    A usage seen so far is cumulative and older than the cut, so it only ever raises the estimate.
    """
    if abort is AbortBilling.CONTINUES or not visible:
        return bound if usage is None else max(bound, of_usage(usage, price))
    generated = min(text_bytes + IN_FLIGHT, output_bound)
    dearest_input = max(price.input, price.cached_input, price.cache_write_5m, price.cache_write_1h)
    estimate = to_nano(PicoUSD(input_bound * dearest_input + generated * price.output))
    if usage is None:
        return min(bound, estimate)
    seen = of_usage(usage, price)
    more = to_nano(PicoUSD(max(generated - usage.output, 0) * price.output))
    return NanoUSD(max(min(estimate, seen + more), seen))


def same_model(asked: str, said: str) -> bool:
    """Whether an answer's model is the one that was asked for: the same name, or a dated or aliased version of it."""
    if not said or said == asked:
        return True
    for longer, shorter in ((said, asked), (asked, said)):
        if longer.startswith(shorter):
            rest = longer[len(shorter) :]
            return rest.startswith(("-", "@", ":")) and (rest[1:].replace("-", "").isdigit() or rest[1:] == "latest")
    return False

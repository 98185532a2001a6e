"""What the stand-in provider pretends to be: its models with prices, lengths and speeds, and its rate limits."""

import enum
from importlib import resources
from pathlib import Path

import msgspec

from turnout_operator.sim import amounts
from turnout_operator.sim.amounts import Price, Seconds, Spread


class Dialect(enum.StrEnum):
    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"


class Abort(enum.StrEnum):
    """What is billed when the client leaves early: what was generated until then, or the whole answer."""

    STOPS = "Stops"
    CONTINUES = "Continues"


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """US dollars per million tokens. Cached prices fall back to `input`."""

    input: Price
    output: Price
    cached_input: Price | None = None
    cache_write: Price | None = None


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`firstToken`: from request to first content. `interToken`: between two tokens after it."""

    first_token: Spread[Seconds] = Spread(fixed=Seconds(0))
    inter_token: Spread[Seconds] = Spread(fixed=Seconds(0))


class RateLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Token buckets per key and model, full at the start; 0 means no limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0

    def __post_init__(self) -> None:
        if self.requests_per_minute < 0 or self.tokens_per_minute < 0:
            raise ValueError("rate limits are 0 (none) or more")


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    name: str
    prices: Prices
    dialects: tuple[Dialect, ...] = tuple(Dialect)
    context_window: int = 128_000
    max_output_tokens: int = 16_384
    output_tokens: Spread[int] = Spread(fixed=64)
    latency: Latency = Latency()
    rate_limits: RateLimits = RateLimits()
    abort: Abort = Abort.STOPS

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable():
            raise ValueError("a model needs a printable name")
        if min(self.context_window, self.max_output_tokens) < 1:
            raise ValueError("contextWindow and maxOutputTokens are at least 1")


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`bytesPerToken`: input tokens are the request's text bytes divided by this, rounded up.

    `tokensPerChunk`: content tokens in one stream event. `eventsPerWrite`: how many events without a pause between
    them share one write to the socket (1: each event is a write of its own, as a real server does it).
    """

    models: tuple[Model, ...]
    bytes_per_token: int = 4
    tokens_per_chunk: int = 1
    events_per_write: int = 1

    def __post_init__(self) -> None:
        if not self.models or len({model.name for model in self.models}) != len(self.models):
            raise ValueError("models: at least one, and every name once")
        if min(self.bytes_per_token, self.tokens_per_chunk, self.events_per_write) < 1:
            raise ValueError("bytesPerToken, tokensPerChunk and eventsPerWrite are at least 1")

    def model(self, name: str, dialect: Dialect) -> Model | None:
        """The model of this name, if it is served in this dialect."""
        return next((model for model in self.models if model.name == name and dialect in model.dialects), None)


def load(path: Path) -> Profile:
    """Reads a profile file (YAML or JSON); raises InputError with the field's path."""
    return amounts.decode(path.read_bytes(), Profile, str(path))


def default() -> Profile:
    """The profile that is used where none is given: `default-profile.yaml` beside this file."""
    text = resources.files("turnout_operator.sim").joinpath("default-profile.yaml").read_text()
    return amounts.decode(text, Profile, "default-profile.yaml")

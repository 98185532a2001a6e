"""What a client asked for, in one form for both dialects, and the rule that counts its input."""

import enum
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from turnout_operator.sim import text
from turnout_operator.sim.profile import Dialect, Model

_DIRECTIVE = re.compile(rb"\[sim:([a-z_]+=[0-9]{1,9}(?: [a-z_]+=[0-9]{1,9})*)\]")
_HEADERS = {
    b"x-sim-output-tokens": "output",
    b"x-sim-cached-tokens": "cached",
    b"x-sim-cache-write-tokens": "cache_write",
}


class Finish(enum.Enum):
    STOP = enum.auto()
    LENGTH = enum.auto()


class Wishes(msgspec.Struct, frozen=True):
    """What a test asks of the sim itself: an exact length, tokens that count as cached."""

    output: int | None = None
    cached: int = 0
    cache_write: int = 0


class Ask(msgspec.Struct, frozen=True):
    """`cap`: the client's limit on output tokens. `text_bytes`: what the input is counted from. `tag`: the end user."""

    dialect: Dialect
    model: str
    text_bytes: int
    begin: int
    stream: bool = False
    include_usage: bool = False
    choices: int = 1
    cap: int | None = None
    tag: str = ""
    wishes: Wishes = Wishes()


class RefusedError(Exception):
    """A request that the provider answers with an error of its own, for nothing."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param


def wishes(headers: Iterable[tuple[bytes, bytes]], metadata: dict[str, Any] | None, body: bytes) -> Wishes:
    """Reads `[sim:output=44 cached=8]` in the prompt (the last one), then metadata `sim_output_tokens`, then headers."""
    found: dict[str, int] = {}
    for match in _DIRECTIVE.finditer(body):
        found |= {name: int(value) for name, value in (pair.split("=") for pair in match[1].decode().split(" "))}
    for key, value in (metadata or {}).items():
        if key.startswith("sim_") and key.endswith("_tokens") and str(value).isdigit():
            found[key.removeprefix("sim_").removesuffix("_tokens")] = int(value)
    for key_bytes, value_bytes in headers:
        name = _HEADERS.get(key_bytes)
        if name is not None and value_bytes.isdigit():
            found[name] = int(value_bytes)
    return Wishes(found.get("output"), found.get("cached", 0), found.get("cache_write", 0))


def text_bytes(content: object) -> int:
    """UTF-8 bytes of a message's text; parts that are not text count as their compact JSON."""
    if content is None:
        return 0
    if isinstance(content, str):
        return len(content.encode())
    if isinstance(content, list):
        return sum(text_bytes(part) for part in content)
    if isinstance(content, dict) and content.get("type") == "text" and isinstance(content.get("text"), str):
        return len(content["text"].encode())
    return len(msgspec.json.encode(content))


def input_tokens(ask: Ask, bytes_per_token: int) -> int:
    """The declared rule: text bytes / `bytes_per_token`, rounded up, at least 1. Never more than the body's bytes."""
    return max(1, -(-ask.text_bytes // bytes_per_token))


def output_tokens(ask: Ask, model: Model, drawn: int) -> tuple[int, Finish]:
    """Tokens of one choice: the wish or the profile's draw, cut at the client's cap and the model's limit."""
    wanted = max(0, drawn if ask.wishes.output is None else ask.wishes.output)
    limit = min(model.max_output_tokens, model.max_output_tokens if ask.cap is None else ask.cap)
    return (limit, Finish.LENGTH) if wanted > limit else (wanted, Finish.STOP)


def check(ask: Ask, model: Model, tokens: int) -> None:
    """Raises RefusedError for what no provider would take: a cap or an input beyond the model."""
    if ask.cap is not None and ask.cap > model.max_output_tokens:
        raise RefusedError(400, f"max_tokens is {ask.cap}; {model.name} gives at most {model.max_output_tokens}")
    if tokens + (ask.cap or 0) > model.context_window:
        message = (
            f"This model's maximum context length is {model.context_window} tokens; {tokens + (ask.cap or 0)} asked"
        )
        raise RefusedError(400, message, code="context_length_exceeded", param="messages")


def seed(body: bytes) -> int:
    """Where the words of the answer begin: equal prompts get equal answers."""
    return text.start(body)

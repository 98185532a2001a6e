"""The last requests the provider saw, for tests and people. Bounded; keys never stand in it."""

import enum
from collections import deque
from collections.abc import Mapping

import msgspec

_SECRET = (b"authorization", b"x-api-key", b"api-key", b"proxy-authorization", b"cookie")
_BODY_LIMIT = 64 * 1024


class Outcome(enum.StrEnum):
    SERVED = "Served"  # the answer was sent to its end, also one with a fault in it
    REFUSED = "Refused"  # an error of the provider's own: key, model, limits, syntax
    ABORTED = "Aborted"  # the client left
    BROKEN = "Broken"  # the sim broke the connection: a scripted fault, or it went down


class Entry(msgspec.Struct, frozen=True, rename="camel"):
    """One request, written when it ended. Times in seconds since the sim started; `body` only where bodies are kept."""

    number: int
    at: float
    took: float
    method: str
    path: str
    dialect: str
    model: str
    stream: bool
    outcome: Outcome
    status: int
    fault: str
    key: str
    tag: str
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int = msgspec.field(name="costNanoUSD")
    headers: Mapping[str, str]
    body: str | None = None


class Ring:
    """The last `size` entries."""

    def __init__(self, size: int) -> None:
        self._entries: deque[Entry] = deque(maxlen=size)

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)

    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries)

    def clear(self) -> None:
        self._entries.clear()


def redacted(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """The headers with what could be a credential taken out."""
    return {
        name.decode("latin-1"): "(redacted)" if name in _SECRET else value.decode("latin-1")
        for name, value in headers.items()
    }


def shown(body: bytes) -> str:
    """A request body for the log, at most 64 KiB of it."""
    return body[:_BODY_LIMIT].decode("utf-8", "replace")

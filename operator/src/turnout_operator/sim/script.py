"""The fault script: which requests meet which fault. Types only; `rules` decides, `faults` acts.

    seed: 7
    rules:
    - name: primary-is-ill
      match: {models: [gpt-5-mini], stream: true, share: 0.5, after: 2s, until: 30s}
      effects: [{status: {code: 503, retryAfter: 2s}}]
    outages: [{after: 60s, for: 10s}]

The first rule that matches wins; its effects are applied together.
"""

import enum
from collections.abc import Mapping
from pathlib import Path

import msgspec

from turnout_operator.sim import amounts
from turnout_operator.sim.amounts import Seconds
from turnout_operator.sim.profile import Dialect


class At(enum.StrEnum):
    """Where in an answer a fault strikes."""

    BEFORE_HEAD = "BeforeHead"
    AFTER_HEAD = "AfterHead"
    AFTER_CHUNKS = "AfterChunks"


class Ending(enum.StrEnum):
    """How a cut answer ends."""

    CLEAN = "Clean"  # the body ends as HTTP wants it, the protocol's last events are not there
    TRUNCATED = "Truncated"  # the same, after one half of the next event
    CLOSED = "Closed"  # FIN in the middle of the HTTP body


class Garbage(enum.StrEnum):
    """What stands in place of the n-th content event."""

    BAD_JSON = "BadJSON"  # an object that is never closed
    NOT_AN_OBJECT = "NotAnObject"  # `data: 42`
    WRONG_SHAPE = "WrongShape"  # JSON whose fields have other types
    BAD_UTF8 = "BadUTF8"
    BAD_CHUNK_SIZE = "BadChunkSize"  # broken HTTP framing


class UsageShape(enum.StrEnum):
    """What the usage report looks like. The bill stays right in each."""

    MISSING = "Missing"
    ZERO = "Zero"
    DUPLICATE = "Duplicate"  # the same report twice
    CONTRADICTORY = "Contradictory"  # two reports that differ, or sums that do not add up


class Bills(enum.StrEnum):
    """What a request that met a fault costs."""

    NOTHING = "Nothing"
    INPUT = "Input"
    GENERATED = "Generated"  # the input and what was generated until the end
    EVERYTHING = "Everything"


class _Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The manner of all script parts: camelCase, closed, immutable."""


class Status(_Struct, frozen=True):
    """An error answer. `body` replaces the dialect's error object; `retryAfter` is sent in whole seconds."""

    code: int
    message: str = "scripted by the sim"
    type: str = ""
    error_code: str | None = None
    body: str | None = None
    retry_after: Seconds | None = None
    headers: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        if not 200 <= self.code <= 599:
            raise ValueError("status: code is between 200 and 599")
        if any(set("\r\n\0") & set(name + value) for name, value in self.headers.items()):
            raise ValueError("status: headers hold no line breaks")


class JsonError(_Struct, frozen=True):
    """An `application/json` error object, whether or not a stream was asked for. The default status is 200."""

    code: int = 200
    type: str = ""
    message: str = "scripted by the sim"


class Reset(_Struct, frozen=True):
    """TCP RST. `chunks` counts content events and belongs to AfterChunks; a plain answer's body is cut in half there."""

    at: At = At.BEFORE_HEAD
    chunks: int = 0


class Hang(_Struct, frozen=True):
    """Silence until the client leaves, the connection stays open."""

    at: At = At.BEFORE_HEAD
    chunks: int = 0


class Stall(_Struct, frozen=True):
    """Silence for a time after `chunks` content events, then the answer goes on."""

    chunks: int
    duration: Seconds = msgspec.field(name="for")


class Cut(_Struct, frozen=True):
    chunks: int
    ending: Ending = Ending.CLEAN


class Malformed(_Struct, frozen=True):
    """The content event number `chunk` (the first is 1) is garbage, the others are right."""

    chunk: int = 1
    kind: Garbage = Garbage.BAD_JSON


class ErrorEvent(_Struct, frozen=True):
    """Status 200 and then the dialect's error event: as the very first event, or after `chunks` content events."""

    chunks: int | None = None
    type: str = "overloaded_error"
    message: str = "scripted by the sim"


class Slow(_Struct, frozen=True):
    """Everything from the first byte of the head on is sent at this pace."""

    bytes_per_second: int

    def __post_init__(self) -> None:
        if self.bytes_per_second < 1:
            raise ValueError("slow: bytesPerSecond is at least 1")


class Huge(_Struct, frozen=True):
    """A provider that disobeys the cap: this many tokens whatever was asked, billed; in one event if `oneChunk`."""

    tokens: int
    one_chunk: bool = False


class Answer(_Struct, frozen=True):
    """Another text (a refusal, broken JSON, nothing); `finishReason` goes out as written."""

    text: str = ""
    finish_reason: str | None = None


class Lie(_Struct, frozen=True):
    """Reports these token counts. With `billed` they are also charged, which breaks the byte bound on purpose."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    billed: bool = False


class Effect(_Struct, frozen=True, omit_defaults=True):
    """Exactly one fault."""

    status: Status | None = None
    json_error: JsonError | None = None
    reset: Reset | None = None
    hang: Hang | None = None
    late_first_token: Seconds | None = None
    stall: Stall | None = None
    cut: Cut | None = None
    malformed: Malformed | None = None
    missing_done: bool | None = None
    error_event: ErrorEvent | None = None
    slow: Slow | None = None
    content_type: str | None = None
    huge: Huge | None = None
    answer: Answer | None = None
    usage: UsageShape | None = None
    lie: Lie | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in self.__struct_fields__) != 1:
            raise ValueError(f"an effect is exactly one of {', '.join(self.__struct_encode_fields__)}")
        if self.content_type is not None and not self.content_type.isprintable():
            raise ValueError("contentType is one printable line")

    @property
    def ends(self) -> bool:
        """True where nothing of the answer follows the fault; a rule has one such effect at most."""
        ending = (self.status, self.json_error, self.reset, self.hang, self.cut, self.error_event)
        broken_framing = self.malformed is not None and self.malformed.kind is Garbage.BAD_CHUNK_SIZE
        return broken_framing or any(part is not None for part in ending)


class Nth(_Struct, frozen=True):
    """Which of the requests that meet the rule's other conditions, counted from 1 since the script was set."""

    first: int = 1
    last: int | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.first < 1 or self.every < 1 or (self.last is not None and self.last < self.first):
            raise ValueError("nth: write first >= 1, last >= first, every >= 1")

    def holds(self, count: int) -> bool:
        within = self.first <= count and (self.last is None or count <= self.last)
        return within and (count - self.first) % self.every == 0


class Match(_Struct, frozen=True):
    """All conditions must hold. `after` and `until` count from the moment the script was set. `share` is drawn last."""

    dialect: Dialect | None = None
    models: tuple[str, ...] = ()
    stream: bool | None = None
    headers: Mapping[str, str] = {}
    tag: str | None = None
    after: Seconds = Seconds(0)
    until: Seconds | None = None
    nth: Nth | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError("match: share is between 0 and 1")


class Rule(_Struct, frozen=True):
    effects: tuple[Effect, ...]
    name: str = ""
    match: Match = Match()
    bills: Bills | None = None  # None: what the effects' own default says

    def __post_init__(self) -> None:
        if not self.effects:
            raise ValueError("a rule without effects does nothing; delete it or write one")
        if sum(effect.ends for effect in self.effects) > 1:
            raise ValueError("only one of a rule's effects can end the answer; write two rules")


class Outage(_Struct, frozen=True):
    """The listener is closed and connections are reset, `after` the script was set, `for` a time."""

    after: Seconds
    duration: Seconds = msgspec.field(name="for")


class Script(_Struct, frozen=True):
    rules: tuple[Rule, ...] = ()
    outages: tuple[Outage, ...] = ()
    seed: int = 0


def load(path: Path) -> Script:
    """Reads a script file (YAML or JSON); raises InputError with the field's path."""
    return amounts.decode(path.read_bytes(), Script, str(path))

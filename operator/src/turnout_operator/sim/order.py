"""One answer before it is bytes: its text, its counts and what is reported of them."""

import enum

import msgspec

from turnout_operator.sim.ask import Ask
from turnout_operator.sim.pricing import Usage
from turnout_operator.sim.script import UsageShape
from turnout_operator.sim.text import Words


class Order(msgspec.Struct, frozen=True):
    """`texts`: one a choice.

    `reported` is what the client reads, `billed` what the bill says; they differ only by a scripted lie.
    `finish`: the reason in the dialect's own word.
    """

    number: int
    created: int
    ask: Ask
    texts: tuple[Words, ...]
    finish: str
    reported: Usage
    billed: Usage
    shape: UsageShape | None = None

    @property
    def tokens(self) -> int:
        """Output tokens over all choices."""
        return sum(words.tokens for words in self.texts)


class Part(enum.Enum):
    """What a piece of the answer is, so that a fault finds its place."""

    HEAD = enum.auto()
    PREAMBLE = enum.auto()
    CONTENT = enum.auto()
    BODY = enum.auto()
    FINISH = enum.auto()
    USAGE = enum.auto()
    DONE = enum.auto()
    END = enum.auto()  # the last bytes of the HTTP framing
    NOISE = enum.auto()  # what a fault put there


class Send(msgspec.Struct, frozen=True, gc=False):
    """Bytes to write. `tokens`: output tokens that exist once these bytes do."""

    part: Part
    data: bytes
    tokens: int = 0


class Wait(msgspec.Struct, frozen=True, gc=False):
    seconds: float


class Work(msgspec.Struct, frozen=True):
    """A silent wait in which output tokens are generated evenly, after the first at `first` seconds."""

    seconds: float
    first: float
    tokens: int


class Hang(msgspec.Struct, frozen=True):
    """Nothing more until the client leaves."""


class Reset(msgspec.Struct, frozen=True):
    """TCP RST, once everything before it is out."""


class Close(msgspec.Struct, frozen=True):
    """FIN, once everything before it is out."""


Step = Send | Wait | Work | Hang | Reset | Close

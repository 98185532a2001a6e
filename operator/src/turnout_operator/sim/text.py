"""Text of an exact length: every token is a three-letter word and a space, so four bytes, as the input rule counts.

The words depend on the prompt, so an answer that reaches the wrong client is seen by comparing it with `answer`.
"""

import textwrap
import zlib

import msgspec

_WORDS = textwrap.wrap(
    "actaddageairarmartaskbagbarbedbigbitboxboybusbuycancapcarcatcowcrycupcutdaydogdryeareateggendeye"
    "farfixflyfungapgetgymhathoticeinkjamjobjoykeykidlablawleglidlogmapmixmudnetnewnutoakoldoneownpan"
    "paypenpetpiepigpotrawredribrowrunsadseaseesetskysonsuntaxteatietintoptoytryvanwarwaywetwinyeszoo",
    3,
)
_RING_TOKENS = 8192
_STEP = 37  # coprime with the number of words: neighbouring starts give different sentences


def _ring() -> str:
    return "".join(f"{_WORDS[(i * _STEP + i // len(_WORDS)) % len(_WORDS)]} " for i in range(_RING_TOKENS))


_RING = _ring()


def start(prompt: bytes) -> int:
    """Where in the ring of words the answer to this prompt begins."""
    return zlib.crc32(prompt) % _RING_TOKENS


def answer(begin: int, tokens: int) -> str:
    """Exactly `tokens` words, 4 * `tokens` bytes of ASCII; the same for the same arguments, for ever."""
    begin %= _RING_TOKENS
    laps = (begin + tokens) // _RING_TOKENS + 1
    return (_RING * laps)[4 * begin : 4 * (begin + tokens)]


class Piece(msgspec.Struct, frozen=True, gc=False):
    """What one stream event holds."""

    text: str
    tokens: int


class Words(msgspec.Struct, frozen=True):
    """The text of one choice. `per_chunk`: tokens in one stream event, four characters a token."""

    text: str
    tokens: int
    per_chunk: int

    def pieces(self) -> list[Piece]:
        """What the events of a stream hold; their tokens sum up to `tokens`."""
        width = 4 * self.per_chunk
        pieces = [Piece(self.text[i : i + width], self.per_chunk) for i in range(0, len(self.text), width)]
        if pieces:
            pieces[-1] = Piece(pieces[-1].text, self.tokens - self.per_chunk * (len(pieces) - 1))
        return pieces


def count(text: str) -> int:
    """How many tokens a given text counts as in an answer: bytes / 4, rounded up."""
    return -(-len(text.encode()) // 4)

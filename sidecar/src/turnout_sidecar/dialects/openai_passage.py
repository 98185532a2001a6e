"""OpenAI to OpenAI: the passage on which answers travel as bytes. Every event is decoded to check it, none is built anew.

Three readers. Where the host gives an `alike`, events of a shape that was checked are only checked for their text. The fast one takes a read that holds nothing but plain text events, as nearly all reads do: one typed decode an
event, and its type alone is the check (one choice, some text, no finish, no usage, no error). What it cannot take, from
the first such event on, goes to the slow one, which knows everything. On the route from 0.67 to 0.42 microseconds an
event the loop over the decoded chunks had to go; that is why the fast type is so narrow.
"""

from operator import length_hint
from typing import Annotated

import msgspec

from turnout_sidecar.dialects import openai_request, openai_wire, sse
from turnout_sidecar.dialects.alike import Alike, shape
from turnout_sidecar.dialects.openai_chat import DONE, ChunkEncoder, OpenAIChat, signalled
from turnout_sidecar.dialects.reframing import reframed
from turnout_sidecar.messages import Answered, ChatRequest, Chunk, Headers, Malformed, ProviderError, Refusal, Usage
from turnout_sidecar.policy.units import Tokens


class _PlainDelta(msgspec.Struct, gc=False):
    content: Annotated[str, msgspec.Meta(min_length=1)]


class _PlainChoice(msgspec.Struct, gc=False):
    delta: _PlainDelta
    finish_reason: None = None


class _PlainChunk(msgspec.Struct, gc=False):
    choices: tuple[_PlainChoice]
    usage: None = None
    error: None = None


_decode_plain = msgspec.json.Decoder(_PlainChunk).decode
_decode_chunk = msgspec.json.Decoder(openai_wire.WireChunk).decode
_decode_name = msgspec.json.Decoder(openai_wire.ChunkName).decode
_MAX_REST = 1 << 14  # an event longer than this is the slow reader's, whose buffer does not copy at every read
_MOST_MISSES = 3
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class SameOpenAI:
    """`Passage`."""

    def __init__(self, dialect: OpenAIChat, alike: Alike | None = None) -> None:
        self._dialect = dialect
        self._alike = alike
        self.headers: Headers = dialect.headers
        self.shows_all_output = dialect.shows_all_output

    def path(self, base: str) -> str:
        return self._dialect.path(base)

    def overhead(self, request: ChatRequest) -> Tokens:
        return self._dialect.overhead(request.messages, request.tools)

    def encode(self, request: ChatRequest, model: str, max_output: Tokens) -> bytes:
        return openai_request.encode(request, model, max_output)

    def answer(self, body: bytes, request: ChatRequest, signal: bytes) -> Answered:  # noqa: ARG002
        try:
            wire = openai_wire.completion(body)
        except Malformed:
            if (error := openai_wire.error_in(body)) is not None:
                return Answered(error=error)
            raise
        usage = openai_wire.usage(wire.usage) if wire.usage is not None else None
        return Answered(body=signalled(body, signal), model=wire.model, usage=usage)

    def reframe(self, body: bytes, request: ChatRequest, signal: bytes) -> Answered:
        answer = self._dialect.decode_answer(body)
        if isinstance(answer, ProviderError):
            return Answered(error=answer)
        encoder = ChunkEncoder(request.wants_usage, signal, answer.created)
        return Answered(body=reframed(answer, encoder), model=answer.model, usage=answer.usage)

    def relay(self, request: ChatRequest, signal: bytes) -> "ChunkRelay":
        return ChunkRelay(request.wants_usage, request.answers, signal, self._alike)

    def decode_error(self, status: int, body: bytes) -> ProviderError:
        return self._dialect.decode_error(status, body)


class ChunkRelay:
    """`Relay`. What is degraded is told in the first and in the last object, so there the last one is held back until it is."""

    __slots__ = (
        "_alike",
        "_answers",
        "_created",
        "_events",
        "_finishes",
        "_id",
        "_last",
        "_misses",
        "_plain",
        "_rest",
        "_shape",
        "_signal",
        "_told",
        "_wants_usage",
        "begun",
        "content",
        "done",
        "error",
        "events",
        "finished",
        "flowing",
        "malformed",
        "model",
        "text_bytes",
        "usage",
    )

    def __init__(self, wants_usage: bool, answers: int, signal: bytes, alike: Alike | None = None) -> None:
        self.flowing = True
        self.content = False
        self.finished = False
        self.done = False
        self.error: ProviderError | None = None
        self.malformed = ""
        self.usage: Usage | None = None
        self.model = ""
        self.begun = False
        self.events = 0
        self.text_bytes = 0
        self._events = sse.Parser()
        self._wants_usage = wants_usage
        self._answers = answers
        self._signal = signal
        self._plain = False  # the fast reader may take the next read
        self._rest = b""  # the fast reader's: what follows the last whole event
        self._alike = alike
        self._shape: tuple[bytes, bytes] | None = None
        self._misses = 0
        self._finishes = 0
        self._last = b""
        self._told = False
        self._id = ""
        self._created = 0

    def feed(self, data: bytes) -> bytes:
        """See `Relay.feed`."""
        if not self._plain:
            return self._feed_first(data)
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if self._alike is None:
            return self._feed_whole(data)
        if self._shape is None:
            return self._feed_to_learn(data)
        count, used = self._alike(data, *self._shape)
        if not count:
            return self._feed_unlike(data)
        self.events += count
        self.text_bytes += used
        self.content = True
        return data if used == len(data) else data[:used] + self._feed_whole(data[used:])

    def _feed_whole(self, data: bytes) -> bytes:
        """What follows the last whole event is kept for the next read."""
        if data.count(b"\n") == 2 and data[:6] == b"data: " and data[-2:] == b"\n\n":
            return self._feed_one(data)
        end = data.rfind(b"\n\n") + 2
        if b"\r" in data or len(data) - end > _MAX_REST:
            return self._feed_any(data)
        if end < 2:
            self._rest = data
            return b""
        if data[:6] != b"data: ":
            return self._feed_any(data)
        if end != len(data):
            self._rest = data[end:]
            data = data[:end]
        events = data[6:-2].split(b"\n\ndata: ")
        if data.count(b"\n") != 2 * len(events):
            return self._feed_any(data)
        return self._feed_plain(data, events)

    def _feed_to_learn(self, data: bytes) -> bytes:
        """The first event alone, since the rest of the read may well be of its shape."""
        end = data.find(b"\n\n") + 2
        if end < 2 or end == len(data):
            return self._feed_whole(data)
        front, rest = self._feed_whole(data[:end]), data[end:]
        if not self._plain:
            return front + self._feed_any(rest)
        return front + (self._feed_whole(rest) if self._shape is None else self.feed(rest))

    def _feed_unlike(self, data: bytes) -> bytes:
        """Not of the shape that was learned. Some providers pad each event with a string of its own: there is no shape then."""
        before = self.events
        out = self._feed_whole(data)
        if self.events > before:
            self._misses += 1
            self._shape = None
            if self._misses >= _MOST_MISSES:
                self._alike = None
        return out

    def _learn_shape(self, payload: bytes) -> None:
        """From a plain event: what it is around its text, if another text there would be read as its text."""
        found = shape(payload)
        if found is None:
            return
        head, tail = found
        try:
            again = _decode_plain(head[6:] + b"text" + tail[:-2])
        except _UNREADABLE:
            return
        if again.choices[0].delta.content == "text":
            self._shape = found

    def close(self) -> bytes:
        """See `Relay.close`."""
        if self.done:
            return b""
        self.done = True
        self.flowing = False
        return self._take_last() + DONE

    def error_event(self, refusal: Refusal, signal: bytes) -> bytes:
        encoder = ChunkEncoder(False, b"", self._created)
        encoder.encode(Chunk(id=self._id, model=self.model))
        return encoder.error(refusal, signal)

    def _feed_one(self, data: bytes) -> bytes:
        """A read that is one event: the usual thing where tokens come one by one."""
        try:
            _decode_plain(data[6:-2])
        except _UNREADABLE:
            return self._feed_any(data)
        if b"\r" in data:  # white space to JSON, a line's end to a client
            return self._feed_any(data)
        self.events += 1
        self.text_bytes += len(data)
        self.content = True
        if self._alike is not None and self._shape is None:
            self._learn_shape(data[6:-2])
        return data

    def _feed_first(self, data: bytes) -> bytes:
        """Only the first event is the slow reader's by right: a first read may hold half the answer."""
        end = data.find(b"\n\n") + 2
        if self.begun or end < 2 or end == len(data):
            return self._feed_any(data)
        front = self._feed_any(data[:end])
        return front + (self.feed(data[end:]) if self._plain else self._feed_any(data[end:]))

    def _feed_plain(self, data: bytes, events: list[bytes]) -> bytes:
        unread = iter(events)
        try:
            for payload in unread:
                _decode_plain(payload)
        except _UNREADABLE:
            return self._feed_mixed(events, len(events) - length_hint(unread) - 1)
        self.content = True
        self.events += len(events)
        self.text_bytes += len(data)
        if self._alike is not None and self._shape is None:
            self._learn_shape(events[-1])
        return data

    def _feed_mixed(self, events: list[bytes], plain: int) -> bytes:
        """So many plain ones in front as they are, the rest by the slow reader."""
        rest = b"data: " + b"\n\ndata: ".join(events[plain:]) + b"\n\n"
        if not plain:
            return self._feed_any(rest)
        front = b"data: " + b"\n\ndata: ".join(events[:plain]) + b"\n\n"
        self.content = True
        self.events += plain
        self.text_bytes += len(front)
        return front + self._feed_any(rest)

    def _feed_any(self, data: bytes) -> bytes:
        data += self._rest
        self._rest = b""
        if self.error is not None or self.malformed:
            return b""
        out: list[bytes] = []
        try:
            for name, payload in self._events.feed(data):
                out.append(self._take(name, payload))
                if self.error is not None:
                    break
        except Malformed as e:
            self.malformed = str(e)
        if self.error is not None or self.malformed:
            self.flowing = False
        self._plain = self.flowing and self.begun and not self._signal and not self.finished
        if self._plain:
            self._rest = self._events.take()
        return b"".join(out)

    def _take(self, name: str, payload: bytes) -> bytes:
        """What one event puts on the client's wire. Raises `Malformed`."""
        if payload == b"[DONE]":
            if self.done:
                return b""
            return self.close()
        if not payload or self.done:
            return b""
        if name == "error":
            self.error = openai_wire.error_in(payload) or openai_wire.raw_error(payload)
            return b""
        chunk = self._decode(payload)
        if chunk is None:
            return b""
        if not self.begun:
            self._learn_name(payload)
        self._note(chunk, len(payload))
        if not chunk.choices and chunk.usage is not None and not self._wants_usage:
            return b""
        return self._frame(payload.replace(b"\n", b" "))

    def _decode(self, payload: bytes) -> openai_wire.WireChunk | None:
        """None for an error, which is noted. Raises `Malformed`."""
        try:
            chunk = _decode_chunk(payload)
        except _UNREADABLE as e:
            self.error = openai_wire.error_in(payload)
            if self.error is not None:
                return None
            raise Malformed(str(e)) from None
        if chunk.error is not None:
            self.error = openai_wire.raw_error(bytes(chunk.error))
            return None
        return chunk

    def _learn_name(self, payload: bytes) -> None:
        try:
            named = _decode_name(payload)
        except _UNREADABLE as e:
            raise Malformed(str(e)) from None
        self._id, self.model, self._created = named.id, named.model, named.created
        self.begun = True

    def _note(self, chunk: openai_wire.WireChunk, size: int) -> None:
        if chunk.usage is not None:
            usage = openai_wire.usage(chunk.usage)
            self.usage = usage if self.usage is None else self.usage.dearest(usage)
        for choice in chunk.choices:
            delta = choice.delta
            if delta.content or delta.refusal or delta.tool_calls or delta.reasoning_content:
                self.content = True
                self.events += _says(delta)
                self.text_bytes += size
            if choice.finish_reason is not None:
                self._finishes += 1
        if self._finishes >= self._answers:
            self.finished = True

    def _frame(self, payload: bytes) -> bytes:
        if not self._signal:
            return b"data: " + payload + b"\n\n"
        if not self._told:
            self._told = True
            payload = signalled(payload, self._signal)
        if not self.finished:
            return b"data: " + payload + b"\n\n"
        before, self._last = self._last, payload
        return b"data: " + before + b"\n\n" if before else b""

    def _take_last(self) -> bytes:
        last, self._last = self._last, b""
        if not last:
            return b""
        told = last if last.startswith(b'{"turnout":') else signalled(last, self._signal)
        return b"data: " + told + b"\n\n"


def _says(delta: openai_wire.WireText) -> bool:
    """Whether this event is a token at least; some servers open a tool's arguments with an empty piece."""
    if delta.content or delta.refusal or delta.reasoning_content:
        return True
    functions = [call.function for call in delta.tool_calls or () if call.function is not None]
    return any(function.name or function.arguments for function in functions)

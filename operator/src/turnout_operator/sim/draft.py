"""An answer as steps, before its HTTP framing: a head's fields and a list of steps that faults may change."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from turnout_operator.sim import amounts, chat, http1, messages
from turnout_operator.sim.order import Close, Hang, Order, Part, Reset, Send, Step, Wait, Work
from turnout_operator.sim.profile import Dialect, Latency

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"

ERRORS: Mapping[Dialect, Callable[..., bytes]] = {Dialect.OPENAI: chat.error, Dialect.ANTHROPIC: messages.error}
ERROR_EVENTS = {Dialect.OPENAI: chat.error_event, Dialect.ANTHROPIC: messages.error_event}
GARBAGE = {Dialect.OPENAI: chat.garbage, Dialect.ANTHROPIC: messages.garbage}
_BODIES = {Dialect.OPENAI: chat.body, Dialect.ANTHROPIC: messages.body}
_EVENTS = {Dialect.OPENAI: chat.events, Dialect.ANTHROPIC: messages.events}


class Draft(msgspec.Struct, frozen=True):
    """`length`: the content-length that the head tells; None for a chunked answer."""

    dialect: Dialect
    steps: tuple[Step, ...]
    length: int | None
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = {}

    @property
    def chunked(self) -> bool:
        return self.length is None

    def with_steps(self, steps: Iterable[Step]) -> "Draft":
        return msgspec.structs.replace(self, steps=tuple(steps))


def answer(order: Order, latency: Latency, rng: random.Random) -> Draft:
    """The right answer to an order, with its waits."""
    return _stream(order, latency, rng) if order.ask.stream else _plain(order, latency, rng)


def whole(dialect: Dialect, status: int, body: bytes, headers: Mapping[str, str]) -> Draft:
    """A JSON answer that exists at once: an error, a list."""
    return Draft(dialect, (Send(Part.HEAD, b""), Send(Part.BODY, body)), len(body), status, JSON, headers)


def _plain(order: Order, latency: Latency, rng: random.Random) -> Draft:
    body = _BODIES[order.ask.dialect](order)
    first = amounts.draw(latency.first_token, rng)
    rest = 0.0
    if not amounts.is_zero(latency.inter_token):
        rest = sum(amounts.draw(latency.inter_token, rng) for _ in range(order.tokens - 1))
    work: tuple[Step, ...] = (Work(first + rest, first, order.tokens),) if first + rest > 0 else ()
    head = Send(Part.HEAD, b"", 0 if work else order.tokens)
    return Draft(order.ask.dialect, (*work, head, Send(Part.BODY, body)), len(body))


def _stream(order: Order, latency: Latency, rng: random.Random) -> Draft:
    events: Iterator[Step] = _EVENTS[order.ask.dialect](order)
    if not (amounts.is_zero(latency.first_token) and amounts.is_zero(latency.inter_token)):
        events = _paced(_EVENTS[order.ask.dialect](order), latency, rng)
    return Draft(order.ask.dialect, (Send(Part.HEAD, b""), *events), None, content_type=SSE)


def _paced(events: Iterator[Send], latency: Latency, rng: random.Random) -> Iterator[Step]:
    """Puts the first-token wait after the preamble and the inter-token wait before every later content event."""
    started = False
    for event in events:
        if not started and event.part is not Part.PREAMBLE:
            started = True
            yield Wait(amounts.draw(latency.first_token, rng))
        elif event.part is Part.CONTENT:
            yield Wait(sum(amounts.draw(latency.inter_token, rng) for _ in range(event.tokens)))
        yield event


def framed(draft: Draft, *, close: bool) -> Iterator[Step]:
    """The steps with HTTP framing around them, ready for the wire. `close`: the head tells that the connection ends."""
    chunked = draft.chunked
    for step in draft.steps:
        if not isinstance(step, Send) or step.part is Part.NOISE:
            yield step
        elif step.part is Part.HEAD:
            yield Send(Part.HEAD, _head(draft, close=close), step.tokens)
        elif chunked:
            yield Send(step.part, b"%x\r\n%b\r\n" % (len(step.data), step.data), step.tokens)
        else:
            yield step
    if draft.chunked and not (draft.steps and isinstance(draft.steps[-1], Hang | Reset | Close)):
        yield Send(Part.END, b"0\r\n\r\n")


def slowed(steps: Iterator[Step], bytes_per_second: int) -> Iterator[Step]:
    """The same bytes at this pace, in about twenty writes a second."""
    width = max(1, bytes_per_second // 20)
    for step in steps:
        if not isinstance(step, Send):
            yield step
            continue
        for start in range(0, len(step.data), width):
            piece = step.data[start : start + width]
            yield Send(step.part, piece, step.tokens if start + width >= len(step.data) else 0)
            yield Wait(len(piece) / bytes_per_second)


def joined(steps: Iterator[Step], events_per_write: int) -> Iterator[Step]:
    """Sends that follow each other without a wait become one write, up to so many."""
    held: list[Send] = []
    for step in steps:
        if isinstance(step, Send):
            held.append(step)
        if held and (len(held) == events_per_write or not isinstance(step, Send)):
            yield _join(held)
            held = []
        if not isinstance(step, Send):
            yield step
    if held:
        yield _join(held)


def _join(held: list[Send]) -> Send:
    return Send(held[0].part, b"".join(send.data for send in held), sum(send.tokens for send in held))


def _head(draft: Draft, *, close: bool) -> bytes:
    headers = {"content-type": draft.content_type}
    headers |= {"transfer-encoding": "chunked"} if draft.length is None else {"content-length": str(draft.length)}
    if close:
        headers["connection"] = "close"
    return http1.head(draft.status, {**headers, **draft.headers})

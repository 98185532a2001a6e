"""Anthropic's messages, from providers: text and tools, plain and streaming, with usage.

https://docs.anthropic.com/en/api/messages and /en/api/messages-streaming, version 2023-06-01. The dialect differs from
OpenAI's where it hurts: the system prompt is no message, tool results are user turns, input tokens exclude the cached
ones, and usage in a stream comes in two places, cumulative, so the maximum counts and never the sum.
"""

from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct

from turnout_sidecar.dialects import sse
from turnout_sidecar.dialects.openai_wire import safe_word
from turnout_sidecar.messages import (
    Choice,
    Chunk,
    Completion,
    Conversation,
    Finish,
    Headers,
    Malformed,
    Message,
    ProviderError,
    ProviderErrorKind,
    Role,
    ToolCall,
    ToolChoice,
    ToolDelta,
    Unsayable,
    Usage,
)
from turnout_sidecar.policy.units import Tokens

VERSION = b"2023-06-01"


class _CacheCreation(Struct, gc=False):
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class _Usage(Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None


class _Block(Struct, gc=False):
    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"{}")


class _ErrorDetail(Struct, gc=False):
    type: str = ""


class _Answer(Struct, gc=False):
    type: str
    id: str = ""
    model: str = ""
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: _Usage | None = None
    error: _ErrorDetail | None = None


class _Started(Struct, gc=False):
    id: str = ""
    model: str = ""
    usage: _Usage | None = None


class _Delta(Struct, gc=False):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Event(Struct, gc=False):
    type: str
    index: int = 0
    message: _Started | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: _ErrorDetail | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_encode = msgspec.json.Encoder().encode
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)

_FINISHES = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "tool_use": Finish.TOOL_CALLS,
    "refusal": Finish.CONTENT_FILTER,
}
_KINDS = {
    "rate_limit_error": ProviderErrorKind.RATE_LIMITED,
    "overloaded_error": ProviderErrorKind.OVERLOADED,
    "invalid_request_error": ProviderErrorKind.REQUEST,
    "request_too_large": ProviderErrorKind.REQUEST,
    "authentication_error": ProviderErrorKind.ACCESS,
    "billing_error": ProviderErrorKind.ACCESS,
    "permission_error": ProviderErrorKind.ACCESS,
    "not_found_error": ProviderErrorKind.ACCESS,
}


class Anthropic:
    """`ProviderDialect`."""

    name = "anthropic"
    headers: Headers = ((b"content-type", b"application/json"), (b"anthropic-version", VERSION))
    shows_all_output = True  # thinking is never asked for here

    def path(self, base: str) -> str:
        return base + ("/messages" if base.endswith("/v1") else "/v1/messages")

    def overhead(self, messages: int, tools: int) -> Tokens:
        """The tool prompt is 313 to 530 tokens in the vendor's table (tool use overview); the framing is a guess above what it bills."""
        return Tokens(8 * messages + 16 + (560 + 32 * tools if tools else 0))

    def encode_request(self, conversation: Conversation, model: str, max_output: Tokens, stream: bool) -> bytes:
        if conversation.only_here:
            raise Unsayable(conversation.only_here[0])
        if conversation.answers != 1:
            raise Unsayable("n")
        if (conversation.temperature or 0) > 1:
            raise Unsayable("temperature")
        system = "\n\n".join(m.text for m in conversation.messages if m.role is Role.SYSTEM)
        wire: dict[str, object] = {"model": model, "max_tokens": max_output, "messages": _turns(conversation.messages)}
        settings = {
            "system": system or None,
            "temperature": conversation.temperature,
            "top_p": conversation.top_p,
            "stop_sequences": list(conversation.stop) or None,
            "metadata": {"user_id": conversation.user} if conversation.user else None,
            "tool_choice": _tool_choice(conversation.tool_choice) if conversation.tools else None,
            "stream": True if stream else None,
        }
        wire |= {name: value for name, value in settings.items() if value is not None}
        if conversation.tools:
            wire["tools"] = [
                {"name": t.name, "description": t.description, "input_schema": Raw(t.parameters)}
                for t in conversation.tools
            ]
        return _encode(wire)

    def decode_answer(self, body: bytes) -> Completion | ProviderError:
        try:
            wire = _decode_answer(body)
        except _UNREADABLE as e:
            raise Malformed(str(e)) from None
        if wire.type == "error":
            return _error(wire.error)
        if wire.type != "message":
            raise Malformed(f"an answer of type {safe_word(wire.type)!r}")
        calls = tuple(
            ToolCall(id=b.id, name=b.name, arguments=bytes(b.input).decode())
            for b in wire.content
            if b.type == "tool_use"
        )
        choice = Choice(
            text="".join(b.text for b in wire.content if b.type == "text"),
            tool_calls=calls,
            finish=_FINISHES.get(wire.stop_reason or "end_turn", wire.stop_reason or ""),
        )
        usage = _usage(wire.usage) if wire.usage is not None else None
        return Completion(id=wire.id, model=wire.model, choices=(choice,), usage=usage)

    def stream_decoder(self) -> "EventDecoder":
        return EventDecoder()

    def decode_error(self, status: int, body: bytes) -> ProviderError:
        kind = ProviderErrorKind.REQUEST if status < 500 else ProviderErrorKind.SERVER
        try:
            detail = _decode_answer(body).error
        except _UNREADABLE:
            detail = None
        return ProviderError(kind=kind, type=safe_word(detail.type) if detail is not None else "")


class EventDecoder:
    """Any cuts of an Anthropic stream -> neutral chunks."""

    def __init__(self) -> None:
        self._events = sse.Parser()
        self._usage = Usage()
        self._metered = False
        self._tools: dict[int, int] = {}  # content block -> place among the tool calls

    def feed(self, data: bytes) -> Iterator[Chunk]:
        for _, payload in self._events.feed(data):
            if payload:
                yield from self._chunks(payload)

    def _chunks(self, payload: bytes) -> Iterator[Chunk]:
        try:
            event = _decode_event(payload)
        except _UNREADABLE as e:
            raise Malformed(str(e)) from None
        match event.type:
            case "message_start" if event.message is not None:
                yield Chunk(id=event.message.id, model=event.message.model, usage=self._add(event.message.usage))
            case "content_block_start" if event.content_block is not None:
                yield from self._block(event.index, event.content_block)
            case "content_block_delta" if event.delta is not None:
                yield from self._delta(event.index, event.delta)
            case "message_delta" if event.delta is not None:
                reason = event.delta.stop_reason or ""
                yield Chunk(finish=_FINISHES.get(reason, reason), usage=self._add(event.usage))
            case "message_stop":
                yield Chunk(done=True)
            case "error":
                yield Chunk(error=_error(event.error))
            case "message_start" | "content_block_start" | "content_block_delta" | "message_delta":
                raise Malformed(f"a {event.type} without its content")
            case _:  # "handle unknown event types gracefully", says the vendor; pings are among them
                pass

    def _block(self, index: int, block: _Block) -> Iterator[Chunk]:
        if block.type == "tool_use":
            self._tools[index] = len(self._tools)
            yield Chunk(tool=ToolDelta(index=self._tools[index], id=block.id, name=block.name))
        elif block.type == "text" and block.text:
            yield Chunk(text=block.text)

    def _delta(self, index: int, delta: _Delta) -> Iterator[Chunk]:
        if delta.type == "text_delta":
            yield Chunk(text=delta.text)
        elif delta.type == "input_json_delta":
            if index not in self._tools:
                raise Malformed("tool input for a block that is no tool use")
            yield Chunk(tool=ToolDelta(index=self._tools[index], arguments=delta.partial_json))

    def _add(self, wire: _Usage | None) -> Usage | None:
        if wire is not None:
            self._metered = True
            self._usage = self._usage.dearest(_usage(wire))
        return self._usage if self._metered else None


def _usage(wire: _Usage) -> Usage:
    """A cache write that is not told apart is a five-minute one, the vendor's default; what does not add up is read as the dearest."""
    written = max(wire.cache_creation_input_tokens or 0, 0)
    long = short = 0
    if wire.cache_creation is not None:
        short = max(wire.cache_creation.ephemeral_5m_input_tokens, 0)
        long = max(wire.cache_creation.ephemeral_1h_input_tokens, 0)
        long += max(written - short - long, 0)
    else:
        short = written
    return Usage(
        input=Tokens(max(wire.input_tokens or 0, 0)),
        cached_input=Tokens(max(wire.cache_read_input_tokens or 0, 0)),
        cache_write_5m=Tokens(short),
        cache_write_1h=Tokens(long),
        output=Tokens(max(wire.output_tokens or 0, 0)),
    )


def _error(detail: _ErrorDetail | None) -> ProviderError:
    word = safe_word(detail.type) if detail is not None else ""
    return ProviderError(kind=_KINDS.get(word, ProviderErrorKind.SERVER), type=word)


def _turns(messages: tuple[Message, ...]) -> list[dict[str, object]]:
    """User and assistant turns in alternation; neighbours of one role become one turn."""
    turns: list[tuple[str, list[dict[str, object]]]] = []
    for message in messages:
        if message.role is Role.SYSTEM:
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        if not turns or turns[-1][0] != role:
            turns.append((role, []))
        turns[-1][1].extend(_blocks(message))
    return [{"role": role, "content": blocks} for role, blocks in turns if blocks]


def _blocks(message: Message) -> list[dict[str, object]]:
    if message.role is Role.TOOL:
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.text}]
    text: list[dict[str, object]] = [{"type": "text", "text": message.text}] if message.text else []
    return text + [
        {"type": "tool_use", "id": c.id, "name": c.name, "input": _input(c.arguments)} for c in message.tool_calls
    ]


def _input(arguments: str) -> object:
    try:
        value = msgspec.json.decode(arguments or "{}")
    except _UNREADABLE:
        value = None
    if not isinstance(value, dict):
        raise Unsayable("tool_calls.function.arguments")
    return value


def _tool_choice(choice: ToolChoice | None) -> dict[str, object] | None:
    if choice is None:
        return None
    wire: dict[str, object] = {"type": {"required": "any", "named": "tool"}.get(choice.mode, choice.mode)}
    if choice.mode == "named":
        wire["name"] = choice.name
    if not choice.parallel and choice.mode != "none":
        wire["disable_parallel_tool_use"] = True
    return wire

"""The Anthropic dialect: `POST /v1/messages`, `POST /v1/messages/count_tokens` and `GET /v1/models`, as bytes."""

from collections.abc import Iterator
from typing import Any

import msgspec

from turnout_operator.sim import ask as asking
from turnout_operator.sim.ask import Ask, Finish, RefusedError
from turnout_operator.sim.http1 import Request
from turnout_operator.sim.order import Order, Part, Send
from turnout_operator.sim.pricing import Usage
from turnout_operator.sim.profile import Dialect, Profile
from turnout_operator.sim.script import UsageShape

FINISH = {Finish.STOP: "end_turn", Finish.LENGTH: "max_tokens"}
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
          413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error"}  # fmt: skip


class _Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[Any]


class _Body(msgspec.Struct, frozen=True):
    model: str
    messages: list[_Message]
    max_tokens: int | None = None
    stream: bool | None = None
    system: str | list[Any] | None = None
    tools: list[Any] | None = None
    metadata: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Body)


def read(request: Request, *, counting: bool = False) -> Ask:
    """The request in the common form; raises RefusedError with Anthropic's words. `counting`: no max_tokens needed."""
    if b"anthropic-version" not in request.headers:
        raise RefusedError(400, "anthropic-version: header is required")
    try:
        body = _decoder.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(400, f"The request body is not valid: {error}") from error
    if not body.messages:
        raise RefusedError(400, "messages: at least one message is required")
    if body.max_tokens is None and not counting:
        raise RefusedError(400, "max_tokens: Field required")
    if body.max_tokens is not None and body.max_tokens < 1:
        raise RefusedError(400, "max_tokens: Input should be greater than or equal to 1")
    metadata = body.metadata or {}
    parts = [message.content for message in body.messages]
    return Ask(
        dialect=Dialect.ANTHROPIC,
        model=body.model,
        text_bytes=min(len(request.body), sum(map(asking.text_bytes, [*parts, body.system, body.tools]))),
        begin=asking.seed(request.body),
        stream=bool(body.stream),
        include_usage=True,
        cap=body.max_tokens,
        tag=str(metadata.get("user_id") or metadata.get("tag", "")),
        wishes=asking.wishes(request.headers.items(), metadata, request.body),
    )


def error(status: int, message: str, *, kind: str = "") -> bytes:
    """Anthropic's error object."""
    kind = kind or _TYPES.get(status, "api_error")
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_sim"})


def error_event(message: str, kind: str) -> bytes:
    """An error inside a stream, as the SDK raises it."""
    return b"event: error\ndata: " + error(529, message, kind=kind) + b"\n\n"


def models(profile: Profile) -> bytes:
    """The list for `GET /v1/models`."""
    data = [
        {"type": "model", "id": model.name, "display_name": model.name, "created_at": "2026-01-01T00:00:00Z"}
        for model in profile.models
        if Dialect.ANTHROPIC in model.dialects
    ]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return msgspec.json.encode({"data": data, "has_more": False, **ends})


def body(order: Order) -> bytes:
    """A plain answer."""
    answer = _message(order, [{"type": "text", "text": order.texts[0].text}], order.finish)
    if order.shape is not UsageShape.MISSING:
        answer["usage"] = _usage(Usage() if order.shape is UsageShape.ZERO else order.reported)
    if order.shape is UsageShape.CONTRADICTORY:
        answer["usage"]["cache_creation"] = {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 7}
    encoded = msgspec.json.encode(answer)
    if order.shape is UsageShape.DUPLICATE:  # the same key twice in one object
        encoded = encoded[:-1] + b',"usage":' + msgspec.json.encode(answer["usage"]) + b"}"
    return encoded


def events(order: Order) -> Iterator[Send]:
    """A streamed answer: message_start, one text block, message_delta with cumulative usage, message_stop."""
    start = _message(order, [], None)
    if order.shape is not UsageShape.MISSING:
        first = Usage() if order.shape is UsageShape.ZERO else order.reported
        start["usage"] = {**_usage(first), "output_tokens": min(1, first.output)}
    yield _event(Part.PREAMBLE, {"type": "message_start", "message": start})
    block = {"type": "text", "text": ""}
    yield _event(Part.PREAMBLE, {"type": "content_block_start", "index": 0, "content_block": block})
    yield _event(Part.PREAMBLE, {"type": "ping"})
    before = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":'
    for piece in order.texts[0].pieces():
        yield Send(Part.CONTENT, before + msgspec.json.encode(piece.text) + b"}}\n\n", piece.tokens)
    yield _event(Part.FINISH, {"type": "content_block_stop", "index": 0})
    stop: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": order.finish, "stop_sequence": None}}
    for report in _reports(order):
        yield _event(Part.USAGE, {**stop, "usage": report})
    if order.shape is UsageShape.MISSING:
        yield _event(Part.FINISH, stop)
    yield _event(Part.DONE, {"type": "message_stop"})


def garbage() -> bytes:
    """An event whose fields have other types than the protocol's."""
    return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":"zero","delta":[]}\n\n'


def _message(order: Order, content: list[Any], stop_reason: str | None) -> dict[str, Any]:
    return {
        "id": f"msg_sim{order.number:08d}",
        "type": "message",
        "role": "assistant",
        "model": order.ask.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
    }


def _event(part: Part, data: dict[str, Any]) -> Send:
    return Send(part, f"event: {data['type']}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n")


def _reports(order: Order) -> list[dict[str, Any]]:
    """The reports of message_delta: cumulative, so the last of them counts."""
    right = _usage(order.reported)
    match order.shape:
        case None:
            return [right]
        case UsageShape.MISSING:
            return []
        case UsageShape.ZERO:
            return [_usage(Usage())]
        case UsageShape.DUPLICATE:
            return [right, right]
        case UsageShape.CONTRADICTORY:
            return [right, {**right, "input_tokens": 0, "output_tokens": right["output_tokens"] // 2}]


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.fresh,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
        "service_tier": "standard",
    }

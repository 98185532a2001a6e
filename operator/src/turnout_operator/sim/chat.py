"""The OpenAI dialect: `POST /v1/chat/completions` and `GET /v1/models`, as bytes."""

import itertools
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

FINISH = {Finish.STOP: "stop", Finish.LENGTH: "length"}
_TYPES = {400: "invalid_request_error", 401: "invalid_request_error", 403: "permission_error",
          404: "invalid_request_error", 413: "invalid_request_error", 429: "rate_limit_error"}  # fmt: skip
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
_DONE = b"data: [DONE]\n\n"
_MAX_CHOICES = 128


class _Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[Any] | None = None
    tool_calls: list[Any] | None = None


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class _Body(msgspec.Struct, frozen=True):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    tools: list[Any] | None = None
    response_format: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Body)


def read(request: Request) -> Ask:
    """The request in the common form; raises RefusedError with OpenAI's words and statuses."""
    try:
        body = _decoder.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(400, f"We could not parse the JSON body of your request: {error}") from error
    if not body.messages:
        raise RefusedError(400, "[] is too short - 'messages'", param="messages")
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise RefusedError(400, "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
    cap = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    if cap is not None and cap < 1:
        raise RefusedError(400, f"Invalid 'max_tokens': at least 1, got {cap}", param="max_tokens")
    choices = 1 if body.n is None else body.n
    if not 1 <= choices <= _MAX_CHOICES:
        raise RefusedError(400, f"Invalid 'n': between 1 and {_MAX_CHOICES}, got {choices}", param="n")
    if body.stream_options is not None and not body.stream:
        raise RefusedError(
            400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    parts = [message.content for message in body.messages] + [message.tool_calls for message in body.messages]
    return Ask(
        dialect=Dialect.OPENAI,
        model=body.model,
        text_bytes=min(len(request.body), sum(map(asking.text_bytes, [*parts, body.tools, body.response_format]))),
        begin=asking.seed(request.body),
        stream=bool(body.stream),
        include_usage=body.stream_options is not None and bool(body.stream_options.include_usage),
        choices=choices,
        cap=cap,
        tag=body.user or str((body.metadata or {}).get("tag", "")),
        wishes=asking.wishes(request.headers.items(), body.metadata, request.body),
    )


def error(status: int, message: str, *, kind: str = "", code: str | None = None, param: str | None = None) -> bytes:
    """OpenAI's error object."""
    kind = kind or _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = _CODES.get(status) if code is None else code
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def error_event(message: str, kind: str) -> bytes:
    """An error inside a stream, as the SDK raises it."""
    return b"data: " + error(500, message, kind=kind) + b"\n\n"


def models(profile: Profile, created: int) -> bytes:
    """The list for `GET /v1/models`."""
    data = [
        {"id": model.name, "object": "model", "created": created, "owned_by": "turnout-sim"}
        for model in profile.models
        if Dialect.OPENAI in model.dialects
    ]
    return msgspec.json.encode({"object": "list", "data": data})


def body(order: Order) -> bytes:
    """A plain answer."""
    answer: dict[str, Any] = {
        "id": _id(order),
        "object": "chat.completion",
        "created": order.created,
        "model": order.ask.model,
        "choices": [
            {
                "index": index,
                "message": {
                    "role": "assistant",
                    "content": words.text,
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": order.finish,
            }
            for index, words in enumerate(order.texts)
        ],
        "service_tier": "default",
        "system_fingerprint": "fp_sim",
    }
    reports = _reports(order)
    if reports:
        answer["usage"] = reports[-1]
    encoded = msgspec.json.encode(answer)
    if order.shape is UsageShape.DUPLICATE:  # the same key twice in one object
        encoded = encoded[:-1] + b',"usage":' + msgspec.json.encode(answer["usage"]) + b"}"
    return encoded


def events(order: Order) -> Iterator[Send]:
    """A streamed answer: role, content, finish, usage if asked for, [DONE]."""
    fixed = (
        f'data: {{"id":"{_id(order)}","object":"chat.completion.chunk","created":{order.created},'
        f'"model":{msgspec.json.encode(order.ask.model).decode()},"service_tier":"default","system_fingerprint":"fp_sim",'
    ).encode()
    tail = b',"usage":null}\n\n' if order.ask.include_usage else b"}\n\n"
    opened = [fixed + b'"choices":[{"index":%d,"delta":' % index for index in range(len(order.texts))]
    for start in opened:
        delta = b'{"role":"assistant","content":"","refusal":null}'
        yield Send(Part.PREAMBLE, start + delta + b',"logprobs":null,"finish_reason":null}]' + tail)
    after = b'},"logprobs":null,"finish_reason":null}]' + tail
    for turn in itertools.zip_longest(*(words.pieces() for words in order.texts)):
        for start, piece in zip(opened, turn, strict=True):
            if piece is not None:
                data = start + b'{"content":' + msgspec.json.encode(piece.text) + after
                yield Send(Part.CONTENT, data, piece.tokens)
    finish = msgspec.json.encode(order.finish)
    for start in opened:
        yield Send(Part.FINISH, start + b'{},"logprobs":null,"finish_reason":' + finish + b"}]" + tail)
    if order.ask.include_usage:
        for report in _reports(order):
            yield Send(Part.USAGE, fixed + b'"choices":[],"usage":' + msgspec.json.encode(report) + b"}\n\n")
    yield Send(Part.DONE, _DONE)


def garbage() -> bytes:
    """A chunk whose fields have other types than the protocol's."""
    return b'data: {"id":7,"object":"chat.completion.chunk","choices":"none","model":[]}\n\n'


def _id(order: Order) -> str:
    return f"chatcmpl-sim{order.number:08d}"


def _reports(order: Order) -> list[dict[str, Any]]:
    """The usage reports in the order they are sent; one, unless scripted otherwise."""
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
            return [right, {**right, "completion_tokens": 0, "total_tokens": right["total_tokens"] + 1}]


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }

"""OpenAI's chat completion request: the fields a client may set, what they cost, and the normal form that is sent on.

A closed list, because a field that is not understood may cost money: what stands here is bounded, harmless or refused
by name, everything else is unknown and refused by name too. Bytes of the client are never patched, always re-encoded.
https://platform.openai.com/docs/api-reference/chat/create, as of the 2026 reference.
"""

from operator import attrgetter
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from turnout_sidecar.dialects import strict
from turnout_sidecar.messages import (
    ChatRequest,
    ClientError,
    Conversation,
    Message,
    RequestFault,
    Role,
    Tool,
    ToolCall,
    ToolChoice,
)

MAX_CHOICES = 16
"""`n`: each choice may use the whole output cap, so this multiplies the cost bound. The vendor's own bound is 128."""


class _Part(Struct, forbid_unknown_fields=True, gc=False):
    type: str
    text: str | UnsetType = UNSET
    refusal: str | UnsetType = UNSET
    # known by name so that the refusal can say why: none of these has a token bound yet
    image_url: Raw | UnsetType = UNSET
    input_audio: Raw | UnsetType = UNSET
    file: Raw | UnsetType = UNSET


class _Function(Struct, forbid_unknown_fields=True, gc=False):
    name: str
    arguments: str


class _ToolCall(Struct, forbid_unknown_fields=True, gc=False):
    id: str
    function: _Function
    type: Literal["function"] = "function"


class _Message(Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Part] | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    tool_calls: list[_ToolCall] | UnsetType | None = UNSET
    tool_call_id: str | UnsetType = UNSET
    refusal: str | UnsetType | None = UNSET
    # what SDKs send back when an answer is replayed as history; empty, so dropped
    annotations: list[Raw] | UnsetType | None = UNSET
    audio: UnsetType | None = UNSET
    function_call: UnsetType | None = UNSET


class _FunctionTool(Struct, forbid_unknown_fields=True, gc=False):
    name: str
    description: str | UnsetType | None = UNSET
    parameters: Raw | UnsetType = UNSET
    strict: bool | UnsetType | None = UNSET


class _Tool(Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["function"]
    function: _FunctionTool


class _Named(Struct, forbid_unknown_fields=True, gc=False):
    name: str


class _NamedTool(Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["function"]
    function: _Named


class StreamOptions(Struct, forbid_unknown_fields=True, gc=False):
    include_usage: bool | UnsetType = UNSET
    include_obfuscation: bool | UnsetType = UNSET


class Request(Struct, forbid_unknown_fields=True, gc=False):
    """The wire form. The last group is refused unless it says what is so anyway, and never sent on."""

    model: str
    messages: list[_Message]
    max_completion_tokens: int | UnsetType | None = UNSET
    max_tokens: int | UnsetType | None = UNSET
    n: int | UnsetType | None = UNSET
    stream: bool | UnsetType | None = UNSET
    stream_options: StreamOptions | UnsetType | None = UNSET

    temperature: float | UnsetType | None = UNSET
    top_p: float | UnsetType | None = UNSET
    stop: str | list[str] | UnsetType | None = UNSET
    seed: int | UnsetType | None = UNSET
    frequency_penalty: float | UnsetType | None = UNSET
    presence_penalty: float | UnsetType | None = UNSET
    logit_bias: dict[str, float] | UnsetType | None = UNSET
    logprobs: bool | UnsetType | None = UNSET
    top_logprobs: int | UnsetType | None = UNSET
    response_format: Raw | UnsetType = UNSET
    tools: list[_Tool] | UnsetType | None = UNSET
    tool_choice: Literal["none", "auto", "required"] | _NamedTool | UnsetType | None = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    reasoning_effort: str | UnsetType | None = UNSET
    verbosity: str | UnsetType | None = UNSET
    user: str | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType | None = UNSET
    prompt_cache_key: str | UnsetType | None = UNSET
    safety_identifier: str | UnsetType | None = UNSET

    service_tier: str | UnsetType | None = UNSET
    store: bool | UnsetType | None = UNSET
    modalities: list[str] | UnsetType | None = UNSET
    prediction: Raw | UnsetType = UNSET
    audio: Raw | UnsetType = UNSET
    web_search_options: Raw | UnsetType = UNSET
    prompt_cache_retention: Raw | UnsetType = UNSET
    functions: Raw | UnsetType = UNSET
    function_call: Raw | UnsetType = UNSET


_decode = msgspec.json.Decoder(Request).decode
_encode = msgspec.json.Encoder().encode

# What a client may still say of a field that is never sent on, and why nothing else.
_REFUSED: tuple[tuple[str, tuple[object, ...], str], ...] = (
    ("service_tier", ("default",), "another tier has another price"),
    ("store", (False,), "stored answers would be kept by the provider"),
    ("modalities", (["text"],), "only text has a cost bound"),
    ("prediction", (), "rejected predictions are billed beyond the output cap"),
    ("audio", (), "audio has no cost bound"),
    ("web_search_options", (), "searches and the pages they read have no cost bound"),
    ("prompt_cache_retention", (), "it may change the price of the input"),
    ("functions", (), "it is deprecated: use `tools`"),
    ("function_call", (), "it is deprecated: use `tool_choice`"),
)
_UNBOUNDED_PARTS = ("image_url", "input_audio", "file")


def decode(body: bytes) -> ChatRequest:
    """Raises `ClientError`."""
    try:
        wire = _decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as e:
        raise strict.decode_error(e) from None
    try:
        echo = _encode(wire)
    except UnicodeEncodeError:
        raise ClientError(RequestFault.INVALID_JSON, "The request holds half a surrogate pair.") from None
    if wire.tools or wire.response_format is not UNSET:
        strict.read(body)  # free-form parts are kept as written, so they are read in full
    else:
        strict.check_names(body, echo)
    if b":null" in echo:
        _drop_nulls(wire)
    return _normalise(wire)


def encode(request: ChatRequest, model: str, max_output: int) -> bytes:
    """The request for one candidate: exactly one output cap, and usage always asked for."""
    wire = request.native
    assert isinstance(wire, Request)
    wire.model = model
    wire.max_completion_tokens = max_output
    return _encode(wire)


def conversation(request: ChatRequest) -> Conversation:
    wire = request.native
    assert isinstance(wire, Request)
    return Conversation(
        messages=tuple(_neutral_message(m) for m in wire.messages),
        tools=tuple(_neutral_tool(t.function) for t in wire.tools or ()),
        tool_choice=_neutral_choice(wire),
        temperature=wire.temperature or (0.0 if wire.temperature == 0 else None),
        top_p=wire.top_p or (0.0 if wire.top_p == 0 else None),
        stop=(wire.stop,) if isinstance(wire.stop, str) else tuple(wire.stop or ()),
        user=wire.user or "",
        answers=request.answers,
        only_here=tuple(name for name in _ONLY_HERE if getattr(wire, name)),
    )


# Set to something, these change the answer and have no neutral word (yet).
_ONLY_HERE = (
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "top_logprobs",
    "verbosity",
)


def _normalise(wire: Request) -> ChatRequest:
    if _facts(wire) != _NOT_SENT_ON:
        _drop_harmless(wire)
    if not wire.messages:
        raise ClientError(RequestFault.INVALID_VALUE, "'messages' is empty.", "messages")
    for index, message in enumerate(wire.messages):
        _normalise_message(message, index)
    stream = wire.stream is True
    wants_usage = stream and bool(wire.stream_options) and wire.stream_options.include_usage is True  # type: ignore[union-attr]
    cap = _output_cap(wire)
    answers = _choices(wire)
    wire.max_tokens = wire.max_completion_tokens = UNSET
    wire.stream = True if stream else UNSET
    wire.stream_options = _METERED if stream else UNSET
    return ChatRequest(
        model=wire.model,
        stream=stream,
        wants_usage=wants_usage,
        max_output=cap,
        answers=answers,
        messages=len(wire.messages),
        tools=len(wire.tools or ()),
        normal=_encode(wire),
        native=wire,
    )


# one C call in place of nine look-ups for the usual request, which sets none of these
_facts = attrgetter(*(name for name, _, _ in _REFUSED))
_NOT_SENT_ON = (UNSET,) * len(_REFUSED)


def _drop_harmless(wire: Request) -> None:
    for name, harmless, why in _REFUSED:
        value = getattr(wire, name)
        nothing = value is UNSET or value is None or (isinstance(value, Raw) and bytes(value) == b"null")
        if not nothing and value not in harmless:
            raise ClientError(RequestFault.UNSUPPORTED_PARAMETER, f"'{name}' is not offered: {why}.", name)
        setattr(wire, name, UNSET)


_METERED = StreamOptions(include_usage=True)


def _normalise_message(message: _Message, index: int) -> None:
    content = message.content
    if isinstance(content, list):
        for at, part in enumerate(content):
            _check_part(part, f"messages[{index}].content[{at}]")
    elif message.role in ("user", "system", "developer", "tool") and not isinstance(content, str):
        param = f"messages[{index}].content"
        raise ClientError(RequestFault.MISSING_PARAMETER, f"Missing required parameter: '{param}'.", param)
    if message.role == "tool" and message.tool_call_id is UNSET:
        param = f"messages[{index}].tool_call_id"
        raise ClientError(RequestFault.MISSING_PARAMETER, f"Missing required parameter: '{param}'.", param)
    if message.name is None:
        message.name = UNSET
    if not message.tool_calls:
        message.tool_calls = UNSET
    if message.refusal is None:
        message.refusal = UNSET
    message.annotations = message.audio = message.function_call = UNSET


def _check_part(part: _Part, where: str) -> None:
    if part.type in _UNBOUNDED_PARTS:
        raise ClientError(
            RequestFault.UNSUPPORTED_PARAMETER,
            f"'{where}': parts of type {part.type} are not offered: they have no token bound. Send text.",
            where,
        )
    if (part.type == "text" and isinstance(part.text, str)) or (
        part.type == "refusal" and isinstance(part.refusal, str)
    ):
        return
    raise ClientError(RequestFault.INVALID_VALUE, f"'{where}' is no text part.", where)


def _output_cap(wire: Request) -> int | None:
    """The lowest of the two caps: a client that sends both must not be charged by one and served by the other."""
    caps = [cap for cap in (wire.max_completion_tokens, wire.max_tokens) if isinstance(cap, int)]
    if caps and min(caps) < 1:
        name = "max_tokens" if wire.max_tokens == min(caps) else "max_completion_tokens"
        raise ClientError(RequestFault.INVALID_VALUE, f"'{name}' must be at least 1.", name)
    return min(caps, default=None)


def _choices(wire: Request) -> int:
    choices = wire.n if isinstance(wire.n, int) else 1
    if not 1 <= choices <= MAX_CHOICES:
        raise ClientError(RequestFault.INVALID_VALUE, f"'n' must be between 1 and {MAX_CHOICES}.", "n")
    return choices


_NULLABLE = tuple(
    name
    for name in Request.__struct_fields__
    if name not in ("model", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options")
)


def _drop_nulls(wire: Request) -> None:
    for name in _NULLABLE:
        if getattr(wire, name) is None:
            setattr(wire, name, UNSET)


def _neutral_message(wire: _Message) -> Message:
    content = wire.content
    if isinstance(content, list):
        content = "".join((p.text or p.refusal or "") for p in content)
    return Message(
        role=Role.SYSTEM if wire.role == "developer" else Role(wire.role),
        text=content or wire.refusal or "",
        tool_calls=tuple(
            ToolCall(id=c.id, name=c.function.name, arguments=c.function.arguments) for c in wire.tool_calls or ()
        ),
        tool_call_id=wire.tool_call_id or "",
    )


def _neutral_tool(wire: _FunctionTool) -> Tool:
    parameters = b'{"type":"object"}' if wire.parameters is UNSET else bytes(wire.parameters)
    return Tool(name=wire.name, description=wire.description or "", parameters=parameters)


def _neutral_choice(wire: Request) -> ToolChoice | None:
    choice = wire.tool_choice
    parallel = wire.parallel_tool_calls is not False
    if isinstance(choice, _NamedTool):
        return ToolChoice(mode="named", name=choice.function.name, parallel=parallel)
    if choice is UNSET or choice is None:
        return None if parallel else ToolChoice(mode="auto", parallel=False)
    return ToolChoice(mode=choice, parallel=parallel)

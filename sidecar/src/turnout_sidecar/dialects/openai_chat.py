"""OpenAI chat completions, both ways: to clients and from providers. The wire's fields are in `openai_wire`."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from turnout_sidecar.dialects import openai_request, openai_wire, sse
from turnout_sidecar.messages import (
    ChatRequest,
    Choice,
    Chunk,
    Completion,
    Conversation,
    Finish,
    Headers,
    ListedModel,
    Malformed,
    Message,
    ProviderError,
    ProviderErrorKind,
    Refusal,
    Tool,
    ToolCall,
    ToolChoice,
    ToolDelta,
    Usage,
)
from turnout_sidecar.policy.units import Tokens

DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.Encoder().encode
_decode_chunk = msgspec.json.Decoder(openai_wire.WireChunk).decode
_decode_name = msgspec.json.Decoder(openai_wire.ChunkName).decode


class OpenAIChat:
    """`ClientDialect` and `ProviderDialect` at once."""

    name = "openai"
    headers: Headers = ((b"content-type", b"application/json"),)
    # Reasoning models bill tokens that no chunk shows, and nothing in the stream tells which models those are.
    shows_all_output = False

    # To clients

    def decode_request(self, body: bytes) -> ChatRequest:
        return openai_request.decode(body)

    def conversation(self, request: ChatRequest) -> Conversation:
        return openai_request.conversation(request)

    def encode_completion(self, completion: Completion, signal: bytes) -> bytes:
        body = _encode(
            {
                "id": completion.id,
                "object": "chat.completion",
                "created": completion.created,
                "model": completion.model,
                "choices": [_wire_choice(index, choice) for index, choice in enumerate(completion.choices)],
                "usage": wire_usage(completion.usage) if completion.usage is not None else None,
            }
        )
        return signalled(body, signal)

    def stream_encoder(self, wants_usage: bool, signal: bytes, created: int) -> "ChunkEncoder":
        return ChunkEncoder(wants_usage, signal, created)

    def encode_error(self, refusal: Refusal, signal: bytes) -> bytes:
        return signalled(_encode({"error": wire_error(refusal)}), signal)

    def encode_models(self, models: Sequence[ListedModel]) -> bytes:
        listed = [{"id": m.id, "object": "model", "created": 0, "owned_by": m.owner} for m in models]
        return _encode({"object": "list", "data": listed})

    # From providers

    def path(self, base: str) -> str:
        return base + "/chat/completions"

    def overhead(self, messages: int, tools: int) -> Tokens:
        """Four tokens frame a message and three start the answer (OpenAI's cookbook); the JSON around a text has more bytes
        than that, but short roles and merged tokens are not ours to count on. The tool prompt is a guess on the safe side."""
        return Tokens(4 * messages + 3 + (64 + 16 * tools if tools else 0))

    def encode_request(self, conversation: Conversation, model: str, max_output: Tokens, stream: bool) -> bytes:
        wire: dict[str, object] = {
            "model": model,
            "messages": [_wire_message(m) for m in conversation.messages],
            "max_completion_tokens": max_output,
        }
        if conversation.tools:
            wire["tools"] = [_wire_tool(t) for t in conversation.tools]
        if conversation.tool_choice is not None:
            wire |= _wire_choice_of_tool(conversation.tool_choice)
        settings = {
            "temperature": conversation.temperature,
            "top_p": conversation.top_p,
            "stop": list(conversation.stop) or None,
            "user": conversation.user or None,
            "n": conversation.answers if conversation.answers != 1 else None,
        }
        wire |= {name: value for name, value in settings.items() if value is not None}
        if stream:
            wire |= {"stream": True, "stream_options": {"include_usage": True}}
        return _encode(wire)

    def decode_answer(self, body: bytes) -> Completion | ProviderError:
        if (error := openai_wire.error_in(body)) is not None:
            return error
        wire = openai_wire.completion(body)
        return Completion(
            id=wire.id,
            model=wire.model,
            created=wire.created,
            choices=tuple(_neutral_choice(c) for c in wire.choices),
            usage=openai_wire.usage(wire.usage) if wire.usage is not None else None,
        )

    def stream_decoder(self) -> "ChunkDecoder":
        return ChunkDecoder()

    def decode_error(self, status: int, body: bytes) -> ProviderError:
        kind = ProviderErrorKind.REQUEST if status < 500 else ProviderErrorKind.SERVER
        found = openai_wire.error_in(body)
        if found is None:
            return ProviderError(kind=kind)
        return msgspec.structs.replace(found, kind=kind)


class ChunkDecoder:
    """Any cuts of an OpenAI stream -> neutral chunks."""

    def __init__(self) -> None:
        self._events = sse.Parser()

    def feed(self, data: bytes) -> Iterator[Chunk]:
        for name, payload in self._events.feed(data):
            yield from read_event(name, payload)


def read_event(name: str, payload: bytes) -> list[Chunk]:
    """Raises `Malformed`. Several choices of one event are several chunks."""
    if payload == b"[DONE]":
        return [Chunk(done=True)]
    if not payload:
        return []
    if name == "error":
        return [Chunk(error=openai_wire.error_in(payload) or openai_wire.raw_error(payload))]
    try:
        wire = _decode_chunk(payload)
        named = _decode_name(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as e:
        if (error := openai_wire.error_in(payload)) is not None:
            return [Chunk(error=error)]
        raise Malformed(str(e)) from None
    if wire.error is not None:
        return [Chunk(error=openai_wire.raw_error(bytes(wire.error)))]
    usage = openai_wire.usage(wire.usage) if wire.usage is not None else None
    chunks = [chunk for choice in wire.choices for chunk in _neutral_deltas(named, choice)]
    if usage is not None or not chunks:
        chunks.append(Chunk(id=named.id, model=named.model, usage=usage))
    return chunks


class ChunkEncoder:
    """Neutral chunks -> an OpenAI stream. Usage comes in an event of its own, after the finish, if the client asked for it."""

    def __init__(self, wants_usage: bool, signal: bytes, created: int) -> None:
        self._wants_usage = wants_usage
        self._signal = signal
        self._created = created
        self._id = ""
        self._model = ""
        self._usage: Usage | None = None
        self._begun = False
        self._finishes: dict[int, str] = {}  # told in `close`, where the last object is known to be the last

    def encode(self, chunk: Chunk) -> bytes:
        self._id = chunk.id or self._id
        self._model = chunk.model or self._model
        self._usage = chunk.usage or self._usage
        if chunk.finish:
            self._finishes[chunk.index] = chunk.finish
        delta: dict[str, object] = {}
        if chunk.text:
            delta["content"] = chunk.text
        if chunk.refusal:
            delta["refusal"] = chunk.refusal
        if chunk.tool is not None:
            delta["tool_calls"] = [_wire_tool_delta(chunk.tool)]
        if not delta:
            return b""
        if self._begun:
            return self._event({"choices": [_wire_delta(chunk.index, delta, None)]})
        self._begun = True
        return self._first() + self._event({"choices": [_wire_delta(chunk.index, delta, None)]})

    def close(self) -> bytes:
        first = b"" if self._begun else self._first()
        finishes = self._finishes or {0: Finish.STOP}
        lasts: list[dict[str, object]] = [{"choices": [_wire_delta(i, {}, f)]} for i, f in sorted(finishes.items())]
        if self._wants_usage:
            lasts.append({"choices": [], "usage": wire_usage(self._usage) if self._usage is not None else None})
        events = [self._event(fields) for fields in lasts[:-1]]
        return first + b"".join(events) + self._event(lasts[-1], self._signal) + DONE

    def error(self, refusal: Refusal, signal: bytes) -> bytes:
        broken: dict[str, object] = {"choices": [_wire_delta(0, {}, "error")], "error": wire_error(refusal)}
        return self._event(broken, signal)

    def _first(self) -> bytes:
        return self._event({"choices": [_wire_delta(0, {"role": "assistant", "content": ""}, None)]}, self._signal)

    def _event(self, fields: Mapping[str, object], signal: bytes = b"") -> bytes:
        head = {"id": self._id, "object": "chat.completion.chunk", "created": self._created, "model": self._model}
        return b"data: " + signalled(_encode({**head, **fields}), signal) + b"\n\n"


def signalled(body: bytes, signal: bytes) -> bytes:
    """`body`, a JSON object that is not empty, with the `turnout` field in front."""
    if not signal:
        return body
    return b'{"turnout":' + signal + b"," + body.lstrip()[1:]


def wire_error(refusal: Refusal) -> dict[str, object]:
    return {"message": refusal.message, "type": refusal.type, "param": refusal.param or None, "code": refusal.code}


def wire_usage(usage: Usage) -> dict[str, object]:
    return {
        "prompt_tokens": usage.all_input,
        "completion_tokens": usage.output,
        "total_tokens": usage.all_input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _wire_choice(index: int, choice: Choice) -> dict[str, object]:
    message: dict[str, object] = {
        "role": "assistant",
        "content": choice.text or None,
        "refusal": choice.refusal or None,
    }
    if choice.tool_calls:
        message["tool_calls"] = [_wire_tool_call(c) for c in choice.tool_calls]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": choice.finish}


def _wire_delta(index: int, delta: dict[str, object], finish: str | None) -> dict[str, object]:
    return {"index": index, "delta": delta, "finish_reason": finish}


def _wire_tool_delta(tool: ToolDelta) -> dict[str, object]:
    function: dict[str, object] = {"arguments": tool.arguments}
    if not tool.id:
        return {"index": tool.index, "function": function}
    function["name"] = tool.name
    return {"index": tool.index, "id": tool.id, "type": "function", "function": function}


def _wire_tool_call(call: ToolCall) -> dict[str, object]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _wire_message(message: Message) -> dict[str, object]:
    wire: dict[str, object] = {"role": message.role, "content": message.text}
    if message.tool_calls:
        wire["tool_calls"] = [_wire_tool_call(c) for c in message.tool_calls]
    if message.tool_call_id:
        wire["tool_call_id"] = message.tool_call_id
    return wire


def _wire_tool(tool: Tool) -> dict[str, object]:
    function = {"name": tool.name, "description": tool.description, "parameters": msgspec.Raw(tool.parameters)}
    return {"type": "function", "function": function}


def _wire_choice_of_tool(choice: ToolChoice) -> dict[str, object]:
    wire: dict[str, object] = {}
    if choice.mode == "named":
        wire["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    else:
        wire["tool_choice"] = choice.mode
    if not choice.parallel:
        wire["parallel_tool_calls"] = False
    return wire


def _neutral_choice(wire: openai_wire.WireChoice) -> Choice:
    calls = tuple(
        ToolCall(id=c.id or "", name=c.function.name or "", arguments=c.function.arguments or "")
        for c in wire.message.tool_calls or ()
        if c.function is not None
    )
    return Choice(
        text=wire.message.content or "",
        tool_calls=calls,
        refusal=wire.message.refusal or "",
        finish=wire.finish_reason or Finish.STOP,
    )


def _neutral_deltas(named: openai_wire.ChunkName, wire: openai_wire.WireDelta) -> list[Chunk]:
    delta = wire.delta
    chunk = Chunk(
        id=named.id,
        model=named.model,
        index=wire.index,
        text=delta.content or "",
        refusal=delta.refusal or "",
        finish=wire.finish_reason or "",
    )
    calls = [
        Chunk(id=named.id, model=named.model, index=wire.index, tool=_neutral_tool_delta(call))
        for call in delta.tool_calls or ()
    ]
    return [*calls, chunk] if chunk.text or chunk.refusal or chunk.finish or not calls else calls


def _neutral_tool_delta(call: openai_wire.WireToolCall) -> ToolDelta:
    function = call.function or openai_wire.WireFunction()
    return ToolDelta(index=call.index, id=call.id or "", name=function.name or "", arguments=function.arguments or "")

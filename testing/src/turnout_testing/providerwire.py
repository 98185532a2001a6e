"""What providers put on the wire, for scenarios: each event of the script in the dialect of the attempt's provider."""

import json
from collections.abc import Mapping
from typing import Protocol


class Wire(Protocol):
    """One provider's words. Each method gives the bytes of one event."""

    def role(self) -> bytes: ...

    def chunk(self, text: str) -> bytes: ...

    def tool(self, name: str, arguments: str) -> bytes: ...

    def finish(self, reason: str) -> bytes: ...

    def usage(self, input_tokens: int, output_tokens: int) -> bytes: ...

    def done(self) -> bytes: ...

    def answer(self, text: str, usage: tuple[int, int] | None, model: str) -> bytes: ...

    def error(self, type_: str) -> bytes:
        """an error event"""
        ...

    def refusal(self, type_: str) -> bytes:
        """an error body"""
        ...


def wire(dialect: str, model: str) -> Wire:
    return _Anthropic(model) if dialect == "Anthropic" else _OpenAI(model)


class _OpenAI:
    def __init__(self, model: str) -> None:
        self._model = model

    def role(self) -> bytes:
        return self._event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])

    def chunk(self, text: str) -> bytes:
        return self._event([{"index": 0, "delta": {"content": text}, "finish_reason": None}])

    def tool(self, name: str, arguments: str) -> bytes:
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
        return self._event([{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}])

    def finish(self, reason: str) -> bytes:
        return self._event([{"index": 0, "delta": {}, "finish_reason": reason or "stop"}])

    def usage(self, input_tokens: int, output_tokens: int) -> bytes:
        return self._event([], usage=_usage(input_tokens, output_tokens))

    def done(self) -> bytes:
        return b"data: [DONE]\n\n"

    def answer(self, text: str, usage: tuple[int, int] | None, model: str) -> bytes:
        document: dict[str, object] = {
            "id": "c1",
            "object": "chat.completion",
            "created": 7,
            "model": model or self._model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        }
        if usage is not None:
            document["usage"] = _usage(*usage)
        return json.dumps(document).encode()

    def error(self, type_: str) -> bytes:
        return b"data: " + self.refusal(type_) + b"\n\n"

    def refusal(self, type_: str) -> bytes:
        words = "Incorrect API key provided: sk-secret-123 for org-secret"
        return json.dumps({"error": {"message": words, "type": type_, "param": "messages", "code": None}}).encode()

    def _event(self, choices: list[object], **more: object) -> bytes:
        head = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": self._model, "choices": choices}
        return b"data: " + json.dumps(head | more, separators=(",", ":")).encode() + b"\n\n"


class _Anthropic:
    def __init__(self, model: str) -> None:
        self._model = model

    def role(self) -> bytes:
        usage = {"input_tokens": 9, "output_tokens": 1}
        message: dict[str, object] = {"id": "m1", "type": "message", "model": self._model, "usage": usage}
        start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        return self._event({"type": "message_start", "message": message}) + self._event(start)

    def chunk(self, text: str) -> bytes:
        delta = {"type": "text_delta", "text": text}
        return self._event({"type": "content_block_delta", "index": 0, "delta": delta})

    def tool(self, name: str, arguments: str) -> bytes:
        block = {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": arguments}
        return self._event({"type": "content_block_start", "index": 1, "content_block": block}) + self._event(
            {"type": "content_block_delta", "index": 1, "delta": delta}
        )

    def finish(self, reason: str) -> bytes:
        stop = self._event({"type": "content_block_stop", "index": 0})
        delta = {"type": "message_delta", "delta": {"stop_reason": reason or "end_turn"}, "usage": {"output_tokens": 1}}
        return stop + self._event(delta)

    def usage(self, input_tokens: int, output_tokens: int) -> bytes:
        usage = {"input_tokens": input_tokens, "output_tokens": output_tokens}
        return self._event({"type": "message_delta", "delta": {"stop_reason": None}, "usage": usage})

    def done(self) -> bytes:
        return self._event({"type": "message_stop"})

    def answer(self, text: str, usage: tuple[int, int] | None, model: str) -> bytes:
        document: dict[str, object] = {
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "model": model or self._model,
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
        }
        if usage is not None:
            document["usage"] = {"input_tokens": usage[0], "output_tokens": usage[1]}
        return json.dumps(document).encode()

    def error(self, type_: str) -> bytes:
        return b"event: error\ndata: " + self.refusal(type_) + b"\n\n"

    def refusal(self, type_: str) -> bytes:
        words = "invalid x-api-key sk-secret-123"
        return json.dumps({"type": "error", "error": {"type": type_, "message": words}}).encode()

    def _event(self, document: Mapping[str, object]) -> bytes:
        return b"event: " + str(document["type"]).encode() + b"\ndata: " + json.dumps(document).encode() + b"\n\n"


def _usage(input_tokens: int, output_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }

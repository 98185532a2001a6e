"""What is asked and answered: the same bytes for every proxy."""

import json

CHUNKS = 100
_ASK = "Tell me something about budgets. " * 30
_WORDS = "Hello! How can I help you today? This is a canned answer that measures what stands between a client and a provider."


def request(model: str, *, stream: bool) -> bytes:
    """A chat completion of 1.1 kB."""
    document: dict[str, object] = {
        "model": model,
        "messages": [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": _ASK}],
        "max_tokens": 128,
    }
    if stream:
        document |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(document).encode()


def plain() -> bytes:
    """The whole answer, with its usage."""
    choice = {"index": 0, "message": {"role": "assistant", "content": _WORDS}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 230, "completion_tokens": 27, "total_tokens": 257}
    return json.dumps(_base("chat.completion") | {"choices": [choice], "usage": usage}).encode()


def stream() -> bytes:
    """The same as a stream of `CHUNKS` events with content, one with the reason it ended, one with usage."""
    head = _base("chat.completion.chunk")
    events = [head | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}]
    for index in range(CHUNKS):
        delta = {"content": f" word{index}"}
        events.append(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    events.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = {"prompt_tokens": 230, "completion_tokens": CHUNKS, "total_tokens": 230 + CHUNKS}
    events.append(head | {"choices": [], "usage": usage})
    lines = [b"data: " + json.dumps(event, separators=(",", ":")).encode() for event in events]
    return b"\n\n".join([*lines, b"data: [DONE]"]) + b"\n\n"


def _base(kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "bench-model"}

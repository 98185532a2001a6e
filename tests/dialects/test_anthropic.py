"""Anthropic's answers, in any cuts, as an OpenAI client gets them; judged by OpenAI's own types."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from turnout_sidecar.dialects.anthropic import Anthropic
from turnout_sidecar.dialects.passages import OPENAI_CLIENTS, passages
from turnout_sidecar.messages import ChatRequest, Malformed, Passage, ProviderErrorKind, Unsayable, Usage
from turnout_sidecar.policy.model import Dialect
from turnout_sidecar.policy.units import Tokens

PASSAGE: Passage = passages(OPENAI_CLIENTS)[Dialect.ANTHROPIC]


def request(**fields: object) -> ChatRequest:
    document = {"model": "m", "messages": [{"role": "user", "content": "x"}]} | fields
    return OPENAI_CLIENTS.decode_request(json.dumps(document).encode())


STREAMED = request(stream=True, stream_options={"include_usage": True})


def event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n".encode()


START = event(
    "message_start",
    message={
        "id": "m1",
        "model": "claude-1",
        "usage": {"input_tokens": 9, "cache_read_input_tokens": 3, "output_tokens": 1},
    },
)
PING = event("ping")
TEXT = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
HEL = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hel"})
LO = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "lo é"})
TOOL = event(
    "content_block_start", index=1, content_block={"type": "tool_use", "id": "t1", "name": "look", "input": {}}
)
ARGS = event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"q":'})
MORE = event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": "1}"})
STOP = event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 7})
END = event("message_stop")
UNKNOWN = event("something_new", index=3)
WHOLE = START + PING + TEXT + HEL + LO + UNKNOWN + TOOL + ARGS + MORE + STOP + END
SEEN = Usage(input=Tokens(9), cached_input=Tokens(3), output=Tokens(7))


def chunks(out: bytes) -> list[ChatCompletionChunk]:
    events = [e.removeprefix(b"data: ") for e in out.split(b"\n\n") if e]
    assert events[-1] == b"[DONE]"
    return [ChatCompletionChunk.model_validate_json(e, strict=True) for e in events[:-1]]


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12).map(lambda found: [0, *sorted(found), len(WHOLE)]))
def test_a_stream_in_any_cuts_becomes_one_of_openais(places: list[int]) -> None:
    relay = PASSAGE.relay(STREAMED, b"")
    out = chunks(b"".join(relay.feed(WHOLE[a:b]) for a, b in itertools.pairwise(places)))
    assert "".join(c.choices[0].delta.content or "" for c in out if c.choices) == "Hello é"
    calls = [call for c in out if c.choices for call in c.choices[0].delta.tool_calls or ()]
    assert [call.function.name for call in calls if call.function and call.function.name] == ["look"]
    assert "".join(call.function.arguments or "" for call in calls if call.function) == '{"q":1}'
    assert [c.choices[0].finish_reason for c in out if c.choices and c.choices[0].finish_reason] == ["tool_calls"]
    assert out[-1].usage is not None
    assert (out[-1].usage.prompt_tokens, out[-1].usage.completion_tokens) == (12, 7)
    assert {c.model for c in out} == {"claude-1"}
    assert relay.usage == SEEN, "cumulative counts: the largest, never the sum"


def test_a_stream_byte_by_byte_becomes_the_same() -> None:
    whole, bytewise = PASSAGE.relay(STREAMED, b""), PASSAGE.relay(STREAMED, b"")
    assert b"".join(bytewise.feed(bytes([byte])) for byte in WHOLE) == whole.feed(WHOLE)


def test_what_precedes_content_is_no_content() -> None:
    relay = PASSAGE.relay(STREAMED, b"")
    assert relay.feed(START + PING + TEXT) == b""
    assert not relay.content
    assert relay.feed(HEL)
    assert relay.content


BROKEN: dict[str, bytes] = {
    "no JSON": b"data: {]\n\n",
    "no type": b"data: {}\n\n",
    "a delta without content": b'data: {"type":"content_block_delta","index":0}\n\n',
    "tool input for a text block": event(
        "content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": "{}"}
    ),
    "text of the wrong type": event("content_block_delta", index=0, delta={"type": "text_delta", "text": 7}),
}


@pytest.mark.parametrize("bad", BROKEN.values(), ids=list(BROKEN))
def test_a_malformed_event_is_noticed_and_what_came_before_is_kept(bad: bytes) -> None:
    relay = PASSAGE.relay(STREAMED, b"")
    out = relay.feed(START + TEXT + HEL + bad + LO)
    assert relay.malformed
    assert b"Hel" in out
    assert b"lo" not in out


def test_an_error_event_is_noticed() -> None:
    relay = PASSAGE.relay(STREAMED, b"")
    relay.feed(START + event("error", error={"type": "overloaded_error", "message": "sk-ant-secret"}))
    assert relay.error is not None
    assert relay.error.kind is ProviderErrorKind.OVERLOADED


def test_a_plain_answer_becomes_one_of_openais() -> None:
    body = {
        "id": "m1",
        "type": "message",
        "model": "claude-1",
        "content": [
            {"type": "text", "text": "Hello"},
            {"type": "tool_use", "id": "t1", "name": "look", "input": {"q": 1}},
        ],
        "stop_reason": "max_tokens",
        "usage": {"input_tokens": 9, "output_tokens": 2},
    }
    answered = PASSAGE.answer(json.dumps(body).encode(), request(), b"")
    completion = ChatCompletion.model_validate_json(answered.body, strict=True)
    assert completion.choices[0].message.content == "Hello"
    assert completion.choices[0].finish_reason == "length"
    assert completion.choices[0].message.tool_calls is not None
    assert answered.usage == Usage(input=Tokens(9), output=Tokens(2))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"type":"list"}', b'{"type":"message","content":7}', b"\xff"])
def test_an_answer_that_is_none_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        PASSAGE.answer(body, request(), b"")


def test_cache_writes_are_told_apart_and_what_does_not_add_up_is_read_as_the_dearest() -> None:
    usage = {
        "input_tokens": 5,
        "output_tokens": 1,
        "cache_creation_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 20},
    }
    body = {"id": "m", "type": "message", "model": "c", "content": [], "stop_reason": "end_turn", "usage": usage}
    answered = PASSAGE.answer(json.dumps(body).encode(), request(), b"")
    assert answered.usage is not None
    assert (answered.usage.cache_write_5m, answered.usage.cache_write_1h) == (30, 70)


CONVERSATION = [
    {"role": "system", "content": "Be short."},
    {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
    {"role": "user", "content": "What is 1?"},
    {"role": "user", "content": "Look it up."},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"q":1}'}}],
    },
    {"role": "tool", "tool_call_id": "t1", "content": "one"},
]
TOOLS = [{"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}]


def test_a_conversation_is_said_in_turns() -> None:
    asked = request(messages=CONVERSATION, tools=TOOLS, tool_choice="required", temperature=0, stop="END", user="u1")
    said = json.loads(PASSAGE.encode(asked, "claude-1", Tokens(50)))
    assert said == {
        "model": "claude-1",
        "max_tokens": 50,
        "system": "Be short.\n\nBe kind.",
        "temperature": 0.0,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"},
        "tool_choice": {"type": "any"},
        "tools": [{"name": "look", "description": "d", "input_schema": {"type": "object"}}],
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "What is 1?"}, {"type": "text", "text": "Look it up."}],
            },
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"q": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "one"}]},
        ],
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"seed": 4}, "seed"),
        ({"n": 2}, "n"),
        ({"temperature": 1.5}, "temperature"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
    ],
    ids=lambda value: str(value),
)
def test_what_cannot_be_said_is_not_left_out_silently(fields: dict[str, object], param: str) -> None:
    with pytest.raises(Unsayable) as told:
        PASSAGE.encode(request(**fields), "claude-1", Tokens(50))
    assert told.value.param == param


def test_the_path_stands_below_the_version_once() -> None:
    assert Anthropic().path("/v1") == "/v1/messages"
    assert Anthropic().path("") == "/v1/messages"
    assert Anthropic().path("/anthropic") == "/anthropic/v1/messages"

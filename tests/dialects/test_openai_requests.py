"""What clients may ask, what it becomes, and a table of hostile bodies."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_sidecar.core.normalise import EXACT, token_bound
from turnout_sidecar.dialects.passages import OPENAI_CLIENTS, passages
from turnout_sidecar.messages import ClientError, RequestFault
from turnout_sidecar.policy.model import Dialect
from turnout_sidecar.policy.units import Tokens

PASSAGE = passages(OPENAI_CLIENTS)[Dialect.OPENAI]
USER = {"role": "user", "content": "x"}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [USER]} | fields).encode()


def sent(raw: bytes) -> dict[str, Any]:
    """What a provider would get for it."""
    document: dict[str, Any] = json.loads(PASSAGE.encode(OPENAI_CLIENTS.decode_request(raw), "gpt", Tokens(64)))
    return document


def test_exactly_one_cap_is_sent_and_the_model_is_the_candidates() -> None:
    assert sent(body(max_tokens=4096, max_completion_tokens=1)) == {
        "model": "gpt",
        "messages": [USER],
        "max_completion_tokens": 64,
    }


@pytest.mark.parametrize(
    ("fields", "cap"),
    [
        ({"max_tokens": 4096, "max_completion_tokens": 1}, 1),
        ({"max_tokens": 5, "max_completion_tokens": 4096}, 5),
        ({"max_tokens": None}, None),
        ({}, None),
    ],
)
def test_the_lowest_cap_counts(fields: dict[str, Any], cap: int | None) -> None:
    assert OPENAI_CLIENTS.decode_request(body(**fields)).max_output == cap


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": True}])
def test_usage_is_always_asked_for(options: object) -> None:
    fields = {} if options is None else {"stream_options": options}
    assert sent(body(stream=True, **fields))["stream_options"] == {"include_usage": True}


def test_whoever_asks_for_usage_is_remembered() -> None:
    asked = OPENAI_CLIENTS.decode_request(body(stream=True, stream_options={"include_usage": True}))
    assert asked.wants_usage
    assert not OPENAI_CLIENTS.decode_request(body(stream=True, stream_options={"include_usage": False})).wants_usage


def test_harmless_settings_go_through_and_nulls_do_not() -> None:
    fields = {
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["a"],
        "seed": 3,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "user": "u",
        "metadata": {"k": "v"},
        "reasoning_effort": "low",
        "logit_bias": {"50256": -100},
    }
    assert sent(body(**fields, presence_penalty=None)).items() >= fields.items()
    assert "presence_penalty" not in sent(body(presence_penalty=None))


def test_what_says_what_is_so_anyway_is_taken_and_not_sent_on() -> None:
    fields = {"service_tier": "default", "store": False, "modalities": ["text"], "prediction": None, "audio": None}
    assert sent(body(**fields)).keys() == {"model", "messages", "max_completion_tokens"}


def test_an_answer_replayed_as_history_is_taken() -> None:
    answer: dict[str, object] = {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
    }
    assert sent(body(messages=[USER, answer, USER]))["messages"][1] == {"role": "assistant", "content": "Hi"}


def test_a_string_in_another_spelling_is_the_same_string() -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":"\\u00e9 \\ud83d\\ude00 \\/"}]}'
    assert sent(raw)["messages"][0]["content"] == "é 😀 /"


DEEP = b"[" * 5_000 + b"]" * 5_000
# what it is called, the bytes, the fault, and the parameter at fault
HOSTILE: dict[str, tuple[bytes, RequestFault, str]] = {
    "empty": (b"", RequestFault.INVALID_JSON, ""),
    "no JSON": (b"{", RequestFault.INVALID_JSON, ""),
    "two values": (body() + body(), RequestFault.INVALID_JSON, ""),
    "no object": (b"[]", RequestFault.INVALID_VALUE, ""),
    "no UTF-8": (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', RequestFault.INVALID_JSON, ""),
    "half a surrogate pair": (
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        RequestFault.INVALID_JSON,
        "",
    ),
    "NaN": (body()[:-1] + b',"temperature":NaN}', RequestFault.INVALID_JSON, ""),
    "infinity": (body()[:-1] + b',"temperature":1e999}', RequestFault.INVALID_VALUE, "temperature"),
    "a name twice": (b'{"model":"m","model":"m","messages":[]}', RequestFault.INVALID_JSON, "model"),
    "a name twice, spaced": (body()[:-1] + b',"n" :1,"n":9}', RequestFault.INVALID_JSON, "n"),
    "a name twice, escaped": (body()[:-1] + b',"n":1,"\\u006e":9}', RequestFault.INVALID_JSON, "n"),
    "a name twice, made up for by a quote": (
        b'{"model":"m","messages":[{"role":"user","content":"\\u0022:"}],"n":1,"n":9}',
        RequestFault.INVALID_JSON,
        "n",
    ),
    "a name twice in a message": (
        b'{"model":"m","messages":[{"role":"user","content":"x","content":"y"}]}',
        RequestFault.INVALID_JSON,
        "content",
    ),
    "a name twice in a schema": (
        body()[:-1] + b',"response_format":{"type":"a","type":"b"}}',
        RequestFault.INVALID_JSON,
        "type",
    ),
    "deep in a schema": (body()[:-1] + b',"response_format":' + DEEP + b"}", RequestFault.INVALID_JSON, ""),
    "deep in place of messages": (b'{"model":"m","messages":' + DEEP + b"}", RequestFault.INVALID_VALUE, "messages[0]"),
    "too many names": (
        body(metadata={f"k{i}": "v" for i in range(10_001)}),
        RequestFault.INVALID_JSON,
        "",
    ),
    "an unknown parameter": (body(foo=1), RequestFault.UNKNOWN_PARAMETER, "foo"),
    "an unknown parameter in a message": (
        body(messages=[USER | {"cache_control": {}}]),
        RequestFault.UNKNOWN_PARAMETER,
        "messages[0].cache_control",
    ),
    "no model": (b'{"messages":[]}', RequestFault.MISSING_PARAMETER, "model"),
    "no messages": (b'{"model":"m"}', RequestFault.MISSING_PARAMETER, "messages"),
    "empty messages": (body(messages=[]), RequestFault.INVALID_VALUE, "messages"),
    "a role of one's own": (
        body(messages=[{"role": "root", "content": "x"}]),
        RequestFault.INVALID_VALUE,
        "messages[0].role",
    ),
    "a user who says nothing": (
        body(messages=[{"role": "user"}]),
        RequestFault.MISSING_PARAMETER,
        "messages[0].content",
    ),
    "a tool result of no call": (
        body(messages=[{"role": "tool", "content": "x"}]),
        RequestFault.MISSING_PARAMETER,
        "messages[0].tool_call_id",
    ),
    "an image": (
        body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/"}}]}]),
        RequestFault.UNSUPPORTED_PARAMETER,
        "messages[0].content[0]",
    ),
    "a file": (
        body(messages=[{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]),
        RequestFault.UNSUPPORTED_PARAMETER,
        "messages[0].content[0]",
    ),
    "a part of no known type": (
        body(messages=[{"role": "user", "content": [{"type": "hologram"}]}]),
        RequestFault.INVALID_VALUE,
        "messages[0].content[0]",
    ),
    "another tier": (body(service_tier="flex"), RequestFault.UNSUPPORTED_PARAMETER, "service_tier"),
    "a tier that the provider picks": (body(service_tier="auto"), RequestFault.UNSUPPORTED_PARAMETER, "service_tier"),
    "a stored answer": (body(store=True), RequestFault.UNSUPPORTED_PARAMETER, "store"),
    "a prediction": (body(prediction={"type": "content"}), RequestFault.UNSUPPORTED_PARAMETER, "prediction"),
    "audio": (body(modalities=["text", "audio"]), RequestFault.UNSUPPORTED_PARAMETER, "modalities"),
    "a web search": (body(web_search_options={}), RequestFault.UNSUPPORTED_PARAMETER, "web_search_options"),
    "a server's tool": (body(tools=[{"type": "web_search"}]), RequestFault.INVALID_VALUE, "tools[0].type"),
    "many answers": (body(n=17), RequestFault.INVALID_VALUE, "n"),
    "no answer": (body(n=0), RequestFault.INVALID_VALUE, "n"),
    "no output": (body(max_tokens=0), RequestFault.INVALID_VALUE, "max_tokens"),
    "a negative cap": (body(max_completion_tokens=-1), RequestFault.INVALID_VALUE, "max_completion_tokens"),
    "a cap as text": (body(max_tokens="1"), RequestFault.INVALID_VALUE, "max_tokens"),
}


@pytest.mark.parametrize(("raw", "fault", "param"), HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_body_is_refused_by_name(raw: bytes, fault: RequestFault, param: str) -> None:
    with pytest.raises(ClientError) as told:
        OPENAI_CLIENTS.decode_request(raw)
    assert (told.value.fault, told.value.param) == (fault, param), told.value.message


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_client_error(raw: bytes) -> None:
    with contextlib.suppress(ClientError):
        OPENAI_CLIENTS.decode_request(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["n", "stop", "tools", "store", "stream", "stream_options", "response_format", "messages", "x"])


@given(st.dictionaries(NAMES, JSON, max_size=4), st.booleans())
def test_any_fields_are_a_request_or_a_client_error(fields: dict[str, Any], ascii_only: bool) -> None:
    raw = json.dumps({"model": "m", "messages": [USER]} | fields, ensure_ascii=ascii_only)
    try:
        found = OPENAI_CLIENTS.decode_request(raw.encode("utf-8", "surrogatepass"))
    except ClientError:
        return
    again = OPENAI_CLIENTS.decode_request(found.normal)
    assert again.normal == found.normal, "the normal form is its own normal form"


def test_the_input_bound_covers_a_tokenizer_that_normalises() -> None:
    assert token_bound(b"abc") == 3
    assert token_bound("\ufdfa".encode()) == 33, "3 bytes, 33 in NFKC"
    long = "\ufdfa" * EXACT
    assert token_bound(long.encode()) >= 33 * EXACT
    assert token_bound("é".encode()) == 2


@given(st.text(max_size=200))
def test_the_bound_is_never_below_the_bytes(text: str) -> None:
    raw = text.encode("utf-8", "ignore")
    assert token_bound(raw) >= len(raw)

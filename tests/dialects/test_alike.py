"""The check of events by their shape: in Python, in C, and against the reader that decodes every event."""

import ctypes
import itertools
import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_sidecar.dialects.alike import Alike, alike, shape
from turnout_sidecar.dialects.passages import OPENAI_CLIENTS, passages
from turnout_sidecar.envoy import build, toolchain
from turnout_sidecar.messages import Relay
from turnout_sidecar.policy.model import Dialect

REQUEST = OPENAI_CLIENTS.decode_request(b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}')
HEAD, TAIL = b'data: {"choices":[{"delta":{"content":"', b'"}}]}\n\n'


@pytest.fixture(scope="session")
def in_c(tmp_path_factory: pytest.TempPathFactory) -> Alike:
    """The engine's own source, built alone: the whole engine loads in Envoy only."""
    out = tmp_path_factory.mktemp("alike") / "alike.so"
    source = build.native() / "alike.c"
    command = [toolchain.find().compiler, "-std=gnu11", "-O2", "-fPIC", "-shared", f"-I{build.native()}", "-o"]
    subprocess.run([*command, str(out), str(source)], check=True)
    function = ctypes.CDLL(str(out)).turnout_alike
    function.restype = ctypes.c_int64
    function.argtypes = (ctypes.c_char_p, ctypes.c_size_t) * 3

    def call(data: bytes, head: bytes, tail: bytes) -> tuple[int, int]:
        found = int(function(data, len(data), head, len(head), tail, len(tail)))
        return found >> 32, found & 0xFFFFFFFF

    return call


# name: (text, whether it is one event's)
TEXTS: dict[str, tuple[bytes, bool]] = {
    "words": (b" hello", True),
    "an escape": (b'a\\n\\t\\\\\\/\\"b', True),
    "two bytes": ("é".encode(), True),
    "three bytes": ("€ 中".encode(), True),
    "four bytes": ("😀".encode(), True),
    "DEL": (b"\x7f", True),
    "nothing": (b"", False),
    "an escape by number": (b"\\u0041", False),
    "no escape": (b"\\x", False),
    "a backslash before the quote": (b"a\\", False),
    "a control": (b"a\x01", False),
    "NUL": (b"a\x00", False),
    "an escaped NUL": (b"a\\\x00", False),
    "a line's end": (b"a\nb", False),
    "a quote": (b'a"b', False),
    "half a character": (b"\xc3", False),
    "a lone continuation": (b"\x80", False),
    "an overlong one": (b"\xc0\x80", False),
    "an overlong one of three": (b"\xe0\x80\x80", False),
    "half a surrogate pair": (b"\xed\xa0\x80", False),
    "beyond Unicode": (b"\xf4\x90\x80\x80", False),
    "no UTF-8": (b"\xff", False),
}


@pytest.mark.parametrize(("text", "one"), TEXTS.values(), ids=list(TEXTS))
def test_a_text_is_judged_as_json_would(text: bytes, one: bool, in_c: Alike) -> None:
    event = HEAD + text + TAIL
    for check in (alike, in_c):
        assert check(event, HEAD, TAIL) == ((1, len(event)) if one else (0, 0))
        assert check(event + event + b"data: [DONE]\n\n", HEAD, TAIL) == ((2, 2 * len(event)) if one else (0, 0))
        assert check(event[:-1], HEAD, TAIL) == (0, 0)
    if one:
        json.loads(event[6:])


@given(st.lists(st.sampled_from([HEAD, TAIL, b"a", b'"', b"\\", b"n", "é".encode(), b"\xc3", b"\x00", b"data: "])))
def test_c_and_python_agree_on_anything(in_c: Alike, pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert in_c(data, HEAD, TAIL) == alike(data, HEAD, TAIL)


def event(text: str, **more: object) -> bytes:
    document = {"id": "c1", "created": 7, "model": "m-1", "choices": [{"index": 0, "delta": {"content": text}}]}
    return b"data: " + json.dumps(document | more, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


EVENTS = st.one_of(
    st.text(min_size=1, max_size=6).map(event),
    st.text(max_size=3).map(lambda text: event(text, obfuscation=text)),
    st.sampled_from(
        [
            event(""),
            event("x", finish_reason="no"),
            event("x", usage={"prompt_tokens": 1}),
            event('"content":"'),
            event("a", model="another"),
            event("a", choices=[]),
            b"data: {]\n\n",
            b'data: {"error":{"type":"server_error"}}\n\n',
            b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
            b"data: [DONE]\n\n",
            b": comment\n\n",
            b"\n",
            b"data: ",
        ]
    ),
)


def relays() -> tuple[Relay, Relay]:
    return tuple(passages(OPENAI_CLIENTS, check)[Dialect.OPENAI].relay(REQUEST, b"") for check in (None, alike))  # type: ignore[return-value]


@given(st.lists(EVENTS, max_size=12), st.data())
def test_a_relay_that_knows_shapes_does_what_one_does_that_decodes_everything(
    events: list[bytes], data: st.DataObject
) -> None:
    stream = event("first") + b"".join(events)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    places = [0, *cuts, len(stream)]
    plain, knowing = relays()
    for a, b in itertools.pairwise(places):
        plain_out, knowing_out = plain.feed(stream[a:b]), knowing.feed(stream[a:b])
        assert knowing_out == plain_out
        assert bool(knowing.malformed) == bool(plain.malformed)
        for name in ("flowing", "content", "finished", "done", "error", "usage", "model", "begun", "events"):
            assert getattr(knowing, name) == getattr(plain, name), name


def test_a_shape_is_what_surrounds_the_text() -> None:
    payload = event("hello")[6:-2]
    found = shape(payload)
    assert found is not None
    assert found[0] + b"hello" + found[1] == event("hello")


@pytest.mark.parametrize("payload", [b"{}", b'{"content":"a","content":"b"}', b'{"content":""}', b'{"content":"a'])
def test_there_is_no_shape_where_the_text_cannot_be_told_from_the_rest(payload: bytes) -> None:
    assert shape(payload) is None

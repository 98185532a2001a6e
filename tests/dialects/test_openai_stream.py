"""OpenAI to OpenAI: what goes through as it came, what is taken out, and what is noticed; in any cuts."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_sidecar.dialects.openai_chat import OpenAIChat
from turnout_sidecar.dialects.passages import OPENAI_CLIENTS, passages
from turnout_sidecar.messages import ChatRequest, Passage, ProviderErrorKind, Relay, Usage
from turnout_sidecar.policy.model import Dialect
from turnout_sidecar.policy.units import Tokens

PASSAGE: Passage = passages(OPENAI_CLIENTS)[Dialect.OPENAI]
SIGNAL = b'{"degraded":"Unavailable"}'


def request(fields: bytes = b"") -> ChatRequest:
    return OPENAI_CLIENTS.decode_request(
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true%s}' % fields
    )


PLAIN = request()
METERED = request(b',"stream_options":{"include_usage":true}')
TWO = request(b',"n":2')


def event(delta: dict[str, object], finish: str | None = None, index: int = 0, **more: object) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    document = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m-1", "choices": [choice]}
    return b"data: " + json.dumps(document | more, separators=(",", ":")).encode() + b"\n\n"


ROLE = event({"role": "assistant", "content": ""})
HEL, LO = event({"content": "Hel"}), event({"content": "lo é\n\n"})
FINISH = event({}, "stop")
USAGE = event({}, None, choices=[], usage={"prompt_tokens": 9, "completion_tokens": 2})
DONE = b"data: [DONE]\n\n"
WHOLE = ROLE + HEL + LO + HEL + FINISH + USAGE + DONE
SEEN = Usage(input=Tokens(9), output=Tokens(2))


def fed(relay: Relay, pieces: list[bytes]) -> bytes:
    return b"".join(relay.feed(piece) for piece in pieces)


def cuts(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """The same bytes in any pieces."""
    places = st.lists(st.integers(0, len(data)), max_size=12).map(lambda found: [0, *sorted(found), len(data)])
    return places.map(lambda p: [data[a:b] for a, b in itertools.pairwise(p)])


def per_byte(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


@given(cuts(WHOLE))
def test_a_stream_in_any_cuts_goes_through_without_the_usage_that_was_not_asked_for(pieces: list[bytes]) -> None:
    relay = PASSAGE.relay(PLAIN, b"")
    assert fed(relay, pieces) == WHOLE.replace(USAGE, b"")
    assert (relay.done, relay.finished, relay.content, relay.usage, relay.model) == (True, True, True, SEEN, "m-1")
    assert relay.events == 3


def test_a_stream_byte_by_byte_goes_through() -> None:
    relay = PASSAGE.relay(METERED, b"")
    assert fed(relay, per_byte(WHOLE)) == WHOLE


@given(cuts(WHOLE.replace(b"\n\n", b"\r\n\r\n") + b": comment\r\n\r\n"))
def test_another_line_end_means_the_same(pieces: list[bytes]) -> None:
    assert fed(PASSAGE.relay(METERED, b""), pieces) == WHOLE


@given(cuts(WHOLE))
def test_a_degraded_stream_says_so_in_its_first_and_last_object(pieces: list[bytes]) -> None:
    for asked, last in ((PLAIN, FINISH), (METERED, USAGE)):
        out = fed(PASSAGE.relay(asked, SIGNAL), pieces)
        documents = [json.loads(e.removeprefix(b"data: ")) for e in out.split(b"\n\n") if e and b"[DONE]" not in e]
        assert ["turnout" in d for d in documents] == [True, *[False] * (len(documents) - 2), True]
        assert documents[-1] == json.loads(last.removeprefix(b"data: ")) | {"turnout": json.loads(SIGNAL)}
        assert out.endswith(DONE)


@given(cuts(WHOLE + HEL + b"data: {]\n\n"))
def test_what_comes_after_the_end_is_nobodys(pieces: list[bytes]) -> None:
    relay = PASSAGE.relay(METERED, b"")
    assert fed(relay, pieces) == WHOLE
    assert not relay.malformed


# what a provider may send in place of an event
MALFORMED: dict[str, bytes] = {
    "no JSON": b"data: {]\n\n",
    "half of a JSON": b'data: {"choices":[{"index":0,"delta":{"content":"x\n\n',
    "no choices": b'data: {"id":"c1"}\n\n',
    "choices of the wrong type": b'data: {"choices":7}\n\n',
    "content of the wrong type": b'data: {"choices":[{"index":0,"delta":{"content":7},"finish_reason":null}]}\n\n',
    "a choice without a delta": b'data: {"choices":[{"index":0,"finish_reason":null}]}\n\n',
    "an array": b"data: []\n\n",
    "two objects in one event": HEL[:-2] + b",{}\n\n",
    "an object over two lines, the second without a field": b'data: {"choices":\n[]}\n\n',
    "no UTF-8": b'data: {"choices":[{"index":0,"delta":{"content":"\xff\xfe"},"finish_reason":null}]}\n\n',
    "an object across two events": b'data: {"choices":[\n\ndata: ]}\n\n',
}


@pytest.mark.parametrize("bad", MALFORMED.values(), ids=list(MALFORMED))
def test_a_malformed_event_is_noticed_and_not_forwarded(bad: bytes) -> None:
    for pieces in (
        [ROLE, HEL, bad + LO],
        [ROLE + HEL + bad + LO],
        [ROLE + HEL, HEL, bad, LO],
        per_byte(ROLE + HEL + bad),
    ):
        relay = PASSAGE.relay(PLAIN, b"")
        out = fed(relay, pieces)
        assert relay.malformed
        assert not relay.flowing
        assert out == (ROLE + HEL + HEL if pieces == [ROLE + HEL, HEL, bad, LO] else ROLE + HEL)
        assert relay.feed(HEL) == b"", "nothing follows"


ERRORS: dict[str, tuple[bytes, ProviderErrorKind]] = {
    "an error object": (b'data: {"error":{"message":"sk-1","type":"server_error"}}\n\n', ProviderErrorKind.SERVER),
    "a named event": (b'event: error\ndata: {"message":"no"}\n\n', ProviderErrorKind.SERVER),
    "with choices": (event({}, "error", error={"type": "rate_limit_exceeded"}), ProviderErrorKind.RATE_LIMITED),
    "a string": (b'data: {"error":"boom"}\n\n', ProviderErrorKind.SERVER),
}


@pytest.mark.parametrize(("bad", "kind"), ERRORS.values(), ids=list(ERRORS))
def test_an_error_event_is_noticed_and_not_forwarded(bad: bytes, kind: ProviderErrorKind) -> None:
    for pieces in ([ROLE, HEL, bad], [ROLE + HEL + bad + LO], per_byte(ROLE + HEL + bad)):
        relay = PASSAGE.relay(PLAIN, b"")
        assert fed(relay, pieces) == ROLE + HEL
        assert relay.error is not None
        assert relay.error.kind is kind


@pytest.mark.parametrize(
    "first",
    [{"content": "x"}, {"refusal": "no"}, {"tool_calls": [{"index": 0, "id": "a"}]}, {"reasoning_content": "hm"}],
    ids=lambda delta: next(iter(delta)),
)
def test_content_is_whatever_a_reader_can_see(first: dict[str, object]) -> None:
    relay = PASSAGE.relay(PLAIN, b"")
    relay.feed(ROLE)
    assert not relay.content
    relay.feed(event(first))
    assert relay.content


def test_all_choices_must_finish() -> None:
    relay = PASSAGE.relay(TWO, b"")
    relay.feed(ROLE + event({"content": "a"}) + event({"content": "b"}, index=1) + FINISH)
    assert not relay.finished
    relay.feed(event({}, "stop", index=1))
    assert relay.finished


def test_a_missing_terminal_event_is_made_good() -> None:
    relay = PASSAGE.relay(PLAIN, b"")
    relay.feed(ROLE + HEL + FINISH)
    assert relay.close() == DONE
    assert relay.close() == b"", "once"


def test_empty_events_break_clients_so_they_are_dropped() -> None:
    assert fed(PASSAGE.relay(PLAIN, b""), [ROLE + b"data:\n\n" + HEL]) == ROLE + HEL


def test_the_neutral_decoder_sees_what_the_relay_forwards() -> None:
    chunks = list(OpenAIChat().stream_decoder().feed(WHOLE))
    assert "".join(c.text for c in chunks) == "Hello é\n\nHel"
    assert [c.finish for c in chunks if c.finish] == ["stop"]
    assert [c.usage for c in chunks if c.usage] == [SEEN]
    assert chunks[-1].done

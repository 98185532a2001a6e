"""The parser of server-sent events: every fixture whole, byte by byte, and at every single cut."""

import pytest

from turnout_sidecar.dialects import sse
from turnout_sidecar.messages import Malformed

# name: (bytes, events). After the `eventsource/format-*` cases of the Web Platform Tests.
STREAMS: dict[str, tuple[bytes, list[tuple[str, bytes]]]] = {
    "one event": (b"data: x\n\n", [("", b"x")]),
    "no space after the colon": (b"data:x\n\n", [("", b"x")]),
    "only the first space is dropped": (b"data:  x\n\n", [("", b" x")]),
    "several data lines are joined": (b"data: a\ndata: b\n\n", [("", b"a\nb")]),
    "a data line without a colon is empty": (b"data\n\n", [("", b"")]),
    "an empty data line": (b"data:\n\n", [("", b"")]),
    "a named event": (b"event: ping\ndata: {}\n\n", [("ping", b"{}")]),
    "a name without data is nothing": (b"event: ping\n\ndata: x\n\n", [("", b"x")]),
    "comments are nothing": (b": hello\n\n:\ndata: x\n: in between\n\n", [("", b"x")]),
    "id and retry are read over": (b"id: 7\nretry: 10\ndata: x\n\n", [("", b"x")]),
    "unknown fields are read over": (b"colour: red\ndata: x\n\n", [("", b"x")]),
    "CRLF": (b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", [("", b"a\nb"), ("", b"c")]),
    "CR": (b"data: a\rdata: b\r\rdata: c\r\r", [("", b"a\nb"), ("", b"c")]),
    "mixed line ends": (b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", [("", b"a"), ("", b"b"), ("", b"c")]),
    "a byte order mark": (b"\xef\xbb\xbfdata: x\n\n", [("", b"x")]),
    "a second byte order mark is part of a name": (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\ndata: y\n\n", [("", b"y")]),
    "many empty lines": (b"\n\n\n\ndata: x\n\n\n\ndata: y\n\n", [("", b"x"), ("", b"y")]),
    "UTF-8 of several bytes": ("data: é😀\n\n".encode(), [("", "é😀".encode())]),
    "an event that does not end is not dispatched": (b"data: x\n\ndata: y\n", [("", b"x")]),
}


@pytest.fixture(params=STREAMS, ids=list(STREAMS))
def stream(request: pytest.FixtureRequest) -> tuple[bytes, list[tuple[str, bytes]]]:
    return STREAMS[request.param]


def test_a_whole_stream_gives_its_events(stream: tuple[bytes, list[tuple[str, bytes]]]) -> None:
    data, events = stream
    assert sse.Parser().feed(data) == events


def test_a_stream_byte_by_byte_gives_the_same_events(stream: tuple[bytes, list[tuple[str, bytes]]]) -> None:
    data, events = stream
    parser = sse.Parser()
    assert [event for byte in data for event in parser.feed(bytes([byte]))] == events


def test_a_stream_cut_anywhere_gives_the_same_events(stream: tuple[bytes, list[tuple[str, bytes]]]) -> None:
    data, events = stream
    for at in range(len(data) + 1):
        parser = sse.Parser()
        assert [*parser.feed(data[:at]), *parser.feed(data[at:])] == events, f"cut at {at}"


def test_what_follows_is_the_next_event(stream: tuple[bytes, list[tuple[str, bytes]]]) -> None:
    data, events = stream
    if data.endswith((b"\n\n", b"\r\r", b"\r\n")):
        assert sse.Parser().feed(data + b"data: tail\n\n") == [*events, ("", b"tail")]


def test_an_event_without_end_is_bounded() -> None:
    parser = sse.Parser()
    with pytest.raises(Malformed, match="more than"):
        for _ in range(20):
            parser.feed(b"data: " + b"x" * (sse.MAX_EVENT // 10))


def test_what_is_pending_can_be_taken_over() -> None:
    parser = sse.Parser()
    parser.feed(b"data: x\n\ndata: y")
    assert parser.pending
    assert parser.take() == b"data: y"
    assert not parser.pending

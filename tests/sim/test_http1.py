"""The request reader: the same requests however the bytes arrive, and nothing that could be read in two ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_operator.sim import Sim
from turnout_operator.sim.http1 import BadRequestError, Parser, Request
from turnout_testing.rawwire import End, RawClient, request, split_head

BODIES = st.binary(max_size=40)
FRAMINGS = st.sampled_from(["length", "chunked"])


def written(body: bytes, framing: str, cuts: list[int]) -> bytes:
    if framing == "length":
        return b"POST /p?q=1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True) if a < b]
    chunks = b"".join(b"%X;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"POST /p?q=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX-T: 1\r\n\r\n"


@given(st.lists(st.tuples(BODIES, FRAMINGS), min_size=1, max_size=3), st.data())
def test_requests_are_the_same_however_their_bytes_are_split(
    sent: list[tuple[bytes, str]], data: st.DataObject
) -> None:
    stream = b""
    for body, framing in sent:
        cuts = sorted(data.draw(st.sets(st.integers(0, len(body)), max_size=3)))
        stream += written(body, framing, cuts)
    places = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    parser = Parser(1000)
    read: list[Request] = []
    for start, end in zip([0, *places], [*places, len(stream)], strict=True):
        parser.feed(stream[start:end])
        while (found := parser.next()) is not None:
            read.append(found)
    assert [found.body for found in read] == [body for body, _ in sent]
    assert {(found.method, found.path, found.query) for found in read} == {("POST", "/p", "q=1")}
    assert parser.pending == 0


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length : 3\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n", 413),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 70_000, 431),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(raw: bytes, status: int) -> None:
    parser = Parser(1000)
    parser.feed(raw)
    with pytest.raises(BadRequestError) as refused:
        parser.next()
    assert refused.value.status == status


MODELS = request("/v1/models", b"", method="GET")


def test_pipelined_requests_are_answered_in_order(sim: Sim) -> None:
    with RawClient(sim.host, sim.port) as client:
        client.send(MODELS * 3)
        seen = client.read_until(b'"object":"list"', 3)
        assert [seen.count(b"req_sim%08d" % number) for number in (1, 2, 3)] == [1, 1, 1]


def test_a_bad_request_ends_the_connection_after_its_answer(sim: Sim) -> None:
    with RawClient(sim.host, sim.port) as client:
        client.send(MODELS + b"nonsense\r\n\r\n" + MODELS)
        seen, end = client.read_to_end()
    assert end is End.FIN
    assert (seen.count(b"HTTP/1.1 200 "), seen.count(b"HTTP/1.1 400 ")) == (1, 1)
    assert len(sim.log()) == 1


def test_a_body_is_asked_for_with_100_continue(sim: Sim) -> None:
    whole = request("/v1/chat/completions", {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]})
    head, _, body = whole.partition(b"\r\n\r\n")
    with RawClient(sim.host, sim.port) as client:
        client.send(head + b"\r\nexpect: 100-continue\r\n\r\n")
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(body)
        assert b"HTTP/1.1 200 OK" in client.read_until(b"fp_sim")


@pytest.mark.parametrize(
    ("start", "closes"),
    [
        (b"GET /v1/models HTTP/1.1\r\n", False),
        (b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n", True),
        (b"GET /v1/models HTTP/1.0\r\n", True),
    ],
)
def test_a_connection_lives_as_long_as_the_client_wants(sim: Sim, start: bytes, closes: bool) -> None:
    with RawClient(sim.host, sim.port) as client:
        client.send(start + b"\r\n")
        client.read_until(b'"object":"list"')
        if closes:
            assert client.read_to_end()[1] is End.FIN
        else:
            client.send(start + b"\r\n")
            client.read_until(b'"object":"list"', 2)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request("/v1/embeddings", {}), 404),
        (request("/v1/models", {}), 405),
        (request("/v1/chat/completions", b"{"), 400),
        (request("/v1/chat/completions", b"\xff"), 400),
        (request("/v1/chat/completions", {"model": "gpt-5-mini", "messages": []}), 400),
        (request("/v1/messages", {"model": "claude-sonnet-5", "messages": [], "max_tokens": 1}), 400),
    ],
)
def test_what_is_not_offered_is_refused_with_an_error_object(sim: Sim, raw: bytes, status: int) -> None:
    with RawClient(sim.host, sim.port) as client:
        client.send(raw)
        assert split_head(client.read_until(b'"message":'))[0] == status


def test_a_slow_reader_gets_every_byte_of_a_large_answer(sim: Sim) -> None:
    sim.set_script({"rules": [{"effects": [{"huge": {"tokens": 1_000_000}}]}]})
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}
    with RawClient(sim.host, sim.port) as client:
        client.send(request("/v1/chat/completions", body, {"connection": "close"}))
        seen, end = client.read_to_end()
    _, headers, content = split_head(seen)
    assert (len(content), end) == (int(headers["content-length"]), End.FIN)
    assert len(content) > 4_000_000

"""What an untrusted client meets at the edge before the engine is asked: bounds, and answers in the OpenAI error shape with words."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from turnout_operator.render.envoy.listener import MAX_BODY
from turnout_operator.sim import Sim
from turnout_testing.rawwire import RawClient, request, split_head
from turnout_testing.served import Served, local_folder

pytestmark = pytest.mark.envoy
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("edge")
    with Sim() as sim, Served(local_folder(directory / "m", sim.url), directory / "s") as running:
        yield running


def answer(served: Served, data: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    with RawClient(*served.address) as client:
        client.send(data)
        seen = client.read_until(b"\r\n\r\n")
        head = seen.index(b"\r\n\r\n") + 4
        status, headers, _ = split_head(seen)
        seen = client.read_to_length(head + int(headers["content-length"]))
        return status, headers, json.loads(seen[head:])


def get(path: str = "/v1/models", head: str = "host: a\r\n", version: str = "HTTP/1.1") -> bytes:
    return f"GET {path} {version}\r\n{head}\r\n".encode()


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"GARBAGE\r\n\r\n", 400, "bad_request"),
        (get(head=""), 400, "bad_request"),
        (get(head="host: a\r\nx_forged_name: 1\r\n"), 400, "bad_request"),
        (get("/v1%2Fmodels"), 400, "bad_request"),
        (get(head="host: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n"), 400, "bad_request"),
        (request(PATH, b"x" * (MAX_BODY + 1)), 413, "request_too_large"),
        (get(head="host: a\r\n", version="HTTP/1.0"), 426, "upgrade_required"),
        (get(head=f"host: a\r\nx: {'y' * 70_000}\r\n"), 431, "headers_too_large"),
        (get(head="host: a\r\n" + "".join(f"x-{i}: y\r\n" for i in range(200))), 431, "headers_too_large"),
    ],
    ids=[
        "garbage",
        "no host",
        "underscore",
        "escaped slash",
        "smuggling",
        "body",
        "HTTP/1.0",
        "header",
        "many headers",
    ],
)
def test_a_refusal_of_envoys_own_has_the_openai_shape_and_words(
    served: Served, data: bytes, status: int, code: str
) -> None:
    found, headers, body = answer(served, data)
    assert found == status
    assert headers["content-type"] == "application/json"
    assert headers["x-should-retry"] == "false"
    assert "server" not in headers
    error = body["error"]
    assert (error["code"], error["type"], error["param"]) == (code, "invalid_request_error", None)
    assert error["message"].endswith(".")


def test_the_path_is_normalised_before_it_is_matched(served: Served) -> None:
    assert answer(served, get("/v1/x/..//models"))[0] == 200


def test_a_body_of_the_largest_size_is_read_on_http1_and_on_http2(served: Served) -> None:
    ask: dict[str, Any] = {"model": "nobody", "messages": [{"role": "user", "content": ""}]}
    room = MAX_BODY - len(json.dumps(ask))
    ask["messages"][0]["content"] = "x" * room
    body = json.dumps(ask).encode()
    assert len(body) == MAX_BODY
    assert answer(served, request(PATH, body))[0] in (400, 404)
    assert posted(served, body)[0] in (400, 404)


def test_a_larger_body_is_refused_on_http2_too(served: Served) -> None:
    status, body = posted(served, b"x" * (MAX_BODY + 1))
    assert status == 413
    assert json.loads(body)["error"]["code"] == "request_too_large"


def test_a_client_that_opens_more_streams_than_allowed_is_told_the_bound(served: Served) -> None:
    with socket.create_connection(served.address, timeout=30) as sock:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        connection.initiate_connection()
        sock.sendall(connection.data_to_send())
        while connection.remote_settings.max_concurrent_streams > 2**31 - 2:
            connection.receive_data(sock.recv(65536))
        assert connection.remote_settings.max_concurrent_streams == 100
        assert connection.remote_settings.initial_window_size == 65_536


def posted(served: Served, body: bytes) -> tuple[int, bytes]:
    """Status and body of a POST over HTTP/2, flow control kept."""
    with socket.create_connection(served.address, timeout=30) as sock:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        connection.initiate_connection()
        stream = connection.get_next_available_stream_id()
        head = [(":method", "POST"), (":path", PATH), (":scheme", "http"), (":authority", "a")]
        connection.send_headers(stream, [*head, ("content-type", "application/json")])
        status, answered, sent, ended = 0, b"", 0, False
        while not ended:
            while status == 0 and sent < len(body) and (room := connection.local_flow_control_window(stream)) > 0:
                size = min(room, connection.max_outbound_frame_size, len(body) - sent)
                connection.send_data(stream, body[sent : sent + size], end_stream=sent + size == len(body))
                sent += size
            sock.sendall(connection.data_to_send())
            for event in connection.receive_data(sock.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    answered += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, stream)
                ended = ended or isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset))
        return status, answered


def test_a_provider_that_forges_the_mark_of_genuine_answers_gains_nothing(tmp_path: Path) -> None:
    rule = {"name": "forger", "effects": [{"status": {"code": 503, "headers": {"x-turnout-genuine": "no"}}}]}
    with Sim(script={"rules": [rule]}) as sim, Served(local_folder(tmp_path / "m", sim.url), tmp_path / "s") as running:
        found = running.post({"model": "support-answer", "messages": [{"role": "user", "content": "hi"}]})
        assert found.status_code == 503
        assert "x-turnout-genuine" not in found.headers

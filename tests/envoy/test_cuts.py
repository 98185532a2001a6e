"""A stream that is cut after commit: the error event arrives whole, then a reset, never a clean end."""

import socket
from collections.abc import Iterator

import h2.connection
import h2.events
import httpx
import pytest

from turnout_testing.envoy import Envoy

WHOLE = 'data: {"error":{"message":"cut","code":"upstream_cut"}}'


@pytest.mark.parametrize("mode", ["cut:endless", "pipe:half"], ids=["cut by the engine", "reset by the provider"])
def test_on_http_1_the_event_arrives_whole_and_then_the_connection_breaks(double: Envoy, mode: str) -> None:
    lines: list[str] = []
    with (
        pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"),
        httpx.stream("POST", f"http://127.0.0.1:{double.port('in')}/", headers={"x-mode": mode}, timeout=20) as answer,
    ):
        for line in answer.iter_lines():
            lines.append(line)
    assert WHOLE in lines
    assert lines[0].startswith("data: ")


@pytest.mark.parametrize("mode", ["cut:endless", "pipe:half"], ids=["cut by the engine", "reset by the provider"])
def test_on_http_2_the_event_arrives_whole_and_then_the_stream_is_reset(double: Envoy, mode: str) -> None:
    data, end = b"", ""
    for event in h2_events(double.port("in"), mode):
        if isinstance(event, h2.events.DataReceived):
            data += event.data
        elif isinstance(event, h2.events.StreamReset | h2.events.StreamEnded):
            end = type(event).__name__
    assert WHOLE in data.decode()
    assert end == "StreamReset"


def test_a_slow_http_2_client_gets_the_event_before_the_reset(double: Envoy) -> None:
    """Its window is closed when the cut comes, and Envoy holds more than its buffer for it, so the reset waits."""
    data, end = b"", ""
    for event in h2_events(double.port("in"), "flood:2000000", hold=65_535):
        if isinstance(event, h2.events.DataReceived):
            data += event.data
        elif isinstance(event, h2.events.StreamReset | h2.events.StreamEnded):
            end = type(event).__name__
    assert WHOLE in data.decode()
    assert end == "StreamReset"


def h2_events(port: int, mode: str, hold: int = 0) -> Iterator[h2.events.Event]:
    """Events of one request. `hold`: bytes that come before the client begins to open its window, half a second late."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        client = h2.connection.H2Connection()
        client.initiate_connection()
        head = [(":method", "POST"), (":path", "/"), (":authority", "a"), (":scheme", "http"), ("x-mode", mode)]
        client.send_headers(1, head)
        client.send_data(1, b"{}", end_stream=True)
        wire.sendall(client.data_to_send())
        unread, held = 0, hold
        while True:
            wire.settimeout(0.5 if held and unread >= held else 20)
            try:
                received = wire.recv(65_536)
            except TimeoutError:
                if not held:
                    raise
                held = 0
                client.acknowledge_received_data(unread, 1)
                wire.sendall(client.data_to_send())
                continue
            if not received:
                return
            for event in client.receive_data(received):
                if isinstance(event, h2.events.DataReceived):
                    unread += event.flow_controlled_length
                    if not held:
                        client.acknowledge_received_data(event.flow_controlled_length, 1)
                yield event
                if isinstance(event, h2.events.StreamReset | h2.events.StreamEnded):
                    return
            wire.sendall(client.data_to_send())

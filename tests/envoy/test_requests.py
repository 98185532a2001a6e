"""What the shell hands to an exchange, and what it does for one."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import random
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from turnout_testing import waiting
from turnout_testing.envoy import Envoy, cluster

if TYPE_CHECKING:
    from .conftest import Engine, Envoys, Upstream


def url(envoy: Envoy) -> str:
    return f"http://127.0.0.1:{envoy.port('in')}/v1/chat/completions?q=1"


@pytest.mark.parametrize("buffer", [False, True], ids=["without a buffering filter", "behind a buffering filter"])
@pytest.mark.parametrize("size", [0, 1, 200_000])
def test_a_request_body_arrives_once_and_whole(envoys: Envoys, buffer: bool, size: int) -> None:
    with envoys(cluster("up", 9), buffer=buffer) as envoy:
        answer = httpx.post(url(envoy), content=b"b" * size, headers={"x-mode": "echo"})
        assert answer.json() == {"method": "POST", "path": "/v1/chat/completions?q=1", "body": size, "tenant": ""}


def test_a_body_sent_in_chunks_arrives_once_and_whole(double: Envoy) -> None:
    pieces = (b"a" * 1000 for _ in range(50))
    answer = httpx.post(url(double), content=pieces, headers={"x-mode": "echo"})
    assert answer.json()["body"] == 50_000


@pytest.mark.parametrize("http", ["--http1.1", "--http2-prior-knowledge"])
def test_a_body_up_to_a_mebibyte_is_taken_and_a_larger_one_is_a_413(double: Envoy, http: str, tmp_path: Path) -> None:
    """On HTTP/2 too, where the stream's window is smaller."""
    for size in (1_000_000, 1_200_000):
        file = tmp_path / "body"
        file.write_bytes(b"b" * size)
        command = ["curl", "-s", "-o", "/dev/null", http, "-H", "x-mode: echo", "-H", "expect:"]
        subprocess.run([*command, "--data-binary", f"@{file}", url(double)], check=False)
    # From the log: some clients drop an answer that is followed by a reset of what they still send.
    lines = waiting.until(lambda: ended(double, 2), what="both in the access log", within=20)
    assert [(line["status"], line["details"]) for line in lines] == [
        (200, ""),
        (413, "request_payload_too_large"),
    ]


def ended(envoy: Envoy, count: int) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in envoy.output().splitlines()]
    return lines if len(lines) >= count else []


def test_a_repeated_header_cannot_hide_its_second_value(double: Envoy) -> None:
    headers = [("x-mode", "echo"), ("x-tenant", "acme"), ("x-tenant", "other")]
    assert httpx.post(url(double), headers=headers).json()["tenant"] in ("acme, other", "acme,other")


def test_facts_reach_the_access_log_numbers_as_numbers(double: Envoy) -> None:
    httpx.post(url(double), headers={"x-mode": "echo"})
    line = waiting.until(lambda: double.output().strip(), what="the access log's line", within=20)
    assert json.loads(line)["route"] == "double"
    assert json.loads(line)["attempts"] == 1


def test_a_stream_passes_event_by_event(double: Envoy) -> None:
    with httpx.stream("POST", url(double), headers={"x-mode": "pipe:stream=4"}, timeout=20) as answer:
        events = [line for line in answer.iter_lines() if line]
    assert events == ['data: {"i":0}', 'data: {"i":1}', 'data: {"i":2}', 'data: {"i":3}', "data: [DONE]"]


def test_an_answer_that_grows_large_passes_in_pieces(envoys: Envoys, upstream: Upstream) -> None:
    with envoys(cluster("up", upstream.port)) as envoy:
        answer = httpx.post(url(envoy), headers={"x-mode": "pipe:large=9000000"}, timeout=60)
        assert len(answer.content) == 9_000_000


def test_a_header_value_with_a_line_break_becomes_no_second_header(double: Envoy) -> None:
    answer = httpx.post(url(double), headers={"x-mode": "inject"})
    assert answer.status_code == 500
    assert "set-cookie" not in answer.headers


def test_a_cluster_that_does_not_exist_is_told_like_one_that_cannot_be_reached(double: Envoy) -> None:
    told = httpx.post(url(double), headers={"x-mode": "start:nowhere"}).json()
    assert (told["status"], told["genuine"]) == (503, False)
    assert "no healthy upstream" in told["detail"], "surely nothing was sent"


def test_a_refused_connection_is_an_answer_that_is_not_genuine_and_tells_why(
    envoys: Envoys, upstream: Upstream
) -> None:
    with envoys(cluster("up", upstream.port), cluster("dead", 1)) as envoy:
        told = httpx.post(url(envoy), headers={"x-mode": "start:dead"}).json()
    assert told["status"] == 503
    assert told["genuine"] is False
    assert "connect" in told["detail"]


def test_a_client_that_leaves_is_told_to_the_exchange_and_the_provider(
    double: Envoy, upstream: Upstream, engine: Engine
) -> None:
    with httpx.stream("POST", url(double), headers={"x-mode": "pipe:endless"}, timeout=20) as answer:
        next(answer.iter_bytes())
    assert upstream.left.wait(20)
    waiting.until(lambda: engine().get("gone"), what="on_client_gone", within=20)


def test_requests_side_by_side_do_not_mix(double: Envoy) -> None:
    wrong: list[int] = []

    def ask(size: int) -> None:
        with httpx.Client() as client:
            for _ in range(30):
                answer = client.post(url(double), content=b"z" * size, headers={"x-mode": "echo"})
                if answer.json()["body"] != size:
                    wrong.append(size)

    threads = [threading.Thread(target=ask, args=(size,)) for size in (1, 17, 400, 70_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("mode", ["pipe", "pipe:stream=50", "alarm:3", "cut:endless", "echo"])
def test_clients_that_leave_at_any_moment_leave_the_sidecar_whole(double: Envoy, mode: str) -> None:
    """An answer, an alarm or a cut may wait to be told in the very turn in which its client goes."""
    chance = random.Random(1)
    request = f"POST / HTTP/1.1\r\nhost: a\r\nx-mode: {mode}\r\ncontent-length: 2\r\n\r\n{{}}".encode()
    port = double.port("in")

    def leave(_: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
            wire.sendall(request[: chance.randrange(1, 2 * len(request))])
            wire.settimeout(chance.choice((0.0001, 0.001, 0.003, 0.01)))
            with contextlib.suppress(TimeoutError, ConnectionError):
                wire.recv(1 << 16)
            if chance.random() < 0.5:  # a reset instead of an orderly end
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(leave, range(400)))
    assert httpx.post(url(double), headers={"x-mode": "echo"}, timeout=20).status_code == 200
    assert double.process is not None
    assert double.process.poll() is None
    assert "a bug in" not in double.log()
    waiting.until(lambda: active(double) == 0, what="every request to be over", within=20)


def active(envoy: Envoy) -> int:
    line = envoy.admin("/stats?filter=^http.in.downstream_rq_active$").strip()
    return int(line.rpartition(": ")[2])

"""Liveness, readiness and metrics from a thread outside every event loop, so that a stuck loop cannot vouch for itself.

`/livez` fails when a loop has not beaten for a while (the process is to be restarted); `/readyz` says whether this replica
has its watches (leading or standing by); `/metrics` is Prometheus text.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from turnout_operator import metrics

STUCK_AFTER = 30.0


class Heartbeats:
    """Loops that promise to beat at least once in `STUCK_AFTER` seconds. Thread-safe by the interpreter's lock."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def beat(self, loop: str) -> None:
        self._last[loop] = monotonic()

    def stuck(self) -> list[str]:
        now = monotonic()
        lags = {loop: now - at for loop, at in list(self._last.items())}
        for loop, lag in lags.items():
            metrics.LOOP_LAG.labels(loop).set(lag)
        return sorted(loop for loop, lag in lags.items() if lag > STUCK_AFTER)


class Health:
    """Serves until `close`. `ready` returns the reasons for which this replica is not ready; none means it is."""

    def __init__(self, host: str, port: int, heartbeats: Heartbeats, ready: Callable[[], list[str]]) -> None:
        outer = self
        self._heartbeats = heartbeats
        self._ready = ready

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, *_: object) -> None:
                """Probes are not news."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.path == "/metrics":
            self._heartbeats.stuck()
            return _send(request, 200, CONTENT_TYPE_LATEST, generate_latest(metrics.REGISTRY))
        if request.path == "/livez":
            return _verdict(request, [f"loop {loop} is stuck" for loop in self._heartbeats.stuck()])
        if request.path == "/readyz":
            return _verdict(request, self._ready())
        return _send(request, 404, "application/json", b'{"error":"one of /livez, /readyz, /metrics"}')


def _verdict(request: BaseHTTPRequestHandler, faults: list[str]) -> None:
    body = json.dumps({"ok": not faults, "reasons": faults}).encode()
    _send(request, 503 if faults else 200, "application/json", body)


def _send(request: BaseHTTPRequestHandler, status: int, kind: str, body: bytes) -> None:
    request.send_response(status)
    request.send_header("content-type", kind)
    request.send_header("content-length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)

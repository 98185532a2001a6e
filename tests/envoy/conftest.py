"""The shell's beds: a scripted upstream, a control plane's report endpoint, and Envoy with the engine double in it."""

# ruff: noqa: ARG002, A002 - the shapes are the contract's and the standard library's

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from turnout_sidecar.envoy import bootstrap
from turnout_sidecar.envoy.settings import FILTER, LIBRARY, Settings
from turnout_sidecar.policy.report import WIRE, Answer, Report, decode_report, encode_answer
from turnout_testing.envoy import Envoy, cluster

URL = "type.googleapis.com/"
DOUBLE = Path(__file__).parent / "double"
BUFFER = 1 << 20


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and "envoys" in getattr(item, "fixturenames", ()):
            item.add_marker("envoy")


class Upstream(http.server.ThreadingHTTPServer):
    """Does what the request's ``x-up`` says; remembers what came and who left."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.left = threading.Event()
        self.go_on = threading.Event()
        self.seen: list[dict[str, str]] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.left.set()


class _Answers(http.server.BaseHTTPRequestHandler):
    server: Upstream
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        self.server.seen.append({k.lower(): v for k, v in self.headers.items()} | {":body": body.decode()})
        word, _, rest = self.headers.get("x-up", "").partition("=")
        getattr(self, f"_{word or 'json'}")(rest)

    def _json(self, status: str) -> None:
        document = b'{"answer":"' + b"x" * 300 + b'"}'
        self.send_response(int(status or "200"))
        self.send_header("content-type", "application/json")
        self.send_header("retry-after", "7")
        self.send_header("content-length", str(len(document)))
        self.end_headers()
        self.wfile.write(document)

    def _large(self, size: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/octet-stream")
        self.send_header("content-length", size)
        self.end_headers()
        self.wfile.write(b"L" * int(size))

    def _stream(self, count: str) -> None:
        self._open()
        for index in range(int(count or "5")):
            self._chunk(b'data: {"i":%d}\n\n' % index)
        self._chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _endless(self, size: str) -> None:
        """Chunks until the reader is gone."""
        self._open()
        while not self.server.left.is_set():
            self._chunk(b'data: {"pad":"' + b"p" * int(size or "10") + b'"}\n\n')
            self.server.go_on.wait(0.005)

    def _half(self, _: str) -> None:
        """A head, some data, and then the connection is gone."""
        self._open()
        self._chunk(b'data: {"i":0}\n\n')
        self.close_connection = True
        self.connection.close()

    def _mute(self, _: str) -> None:
        """A head, and then nothing until the reader is gone."""
        self._open()
        self.wfile.flush()
        self.connection.recv(1)
        self.server.left.set()

    def _open(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None: ...


class LeaseService(http.server.ThreadingHTTPServer):
    """Takes reports and answers each with an empty answer, or with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Reports)
        self.reports: list[Report] = []
        self.tokens: list[str] = []
        self.status = 200
        self.closes = True  # final reports reach the ledger
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Reports(http.server.BaseHTTPRequestHandler):
    server: LeaseService
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        report = decode_report(self.rfile.read(int(self.headers["content-length"])))
        assert self.path == "/v1/report"
        self.server.tokens.append(self.headers.get("authorization", ""))
        ended = (report.epoch.epoch,) if report.epoch.final and self.server.closes else ()
        body = encode_answer(Answer(wire=WIRE, sequence=report.sequence, closed_epochs=ended))
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.reports.append(report)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server
        server.left.set()
        server.shutdown()


@pytest.fixture
def leases() -> Iterator[LeaseService]:
    with LeaseService() as server:
        yield server
        server.shutdown()


class Bed:
    """Writes the bootstrap and the policy that a test wants, and starts Envoy on them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.policy_file = directory / "ecds.json"
        self.policy({"version": "1"})

    def policy(self, document: dict[str, Any]) -> None:
        """Pushes a policy over ECDS, as a file that is replaced in one step."""
        resource = {
            "@type": URL + "envoy.config.core.v3.TypedExtensionConfig",
            "name": FILTER,
            "typed_config": {
                "@type": URL + "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
                "dynamic_module_config": {"name": LIBRARY, "do_not_close": True, "load_globally": True},
                "filter_name": FILTER,
                "terminal_filter": True,
                "filter_config": {"@type": URL + "google.protobuf.StringValue", "value": json.dumps(document)},
            },
        }
        fresh = self.policy_file.with_suffix(".new")
        fresh.write_text(json.dumps({"resources": [resource]}))
        fresh.rename(self.policy_file)

    def bootstrap(
        self, *clusters: dict[str, Any], settings: Settings | None = None, buffer: bool = False
    ) -> dict[str, Any]:
        node = bootstrap.Node(id="sidecar-a", namespace="shop", version="0")
        document = bootstrap.static(node=node, admin=bootstrap.Admin(), settings=settings or Settings())
        resources = {"clusters": list(clusters), "listeners": [self._listener(buffer=buffer)]}
        return document | {"static_resources": resources}

    def _listener(self, *, buffer: bool) -> dict[str, Any]:
        source = {"path_config_source": {"path": str(self.policy_file)}, "resource_api_version": "V3"}
        kind = URL + "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"
        filters: list[dict[str, Any]] = [
            {"name": FILTER, "config_discovery": {"config_source": source, "type_urls": [kind]}}
        ]
        if buffer:
            typed = {"@type": URL + "envoy.extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": 1 << 20}
            filters.insert(0, {"name": "buffer", "typed_config": typed})
        log = {
            "name": "out",
            "typed_config": {
                "@type": URL + "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                "log_format": {
                    "json_format": {
                        "status": "%RESPONSE_CODE%",
                        "route": "%DYNAMIC_METADATA(turnout:route)%",
                        "attempts": "%DYNAMIC_METADATA(turnout:attempts)%",
                        "details": "%RESPONSE_CODE_DETAILS%",
                    }
                },
            },
        }
        manager = {
            "@type": URL + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "in",
            # Also where the watermarks of a stream lie; production's listener has the same.
            "http2_protocol_options": {"initial_stream_window_size": 65_536},
            "access_log": [log],
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "non_forwarding_action": {}}],
                    }
                ]
            },
            "http_filters": filters,
        }
        return {
            "name": "in",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "per_connection_buffer_limit_bytes": BUFFER,
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
        }

    @contextmanager
    def envoy(
        self, *clusters: dict[str, Any], settings: Settings | None = None, buffer: bool = False
    ) -> Iterator[Envoy]:
        document = self.bootstrap(*clusters, settings=settings, buffer=buffer)
        with Envoy(document, self.directory / "run", python_path=[str(DOUBLE)]) as running:
            yield running


Envoys = Callable[..., AbstractContextManager[Envoy]]


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


@pytest.fixture
def envoys(bed: Bed) -> Envoys:
    return bed.envoy


@pytest.fixture
def double(envoys: Envoys, upstream: Upstream, leases: LeaseService) -> Iterator[Envoy]:
    """Envoy with the double, its cluster ``up`` at `upstream`, reporting to `leases`."""
    settings = Settings(report_cluster="reports", report_interval_ms=100, drain_ms=200)
    with envoys(cluster("up", upstream.port), cluster("reports", leases.port), settings=settings) as running:
        yield running


Engine = Callable[[], dict[str, Any]]


@pytest.fixture
def engine(leases: LeaseService) -> Engine:
    """What the double says of itself, from its latest report."""

    def facts() -> dict[str, Any]:
        told: dict[str, Any] = json.loads(leases.reports[-1].refused_words) if leases.reports else {}
        return told

    return facts

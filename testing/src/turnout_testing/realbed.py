"""Scenarios in real Envoy: the same files, over TCP. Providers are scripted sockets, leases come from a report endpoint.

What is true here is asked for until it is (the machine decides how fast), so `show` is given what is expected. `advance`
lets that much time pass: deadlines are what these scenarios are about.
"""

import contextlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from turnout_sidecar.envoy import bootstrap
from turnout_sidecar.envoy.settings import FILTER, LIBRARY, Settings
from turnout_sidecar.policy.codec import decode
from turnout_sidecar.policy.report import WIRE, Answer, DrillOrder, Grant, Report, decode_report, encode_answer
from turnout_sidecar.policy.units import Millis, NanoUSD
from turnout_testing import clientview, policyfixture, rawwire, waiting
from turnout_testing.envoy import Envoy, cluster
from turnout_testing.fakebed import provider_line, request_body, said
from turnout_testing.policyfixture import ROUTE, account
from turnout_testing.providerwire import wire
from turnout_testing.scenario import Command, millis, nano
from turnout_testing.scriptedprovider import ScriptedProvider, TcpAttempt

URL = "type.googleapis.com/"
PATIENCE = 20.0
DAY = 86_400_000
CLUSTERS = {"small": "openai-cluster", "claude": "claude-cluster", "local": "vllm-cluster"}
FAKE_ONLY = frozenset({"transcript", "metrics", "breakers", "log"})


class RealBed:
    """`scenario.Bed`. Starts Envoy at the first policy."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._policy_file = directory / "ecds.json"
        self._reports = _Reports()
        self._probes = _Probes()
        self._attempts: dict[str, list[TcpAttempt]] = {}
        self._request = ""
        self._client: dict[str, _Client] = {}
        self._providers = {name: ScriptedProvider(name, self._arrived) for name in CLUSTERS}
        self._envoy: Envoy | None = None
        self._runs = 0

    def close(self) -> None:
        for client in self._client.values():
            client.leave()
        for provider in self._providers.values():
            provider.close()
        if self._envoy is not None:
            self._envoy.__exit__(None, None, None)
        self._reports.shutdown()
        self._probes.shutdown()

    def run(self, command: Command) -> Sequence[str] | None:
        if command.name == "show":
            return None if command.arguments[0] in FAKE_ONLY else self._show(command.arguments[0])
        handler = getattr(self, f"_do_{command.name}")
        handler(command)
        return ()

    # Commands

    def _do_policy(self, command: Command) -> None:
        document = policyfixture.document(command.options)
        fresh = self._policy_file.with_suffix(".new")
        fresh.write_text(json.dumps({"resources": [_ecds(document)]}))
        fresh.rename(self._policy_file)
        if self._envoy is None:
            self._envoy = Envoy(self._bootstrap(), self._directory / "run").__enter__()
        version = decode(document).version
        waiting.until(
            lambda: self._reports.latest is not None and self._reports.latest.policy_version == version,
            what="the policy to serve",
            within=PATIENCE,
        )

    def _do_grant(self, command: Command) -> None:
        limit, amount = command.arguments[:2]
        name = account(limit, command.option("subject", "-"))
        before = self._reports.grants.get(name)
        granted = nano(amount) + (before.granted if before is not None else 0)
        self._reports.grants[name] = Grant(
            account=name,
            window="w1",
            window_ends=time.time_ns() // 1_000_000 + DAY,
            window_remaining=Millis(DAY),
            granted=NanoUSD(granted),
            recall=NanoUSD(0),
            limit=NanoUSD(nano(command.option("of", "1000"))),
            settled=NanoUSD(0),
            exhausted=command.flag("exhausted"),
        )
        waiting.until(
            lambda: name in self._reports.accounts and self._reports.accounts[name][0] >= granted,
            what=f"the sidecar to have the grant of {name}",
            within=PATIENCE,
        )

    def _do_drill(self, command: Command) -> None:
        self._runs += 1
        self._probes.tokens.clear()
        lasting = millis(command.option("lasting", "30s"))
        self._reports.drills = (
            DrillOrder(
                run=f"run-{self._runs}",
                route=ROUTE,
                fault=command.arguments[0],
                candidates=tuple(filter(None, command.option("candidates").split(","))),
                remaining=Millis(lasting),
                ends=time.time_ns() // 1_000_000 + lasting,
                probes=1,
                interval=Millis(40),
                max_cost=NanoUSD(nano(command.option("allowance", "1"))),
                recovery=Millis(0),
            ),
        )
        waiting.until(lambda: len(self._probes.tokens) >= 2, what="a control and a faulted probe", within=PATIENCE)

    def _do_provider(self, command: Command) -> None:
        provider = self._providers[command.arguments[0]]
        if command.arguments[1] == "gone":
            provider.go()
        else:
            provider.come_back()

    def _do_request(self, command: Command) -> None:
        assert self._envoy is not None, "a policy comes first"
        self._request = command.option("as") or f"request {len(self._client)}"
        self._attempts[self._request] = []
        headers = {k.partition(".")[2]: v for k, v in command.options.items() if k.startswith("header.")}
        if "tenant" in command.options:
            headers["x-tenant-id"] = command.options["tenant"]
        if "drill" in command.options:
            control, fault = list(self._probes.tokens)[:2]
            headers["x-turnout-drill"] = fault if command.options["drill"] == "fault" else control
        raw = rawwire.request(
            command.option("path", "/v1/chat/completions"),
            request_body(command),
            headers,
            method=command.option("method", "POST"),
        )
        self._client[self._request] = _Client(self._envoy.port("in"), raw)

    def _do_on(self, command: Command) -> None:
        self._request = command.arguments[0]

    def _do_upstream(self, command: Command) -> None:
        number, event = int(command.arguments[0]), command.arguments[1]
        attempt = self._attempt(number)
        if attempt.fate != "open" or event == "asked":
            return
        if event == "reset":
            attempt.break_off()
        elif event == "end":
            attempt.end()
        elif event == "head":
            length = 0 if command.flag("end") else None
            self._head(attempt, command, command.option("type", "text/event-stream"), length)
        else:
            words = wire(
                "Anthropic" if attempt.path.endswith("/messages") else "OpenAI", str(attempt.document["model"])
            )
            self._say(attempt, command, event, said(words, command, event))

    def _say(self, attempt: TcpAttempt, command: Command, event: str, data: bytes) -> None:
        whole = event in ("answer", "refusal")
        if not attempt.head_sent:
            kind = "application/json" if whole else "text/event-stream"
            self._head(attempt, command, kind, len(data) if whole else None)
        attempt.data(data)
        if whole or command.flag("end"):
            attempt.end()

    def _head(self, attempt: TcpAttempt, command: Command, kind: str, length: int | None) -> None:
        status = int(command.option("status", "200"))
        attempt.head(status, command.option("type", kind), command.option("retry-after"), length)

    def _attempt(self, number: int) -> TcpAttempt:
        attempts = self._attempts[self._request]
        return waiting.until(
            lambda: attempts[number - 1] if len(attempts) >= number else None,
            what=f"attempt {number} of {self._request}",
            within=PATIENCE,
            every=0.005,
        )

    def _do_advance(self, command: Command) -> None:
        time.sleep(millis(command.arguments[0]) / 1_000)

    def _do_client(self, command: Command) -> None:
        client = self._client[self._request]
        if command.arguments[0] == "leaves":
            client.leave()
        else:
            text = command.arguments[1].encode()
            waiting.until(lambda: client.has(text), what=f"the client to see {text!r}", within=PATIENCE, every=0.005)

    def _show(self, what: str) -> list[str]:
        if what == "client":
            return self._client[self._request].lines()
        if what == "providers":
            attempts = self._attempts[self._request]
            return [provider_line(n, a.path, a.document, a.fate) for n, a in enumerate(attempts, 1)]
        assert what == "budget", f"no show {what}"
        accounts = sorted(self._reports.accounts.items())
        return [f"{name} spent {spent} held {held}" for name, (_, spent, held) in accounts]

    # For clients that are not the bed's own

    def foreign(self, name: str) -> str:
        """Attempts from now on belong to requests under this name; the URL where a client of one's own may send them."""
        assert self._envoy is not None, "a policy comes first"
        self._request = name
        self._attempts[name] = []
        return f"http://127.0.0.1:{self._envoy.port('in')}/v1"

    def attempts(self, name: str) -> int:
        """How many attempts have reached a provider under this name."""
        return len(self._attempts[name])

    # The bed's own

    def _arrived(self, attempt: TcpAttempt) -> None:
        """Whose attempt it is tells its body: one request is served at a time, or each has words of its own."""
        self._attempts[self._request].append(attempt)

    def _bootstrap(self) -> dict[str, Any]:
        node = bootstrap.Node(id="sidecar-a", namespace="support", version="0")
        settings = Settings(
            report_cluster="reports", report_interval_ms=50, drain_ms=100, self_cluster="self", epoch_dir=""
        )
        document = bootstrap.static(node=node, admin=bootstrap.Admin(), settings=settings)
        clusters = [cluster(CLUSTERS[name], provider.port) for name, provider in self._providers.items()]
        clusters += [cluster("reports", self._reports.port), cluster("self", self._probes.port)]
        return document | {"static_resources": {"clusters": clusters, "listeners": [self._listener()]}}

    def _listener(self) -> dict[str, Any]:
        source = {"path_config_source": {"path": str(self._policy_file)}, "resource_api_version": "V3"}
        kind = URL + "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"
        manager = {
            "@type": URL + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "in",
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "non_forwarding_action": {}}],
                    }
                ]
            },
            "http_filters": [{"name": FILTER, "config_discovery": {"config_source": source, "type_urls": [kind]}}],
        }
        return {
            "name": "in",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
        }


def _ecds(document: bytes) -> Mapping[str, Any]:
    return {
        "@type": URL + "envoy.config.core.v3.TypedExtensionConfig",
        "name": FILTER,
        "typed_config": {
            "@type": URL + "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"name": LIBRARY, "do_not_close": True, "load_globally": True},
            "filter_name": FILTER,
            "terminal_filter": True,
            "filter_config": {"@type": URL + "google.protobuf.StringValue", "value": document.decode()},
        },
    }


class _Client:
    """One client's connection, read on a thread of its own, so that what has come can be shown at any time."""

    def __init__(self, port: int, request: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.sendall(request)
        self._seen = b""
        self._end = ""
        threading.Thread(target=self._read, daemon=True).start()

    def leave(self) -> None:
        """Shut down first: a close waits for the thread that reads."""
        if not self._end:
            self._end = "left"
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def has(self, text: bytes) -> bool:
        return text in self._seen

    def lines(self) -> list[str]:
        seen = self._seen
        if b"\r\n\r\n" not in seen:
            return clientview.lines(0, {}, b"", self._end)
        status, headers, body, end = self._view(seen)
        return clientview.lines(status, headers, body, end)

    def _view(self, seen: bytes) -> tuple[int, dict[str, str], bytes, str]:
        status, headers, rest = rawwire.split_head(seen)
        if headers.get("transfer-encoding") == "chunked":
            body, whole = rawwire.unchunked(rest)
        else:
            body, whole = rest, len(rest) == int(headers.get("content-length", "0"))
        return status, headers, body, "clean" if whole else self._end

    def _read(self) -> None:
        """An end that is not the end of a whole answer is a reset to this client, however Envoy puts it on HTTP/1.1."""
        with contextlib.suppress(OSError):
            while data := self._socket.recv(65536):
                self._seen += data
        self._end = self._end or "reset"


class _Reports(http.server.ThreadingHTTPServer):
    """A lease service that grants what the scenario says and remembers what it was told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ReportHandler)
        self.latest: Report | None = None
        self.accounts: dict[str, tuple[int, int, int]] = {}
        self.grants: dict[str, Grant] = {}
        self.drills: tuple[DrillOrder, ...] = ()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def take(self, report: Report) -> Answer:
        for line in report.epoch.accounts:
            if line.window:
                self.accounts[line.account] = (line.granted, line.spent, line.held)
        self.latest = report
        return Answer(wire=WIRE, sequence=report.sequence, grants=tuple(self.grants.values()), drills=self.drills)


class _ReportHandler(http.server.BaseHTTPRequestHandler):
    server: _Reports
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        report = decode_report(self.rfile.read(int(self.headers["content-length"])))
        body = encode_answer(self.server.take(report))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Reports come twenty times a second."""


class _Probes(http.server.ThreadingHTTPServer):
    """Stands where the sidecar's own listener is, and learns the tokens that its probes carry."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ProbeHandler)
        self.tokens: dict[str, None] = {}
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _ProbeHandler(http.server.BaseHTTPRequestHandler):
    server: _Probes
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.tokens[self.headers["x-turnout-drill"]] = None
        self.send_response(503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Nothing to say."""

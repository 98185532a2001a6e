"""A real Envoy with the engine, for tests: free ports, readiness asked of its admin interface, logs kept, ended by its process id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from turnout_sidecar.envoy import build, launcher
from turnout_testing import waiting

GENUINE = {
    "name": "envoy.filters.http.header_mutation",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        "mutations": {
            "response_mutations": [
                {
                    "append": {
                        "header": {"key": "x-turnout-genuine", "value": "1"},
                        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                    }
                }
            ]
        },
    },
}
"""The mark that production clusters put on what a provider said."""
CODEC = {
    "name": "envoy.filters.http.upstream_codec",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"},
}


class EnvoyFailedError(AssertionError):
    """Envoy did not start, or did not end; the message holds its log."""


class Envoy:
    """Context manager: started and ready inside, ended after. `bootstrap` needs no admin port; it is given a free one."""

    def __init__(
        self,
        bootstrap: dict[str, Any],
        directory: Path,
        *,
        python_path: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        library: Path | None = None,
        log_level: str = "warning",
        ready_within: float = 60,
        workers: int = 1,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._bootstrap = directory / "bootstrap.json"
        self._admin_file = directory / "admin"
        self.log_file = directory / "envoy.log"
        self.output_file = directory / "envoy.out"
        self._document = bootstrap
        self._python_path = python_path
        self._environment = environment or {}
        self._library = library
        self._log_level = log_level
        self._ready_within = ready_within
        self._workers = workers
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Starts the process without waiting for it to be ready."""
        self._bootstrap.write_text(json.dumps(self._document))
        self._admin_file.unlink(missing_ok=True)
        line = launcher.command(
            launcher.find_envoy(),
            self._bootstrap,
            log_level=self._log_level,
            extra=("--admin-address-path", str(self._admin_file), "--drain-time-s", "1"),
            workers=self._workers,
        )
        base = {**os.environ, **self._environment}
        environment = launcher.environment(self._library or build.build(), base=base, python_path=self._python_path)
        with self.log_file.open("ab") as log, self.output_file.open("ab") as output:
            self.process = subprocess.Popen(line, env=environment, stdout=output, stderr=log, cwd=self.directory)
        return self

    def __enter__(self) -> Self:
        self.start()
        try:
            waiting.until(self._ready, what="Envoy to be ready", within=self._ready_within)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            except EnvoyFailedError:
                if error is None:
                    raise

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def stop(self, *, within: float = 30) -> int:
        """SIGTERM; the exit status. Raises `EnvoyFailedError` when it does not end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise EnvoyFailedError(
                f"Envoy did not end within {within:.0f} s of SIGTERM; its log:\n{self.log()}"
            ) from None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def wait(self, *, within: float = 30) -> int:
        """The exit status of a process that ends by itself."""
        assert self.process is not None
        return self.process.wait(within)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def output(self) -> str:
        """Standard output: the access log."""
        return self.output_file.read_text(errors="replace")

    def admin(self, path: str, *, method: str = "GET") -> str:
        request = urllib.request.Request(f"http://{self.admin_address}{path}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the admin address is ours
            body: bytes = answer.read()
        return body.decode()

    @property
    def admin_address(self) -> str:
        return self._admin_file.read_text().strip()

    def port(self, listener: str) -> int:
        """The port that a listener on port 0 was given."""
        statuses = json.loads(self.admin("/listeners?format=json")).get("listener_statuses", [])
        for status in statuses:
            if status["name"] == listener:
                return int(status["local_address"]["socket_address"]["port_value"])
        raise EnvoyFailedError(f"no listener {listener} among {[s['name'] for s in statuses]}")

    def prometheus(self, word: str = "") -> list[str]:
        """Lines of the Prometheus text that hold `word`, comments left out."""
        text = self.admin("/stats/prometheus")
        return [line for line in text.splitlines() if word in line and not line.startswith("#")]

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise EnvoyFailedError(
                f"Envoy ended with {self.process.returncode} before it was ready; its log:\n{self.log()}"
            )
        if not self._admin_file.exists() or not self._admin_file.read_text().strip():
            return False
        try:
            return self.admin("/ready").startswith("LIVE")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


def cluster(name: str, port: int, *, http2: bool = False) -> dict[str, Any]:
    """A loopback cluster that marks what the upstream said, as production clusters do."""
    url = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    protocol: dict[str, Any] = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": url,
                "explicit_http_config": protocol,
                "http_filters": [GENUINE, CODEC],
            }
        },
    }

"""`turnout serve` as a process, for tests: what it told as events, where it listens, how it ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from turnout_testing import waiting

EXAMPLES = Path(__file__).parents[3] / "examples"
PATIENCE = 60.0
Event = dict[str, Any]


def local_folder(directory: Path, provider: str, key: str = "sk-test") -> Path:
    """A copy of ``examples/local`` whose pools ask `provider` (``http://host:port``), with `key` as every key."""
    shutil.copytree(EXAMPLES / "local", directory)
    edit(directory / "20-pools.yaml", "http://127.0.0.1:8100", provider)
    for old in ("sk-example-this-is-not-a-key", "sk-ant-example-this-is-not-a-key"):
        edit(directory / "10-secrets.yaml", old, key)
    return directory


def edit(file: Path, old: str, new: str) -> None:
    """Replaces `old` in one move, as an editor saves. An edit that changes nothing is a mistake of the test."""
    text = file.read_text()
    assert old in text, f"{file} does not hold {old!r}"
    fresh = file.with_suffix(".new")
    fresh.write_text(text.replace(old, new))
    fresh.replace(file)


class Served:
    """Context manager: listening inside, ended by SIGTERM after. `arguments` go to ``turnout serve`` as they are."""

    def __init__(
        self,
        folder: Path,
        state: Path,
        *arguments: str,
        listen: str = "127.0.0.1:0",
        environment: Mapping[str, str] | None = None,
        inherit: tuple[int, ...] = (),
    ) -> None:
        self._command = [
            sys.executable, "-m", "turnout_operator", "serve", str(folder), "--state", str(state),
            "--listen", listen, "-o", "json", *arguments,
        ]  # fmt: skip
        self._environment = {**os.environ, **(environment or {})}
        self._inherit = inherit
        self._errors = state.with_name(f"{state.name}.stderr")
        self.state = state
        self.events: list[Event] = []
        self.output: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self._listening: Event | None = None

    def start(self) -> Self:
        """Starts without waiting."""
        with self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                pass_fds=self._inherit,
            )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        return self

    def __enter__(self) -> Self:
        self.start()
        self._listening = self.event("listening")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            status = self.stop()
            assert error is not None or status == 0, f"serve ended with {status}: {self.errors()}"

    @property
    def url(self) -> str:
        """Base URL for OpenAI clients."""
        assert self._listening is not None
        return str(self._listening["baseUrl"])

    @property
    def address(self) -> tuple[str, int]:
        assert self._listening is not None
        host, _, port = str(self._listening["address"]).rpartition(":")
        return host, int(port)

    def event(self, name: str, fact: Callable[[Event], bool] = lambda _: True) -> Event:
        """The first event of that name for which `fact` holds; waits for it. Raises when the process ends before."""

        def found() -> Event | None:
            for event in list(self.events):
                if event["event"] == name and fact(event):
                    return event
            if self.process is not None and self.process.poll() is not None and not self._reader.is_alive():
                raise AssertionError(f"serve ended with {self.process.returncode} before {name}: {self.errors()}")
            return None

        return waiting.until(found, what=f"event {name}; told so far {self.events}", within=PATIENCE)

    def forget(self) -> None:
        """Events from now on."""
        self.events.clear()

    def requests(self) -> list[Event]:
        """Lines of the access log."""
        return [event for event in self.events if event["event"] == "request"]

    def envoy(self) -> int:
        """Process id of the present Envoy."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return waiting.until(
            lambda: next((pid for pid in map(int, children.read_text().split()) if _is_envoy(pid)), None),
            what="an Envoy under serve",
            within=PATIENCE,
        )

    def get(self, path: str, **options: Any) -> httpx.Response:
        """From the data plane."""
        host, port = self.address
        return httpx.get(f"http://{host}:{port}{path}", timeout=30, **options)

    def post(self, body: Mapping[str, Any], **headers: str) -> httpx.Response:
        """A chat completion; underscores of header names are dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"{self.url}/chat/completions", json=dict(body), headers=named, timeout=60)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, to the parent alone."""
        assert self.process is not None
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """The exit status of a process that is ending."""
        assert self.process is not None
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def errors(self) -> str:
        """Standard error: words for people, Envoy's own log."""
        return self._errors.read_text(errors="replace")

    def said(self) -> str:
        """Everything that was printed."""
        return "\n".join(self.output) + self.errors()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.output.append(line)
            if line.startswith("{"):
                self.events.append(json.loads(line))


def _is_envoy(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/exe").resolve().name == "envoy"
    except OSError:
        return False

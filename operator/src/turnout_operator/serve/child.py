"""Envoy as a child of `serve`: started with a bootstrap, asked over its admin socket, ended with its parent, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

from turnout_operator.render.envoy.listener import INGRESS
from turnout_operator.serve.lines import Lines
from turnout_sidecar.envoy import launcher
from turnout_sidecar.envoy.bootstrap import Admin

HEALTHY = 60.0
"""Seconds after which a life counts as a good one and the count of deaths begins anew."""
MOST_DEATHS = 5
DRAIN = 5.0
"""Seconds that requests under way have after SIGTERM; then as much again for the last report."""

_EXTRA = ("--file-flush-interval-msec", "500", "--drain-time-s", str(int(DRAIN)))
"""The access log is read by a person; Envoy would keep it to itself for ten seconds."""


class EnvoyKeepsDying(Exception):  # noqa: N818 - said to a person
    """It died too often in too short a time; the message holds its exit status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """Envoy ended by itself."""

    status: int
    again_in: float


class Envoy:
    """One Envoy at a time, for as long as `run` runs. `died` hears of every death that is followed by a new start."""

    def __init__(
        self,
        bootstrap: Path,
        admin: Admin,
        died: Callable[[Death], None],
        environment: Mapping[str, str],
        log_level: str,
        output: Lines | None = None,
    ) -> None:
        """`environment` without provider keys: they reach Envoy by SDS, and a core file shows what stands there.
        `output` gets its access log line by line; without it Envoy writes to our standard output itself."""
        self._output = output
        self._environment = environment
        self._bootstrap = bootstrap
        self._admin = admin
        self._died = died
        self._log_level = log_level
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self.proven = False
        """It has served: a death is an accident from now on. One before that would only be repeated."""

    @property
    def pid(self) -> int:
        """Of the present life, 0 between two."""
        return self._process.pid if self._process is not None else 0

    async def run(self) -> None:
        """Until `stop`. Raises `EnvoyKeepsDying`, `launcher.LaunchRefused` or `build.BuildRefused`."""
        envoy, library = await asyncio.to_thread(launcher.prepare)
        command = launcher.command(envoy, self._bootstrap, log_level=self._log_level, extra=_EXTRA)
        environment = launcher.environment(library, base=self._environment)
        deaths = 0
        while not self._stopping:
            began = monotonic()
            self._process = start(command, environment, self._output)
            status = await _ended(self._process)
            self._process = None
            if self._stopping:
                return
            deaths = 1 if monotonic() - began > HEALTHY else deaths + 1
            if not self.proven:
                raise EnvoyKeepsDying(f"Envoy ended with {_said(status)} before it served; its words are above")
            if deaths >= MOST_DEATHS:
                raise EnvoyKeepsDying(
                    f"Envoy ended {deaths} times in a row, last with {_said(status)}; its words are above"
                )
            pause = min(8.0, 0.5 * 2 ** (deaths - 1))
            self._died(Death(status=status, again_in=pause))
            await asyncio.sleep(pause)

    async def stop(self) -> None:
        """SIGTERM, then what is under way may end and the last report be sent, then SIGKILL."""
        self._stopping = True
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(2 * DRAIN):
                await _ended(process)
        except TimeoutError:
            process.kill()
            await _ended(process)

    async def address(self) -> str:
        """``host:port`` on which applications are served. Raises `httpx.HTTPError` while the admin interface does not answer and
        LookupError while there is no such listener."""
        for listener in (await self._ask("/listeners?format=json"))["listener_statuses"]:
            if listener["name"] == INGRESS:
                bound = listener["local_address"]["socket_address"]
                host = f"[{bound['address']}]" if ":" in bound["address"] else bound["address"]
                return f"{host}:{bound['port_value']}"
        raise LookupError(INGRESS)

    async def _ask(self, path: str) -> Any:
        transport = httpx.AsyncHTTPTransport(uds=self._admin.path or None)
        base = f"http://127.0.0.1:{self._admin.port}"
        async with httpx.AsyncClient(transport=transport, base_url=base, timeout=5) as client:
            response = await client.get(path)
            response.raise_for_status()
            return response.json()


def start(command: list[str], environment: Mapping[str, str], output: Lines | None = None) -> subprocess.Popen[bytes]:
    """A child in a session of its own (a terminal's Ctrl-C is the parent's to handle) that the kernel ends when its parent dies."""
    leash = [sys.executable, "-m", "turnout_operator.serve.leash", str(os.getpid())]
    process = subprocess.Popen(
        [*leash, *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if output is not None else None,
        start_new_session=True,
    )
    if output is not None:
        assert process.stdout is not None
        threading.Thread(target=output.forward, args=(process.stdout,), name="access-log", daemon=True).start()
    return process


async def _ended(process: subprocess.Popen[bytes]) -> int:
    """Its status, without a thread that waits: a descriptor of the process becomes readable."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        with contextlib.suppress(OSError):
            os.close(descriptor)
    return process.wait()


def _said(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"

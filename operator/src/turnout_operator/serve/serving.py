"""`serve` as a whole: reads the folder, keeps one Envoy in step with it, tells what happens, ends cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import watchfiles

from turnout_operator import folder
from turnout_operator.quota.ports import StoreUnavailable
from turnout_operator.render.envoy import Edge
from turnout_operator.render.envoy.listener import TRUSTED_CA
from turnout_operator.serve import keys, news
from turnout_operator.serve.child import Death, Envoy, EnvoyKeepsDying
from turnout_operator.serve.control import Control
from turnout_operator.serve.lines import Lines
from turnout_operator.serve.program import ALL, Program, Remembered, Unusable, program
from turnout_operator.serve.state import State
from turnout_sidecar.envoy import bootstrap
from turnout_sidecar.envoy.launcher import LaunchRefused
from turnout_sidecar.envoy.toolchain import BuildRefused
from turnout_sidecar.policy.units import Millis

TIDY_SECONDS = 60.0
ASK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a person may set."""

    folder: Path
    host: str
    port: int
    state: Path
    namespace: str = ALL
    keys: tuple[keys.KeyOption, ...] = ()
    access_log: str = ""
    """File; empty: standard output."""
    admin_port: int | None = None
    """Of Envoy's admin interface on loopback; None: a Unix socket that only this process knows."""
    trusted_ca: str = TRUSTED_CA
    log_level: str = "warning"
    ready_fd: int | None = None


class ServeRefused(Exception):  # noqa: N818 - said to a person
    """Nothing can be served; the message says why."""


def clock() -> Millis:
    """Monotonic milliseconds."""
    return Millis(time.monotonic_ns() // 1_000_000)


def wall() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Serving:
    """One life. `tell` hears everything that happens."""

    def __init__(
        self, settings: Settings, state: State, environment: Mapping[str, str], tell: news.Tell, output: Lines | None
    ) -> None:
        self._settings = settings
        self._output = output
        self._state = state
        self._environment = environment
        self._tell = tell
        self._moved = asyncio.Event()
        self._stop = asyncio.Event()
        self._control = Control(state.ledger, clock=clock, wall=wall, moved=self._moved.set)
        self._edge = Edge(
            address=settings.host,
            port=_free_port(settings.host, settings.port),
            access_log=settings.access_log,
            trusted_ca=settings.trusted_ca,
        )
        self._remembered: Remembered = state.remembered()
        self._read: tuple[Mapping[str, str], keys.Keys] | None = None
        self._program: Program | None = None
        self._told: set[str] = set()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises `ServeRefused`."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        await self._reload()
        if self._program is None or not self._program.compilation.routes:
            raise ServeRefused(f"no route of {self._settings.folder} can be served: repair what is named above")
        await self._control.start()
        try:
            await self._serve(self._child())
        finally:
            await self._control.stop()
        self._tell(news.Stopped())

    async def _serve(self, envoy: Envoy) -> None:
        work = [envoy.run(), self._follow(envoy), self._watch(), self._tidy(), self._stop.wait()]
        tasks = [asyncio.ensure_future(each) for each in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except (EnvoyKeepsDying, LaunchRefused, BuildRefused) as error:
            raise ServeRefused(str(error)) from error
        finally:
            for task in tasks[1:]:
                task.cancel()
            await envoy.stop()
            tasks[0].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # the folder

    async def _reload(self, *, anew: bool = False) -> None:
        """Takes over what is good of the folder as it is now; what cannot be told leaves everything as it was. `anew`: also when nothing
        was edited, because exceptions end with time."""
        try:
            texts = await asyncio.to_thread(folder.texts, self._settings.folder)
            given = keys.read(self._settings.keys, self._environment)
            if (texts, given) == self._read and not anew:
                return
            made = program(
                texts, given, self._remembered, self._edge, datetime.now(UTC), namespace=self._settings.namespace
            )
        except Unusable as error:
            self._tell(news.Refused(faults=news.lines(error.faults)))
            return
        except (folder.FolderUnreadable, keys.KeyRefused) as error:
            self._tell(news.Refused(faults=(news.fault(str(error)),)))
            return
        self._read = (texts, given)
        await self._take(made)

    async def _take(self, made: Program) -> None:
        if self._program is not None and made.says_the_same(self._program):
            return
        self._program, self._remembered = made, made.remembered
        self._state.remember(made.remembered)
        self._control.publish(made, self._edge)
        self._tell(news.loaded(made.compilation, made.faults, made.resources.policy_version, await self._spent(made)))
        self._moved.set()

    async def _spent(self, made: Program) -> dict[str, int]:
        quota = tuple(limit for route in made.compilation.routes for limit in route.quota)
        try:
            return await self._control.spent(quota)
        except StoreUnavailable as error:
            self._tell(news.Complaint(words=str(error)))
            return {}

    async def _watch(self) -> None:
        async for _ in watchfiles.awatch(
            *_places(self._settings), watch_filter=None, recursive=False, stop_event=self._stop
        ):
            await self._reload()

    # the sidecar

    def _child(self) -> Envoy:
        admin = bootstrap.Admin(path=str(self._state.admin_socket))
        if self._settings.admin_port is not None:
            admin = bootstrap.Admin(port=self._settings.admin_port)
        version = importlib.metadata.version("turnout-operator")
        document = bootstrap.bootstrap(
            node=bootstrap.Node(id="serve", namespace=ALL, version=version),
            control=self._control.plane(self._state.private),
            admin=admin,
            epoch_dir=str(self._state.epochs.absolute()),
        )
        path = self._state.private("bootstrap.json", bootstrap.encode(document))
        return Envoy(path.absolute(), admin, self._died, self._clean(), self._settings.log_level, self._output)

    def _clean(self) -> dict[str, str]:
        named = {option.place for option in self._settings.keys if not option.is_file}
        return {name: value for name, value in self._environment.items() if name not in named}

    def _died(self, death: Death) -> None:
        self._told.discard("programmed")
        self._tell(news.Died(status=death.status, again_in_seconds=death.again_in))

    async def _follow(self, envoy: Envoy) -> None:
        """Tells when the sidecar runs what it was given, and what it complains of."""
        said: frozenset[str] = frozenset()
        programmed, listening = "", False
        while True:
            await self._moved.wait()
            self._moved.clear()
            made = self._program
            if made is None:
                continue
            progress = self._control.progress(made.resources.policy_version)
            for words in sorted(set(progress.complaints) - said):
                self._tell(news.Complaint(words=words))
            if not listening and (refusal := self._control.refused_listener()):
                raise ServeRefused(f"Envoy cannot listen on {self._edge.address}:{self._edge.port}: {refusal}")
            said = frozenset(progress.complaints)
            if progress.programmed and programmed != made.resources.policy_version:
                programmed = made.resources.policy_version
                self._tell(news.Programmed(policy_version=programmed))
            if progress.programmed and not listening:
                listening = envoy.proven = True
                self._listening(await _address(envoy))

    def _listening(self, address: str) -> None:
        self._tell(news.Listening(address=address, base_url=f"http://{address}/v1"))
        if self._settings.ready_fd is not None:
            with contextlib.suppress(OSError), os.fdopen(self._settings.ready_fd, "w") as ready:
                ready.write(address + "\n")

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            with contextlib.suppress(StoreUnavailable):
                await self._control.tidy()
            await self._reload(anew=True)


async def _address(envoy: Envoy) -> str:
    """Once the listener is there, which may be a moment after it was acknowledged."""
    async for _ in _moments():
        with contextlib.suppress(httpx.HTTPError, LookupError):
            return await envoy.address()
    raise AssertionError("moments do not end")


async def _moments() -> AsyncIterator[None]:
    while True:
        yield
        await asyncio.sleep(ASK_SECONDS)


def _places(settings: Settings) -> set[Path]:
    """Folders whose files may change what is served."""
    return {settings.folder, *(Path(k.place).expanduser().parent for k in settings.keys if k.is_file)}


def _free_port(host: str, port: int) -> int:
    """`port`, or a free one for 0: known before Envoy starts, so that an Envoy that is started again is found where the first one was."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServeRefused(f"cannot listen on {host}:{port}: {error.strerror}; choose another --listen") from error
        return int(probe.getsockname()[1])


async def serve(
    settings: Settings, environment: Mapping[str, str], tell: news.Tell, output: Lines | None = None
) -> None:
    """Serves until SIGTERM. `output`: shared with the access log where both go to standard output. Raises `ServeRefused`,
    `state.StateRefused`."""
    with State(settings.state) as state:
        try:
            serving = Serving(settings, state, environment, tell, output)
        except StoreUnavailable as error:
            raise ServeRefused(str(error)) from error
        await serving.run()

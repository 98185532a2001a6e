"""TCP roads between processes, which tests cut and silence: what a network does and no signal to a process can.

A road listens on loopback and leads to one port. Open, it forwards. Cut, it resets what is on it and whoever comes. Silent, it
takes connections and bytes and delivers neither; opened again, it delivers what waited, late.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from turnout_testing.controlplane.ports import LOOPBACK

T = TypeVar("T")
_READ = 65_536


class Road:
    """One way to `target`. Made by `Roads.to`; its methods return when the change is in force."""

    def __init__(self, roads: Roads, target: int) -> None:
        self.target = target
        self.port = 0
        self._roads = roads
        self._open = True
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    def cut(self) -> None:
        """Connections are reset, those there are and new ones."""

        def now() -> None:
            self._open = False
            self._flows.set()
            for writer in list(self._writers):
                writer.transport.abort()

        self._roads.call(now)

    def silence(self) -> None:
        """No byte gets through, and nothing is closed."""
        self._roads.call(self._flows.clear)

    def open(self) -> None:
        """Everything gets through again, and first what waited."""

        def now() -> None:
            self._open = True
            self._flows.set()

        self._roads.call(now)

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._taken, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._flows.wait()
            if self._open:
                await self._carry(reader, writer)
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(LOOPBACK, self.target)
        self._writers.add(back)
        try:
            ways = [asyncio.create_task(self._pump(reader, back)), asyncio.create_task(self._pump(there, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
        finally:
            self._writers.discard(back)
            back.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_READ):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            return


class Roads:
    """All roads of a bed, on a thread of their own. A context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="roads", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def to(self, target: int) -> Road:
        """A new road to this port of loopback."""

        async def made() -> Road:
            road = Road(self, target)
            await road.listen()
            return road

        return asyncio.run_coroutine_threadsafe(made(), self._loop).result()

    def call(self, action: Callable[[], T]) -> T:
        """Does it on the roads' thread and waits for it."""

        async def act() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result()

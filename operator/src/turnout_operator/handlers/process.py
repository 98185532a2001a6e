"""The operator process: watching, standing by, leading, ending.

Every replica watches and answers its probes. Only the leader listens for sidecars, so one that tries a replica which stands by
goes on to the next. Losing the lead ends the process with a failure: everything it had started is then another's.
"""

import asyncio
import contextlib
import signal

import structlog

from turnout_operator import metrics
from turnout_operator.handlers.cache import Cache
from turnout_operator.handlers.leader import Leader, seed
from turnout_operator.handlers.watch import Watcher
from turnout_operator.health import Health, Heartbeats
from turnout_operator.kube.client import ApiError, Unreachable, connect
from turnout_operator.kube.leader import LeaderSettings, Leadership
from turnout_operator.kube.resources import Resource
from turnout_operator.settings import OperatorSettings

log = structlog.get_logger(__name__)

EXIT_LOST, EXIT_WATCH = 1, 2


class OperatorProcess:
    """`run` returns the exit status. SIGTERM and SIGINT end it cleanly: the lead is released, sidecars go on."""

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._client = connect(settings.kubeconfig)
        self._cache = Cache()
        self._heartbeats = Heartbeats()
        self._leader: Leader | None = None
        self._watcher: Watcher | None = None
        self._end: asyncio.Future[int] | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        self._end = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._finish, 0)
        metrics.LEADER.set(0)
        health = Health(self._settings.health_host, self._settings.health_port, self._heartbeats, self._not_ready)
        beat = asyncio.create_task(self._beat())
        leadership = self._leadership(loop)
        try:
            await self._patiently_seed()
            self._watcher = Watcher(self._client, self._cache, self._changed, lambda: self._heartbeats.beat("kopf"))
            self._watcher.start()
            leadership.start()
            return await self._end
        finally:
            beat.cancel()
            if self._leader is not None:
                await self._leader.stop()
            await asyncio.to_thread(leadership.release)
            if self._watcher is not None:
                await asyncio.to_thread(self._watcher.end)
            health.close()

    def _leadership(self, loop: asyncio.AbstractEventLoop) -> Leadership:
        s = self._settings
        return Leadership(
            self._client,
            LeaderSettings(
                namespace=s.namespace,
                identity=s.identity,
                duration=s.lease_seconds,
                renew_deadline=s.lease_seconds * 2 / 3,
                retry_period=s.lease_seconds * 2 / 15,
            ),
            on_lead=lambda: loop.call_soon_threadsafe(self._lead, loop),
            on_lost=lambda: loop.call_soon_threadsafe(self._finish, EXIT_LOST),
        )

    def _lead(self, loop: asyncio.AbstractEventLoop) -> None:
        leader = Leader(self._settings, self._client, self._cache, loop)
        self._leader = leader
        task = loop.create_task(leader.start())
        task.add_done_callback(self._started)

    def _started(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("could not begin to lead", error=repr(task.exception()))
            self._finish(EXIT_LOST)

    def _finish(self, status: int) -> None:
        if self._end is not None and not self._end.done():
            self._end.set_result(status)

    def _changed(self, resource: Resource, namespace: str, name: str) -> None:
        if self._leader is not None:
            self._leader.changed(resource, namespace, name)

    async def _patiently_seed(self) -> None:
        """The API server may come up after us."""
        while self._end is not None and not self._end.done():
            try:
                await asyncio.to_thread(seed, self._client, self._cache)
            except (ApiError, Unreachable) as e:
                log.warning("nothing can be read yet", error=str(e))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(self._end), 2)
            else:
                return

    async def _beat(self) -> None:
        while True:
            self._heartbeats.beat("main")
            if self._watcher is not None and not self._watcher.is_alive():
                self._finish(EXIT_WATCH)
            await asyncio.sleep(1)

    def _not_ready(self) -> list[str]:
        if self._watcher is None or not self._watcher.ready.is_set():
            return ["the first listing of routes, pools, drills and namespaces is not there yet"]
        return []

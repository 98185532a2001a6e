"""kopf in its own thread and loop: list, watch, reconnect. Its handlers put objects into the cache and keys into the queue.

No annotation, finalizer, timer, peering or event of kopf's: those write to users' objects. `on.event` leaves nothing behind.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import kopf
import structlog

from turnout_operator.handlers.cache import Cache
from turnout_operator.kube.client import Client
from turnout_operator.kube.resources import WATCHED, Resource

log = structlog.get_logger(__name__)
Changed = Callable[[Resource, str, str], None]


class Watcher(threading.Thread):
    """`ready` is set once every watch has its first listing; `heartbeat` is called each second from kopf's loop."""

    def __init__(self, client: Client, cache: Cache, changed: Changed, heartbeat: Callable[[], None]) -> None:
        super().__init__(name="kopf", daemon=True)
        self._client = client
        self._cache = cache
        self._changed = changed
        self._heartbeat = heartbeat
        self.ready = threading.Event()
        self._stop_flag = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._operate())
        except BaseException as e:  # noqa: BLE001 - whatever ended it, the process must know
            self.error = e
            log.error("the watches ended", error=repr(e))

    def end(self) -> None:
        self._stop_flag.set()
        self.join(10)

    async def _operate(self) -> None:
        beat = asyncio.create_task(self._beat())
        try:
            await kopf.operator(
                registry=self._registry(),
                standalone=True,
                clusterwide=True,
                ready_flag=self.ready,
                stop_flag=self._stop_flag,
            )
        finally:
            beat.cancel()

    async def _beat(self) -> None:
        while True:
            self._heartbeat()
            await asyncio.sleep(1)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.startup(registry=registry)(_settings)
        kopf.on.login(registry=registry)(self._login)
        for resource in WATCHED:
            self._watch(registry, resource)
        return registry

    def _watch(self, registry: kopf.OperatorRegistry, resource: Resource) -> None:
        @kopf.on.event(resource.group, resource.version, resource.plural, id=resource.plural, registry=registry)
        def seen(event: Any, body: Any, **_: Any) -> None:
            metadata = body["metadata"]
            namespace, name = metadata.get("namespace", ""), metadata["name"]
            if event["type"] == "DELETED":
                changed = self._cache.drop(resource, namespace, name)
            else:
                plain = {"apiVersion": resource.api_version, "kind": resource.kind, **dict(body)}
                changed = self._cache.put(resource, plain)
            if changed:
                self._changed(resource, namespace, name)

    def _login(self, **_: Any) -> kopf.ConnectionInfo:
        return connection_info(self._client)


def connection_info(client: Client) -> kopf.ConnectionInfo:
    """The same server and credentials as `client`. Called again by kopf when a token was refused, so rotation is seen."""
    c = client.configuration
    token = client.bearer_token()
    return kopf.ConnectionInfo(
        server=c.host,
        ca_path=c.ssl_ca_cert,
        insecure=not c.verify_ssl,
        certificate_path=c.cert_file,
        private_key_path=c.key_file,
        token=token or None,
    )


def _settings(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.request_timeout = 30
    settings.watching.initial_streaming = True
    settings.watching.inactivity_timeout = 70
    settings.process.ultimate_exiting_timeout = 5

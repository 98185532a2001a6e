"""The cluster's ledger: one ConfigMap a shard in the operator's namespace, written by compare-and-swap on its resourceVersion.

No owner references: an account outlives its route to the window's end. Deleting one of these by hand forgets what was spent; the next reports of
living sidecars bring back what they hold, and that is all that can be known.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from turnout_operator.kube.client import ApiError, Client, Conflict, NotFound, Object, Unreachable
from turnout_operator.kube.resources import CONFIG_MAPS
from turnout_operator.quota import ports

LABEL = "turnout.dev/ledger"
NAME = "turnout-ledger-"
KEY = "shard.json"
_THREADS = 8
_T = TypeVar("_T")


class ConfigMapStore:
    """Blocking calls in a few threads of its own, so that a slow API server holds up nothing but leases."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="ledger")

    async def load(self, prefix: str) -> ports.Stored | None:
        found = await self._run(lambda: self._client.find(CONFIG_MAPS, self._namespace, NAME + prefix))
        return None if found is None else _stored(found)

    async def swap(self, prefix: str, content: bytes, expected: str | None) -> str:
        written = await self._run(lambda: self._swap(prefix, content, expected))
        return str(written["metadata"]["resourceVersion"])

    async def prefixes(self) -> tuple[str, ...]:
        return await self._run(self._prefixes)

    def close(self) -> None:
        """Waits for the calls under way."""
        self._threads.shutdown()

    def _swap(self, prefix: str, content: bytes, expected: str | None) -> Object:
        metadata: Object = {
            "name": NAME + prefix,
            "namespace": self._namespace,
            "labels": {LABEL: "true", "app.kubernetes.io/managed-by": "turnout-operator"},
        }
        if expected is not None:
            metadata["resourceVersion"] = expected
        body: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {KEY: content.decode()}}
        try:
            if expected is None:
                return self._client.create(CONFIG_MAPS, self._namespace, body)
            return self._client.replace(CONFIG_MAPS, self._namespace, body)
        except Conflict as e:
            raise ports.Conflict(str(e)) from e
        except NotFound as e:
            if expected is None:
                raise  # the namespace is not there
            raise ports.Conflict(str(e)) from e

    def _prefixes(self) -> tuple[str, ...]:
        names = (item["metadata"]["name"] for item in self._client.every(CONFIG_MAPS, self._namespace, f"{LABEL}=true"))
        return tuple(sorted(name.removeprefix(NAME) for name in names if name.startswith(NAME)))

    async def _run(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (ApiError, Unreachable) as e:
            raise ports.StoreUnavailable(f"the ledger's ConfigMaps: {e}") from e


def _stored(found: Object) -> ports.Stored:
    content = (found.get("data") or {}).get(KEY, "")
    return ports.Stored(content.encode(), found["metadata"]["resourceVersion"])

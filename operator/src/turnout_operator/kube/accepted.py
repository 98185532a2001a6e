"""The accepted generation of each route and pool, kept in ConfigMaps of the operator's namespace.

It is what stays in service when an edit is refused, also across a restart of the operator. It lives here and not beside the
route, because the operator then needs no right to write ConfigMaps anywhere else; so it is taken away here too, when its
route or pool is gone. No secret is in it.
"""

import hashlib
from typing import Any

import msgspec
import structlog

from turnout_operator.ir import Accepted, CompiledPool, CompiledRoute
from turnout_operator.kube.client import Client
from turnout_operator.kube.resources import CONFIG_MAPS

log = structlog.get_logger(__name__)
LABEL = "turnout.dev/accepted"
_ROUTE, _POOL = "route", "pool"
_KEY = "accepted.json"


class AcceptedStore:
    """Blocking. Remembers what it wrote, so that an unchanged generation is no write."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._written: dict[str, str] = {}

    def load(self) -> Accepted:
        """What earlier lives accepted. What another version wrote and this one cannot read is named and left out."""
        routes: list[CompiledRoute] = []
        pools: list[CompiledPool] = []
        self._written = {}
        for item in self._client.every(CONFIG_MAPS, self._namespace, labels=LABEL):
            document = (item.get("data") or {}).get(_KEY, "")
            name = item["metadata"]["name"]
            self._written[name] = document
            try:
                if item["metadata"]["labels"][LABEL] == _ROUTE:
                    routes.append(msgspec.json.decode(document, type=CompiledRoute))
                else:
                    pools.append(msgspec.json.decode(document, type=CompiledPool))
            except msgspec.MsgspecError as e:
                log.warning("accepted generation unreadable", config_map=name, error=str(e))
        return Accepted(
            routes=tuple(sorted(routes, key=lambda r: r.key)), pools=tuple(sorted(pools, key=lambda p: p.key))
        )

    def keep(self, accepted: Accepted) -> None:
        """Afterwards a new life of the operator starts from exactly `accepted`."""
        wanted = {o["metadata"]["name"]: o for o in self._objects(accepted)}
        for name, body in wanted.items():
            document = body["data"][_KEY]
            if self._written.get(name) != document:
                self._client.apply(CONFIG_MAPS, body)
                self._written[name] = document
        for name in sorted(set(self._written) - set(wanted)):
            self._client.delete(CONFIG_MAPS, self._namespace, name)
            del self._written[name]

    def _objects(self, accepted: Accepted) -> list[dict[str, Any]]:
        return [
            *(self._object(_ROUTE, route.key, route) for route in accepted.routes),
            *(self._object(_POOL, pool.key, pool) for pool in accepted.pools),
        ]

    def _object(self, kind: str, key: str, compiled: CompiledRoute | CompiledPool) -> dict[str, Any]:
        digest = hashlib.sha256(f"{kind}/{key}".encode()).hexdigest()[:16]
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": f"turnout-accepted-{digest}",
                "namespace": self._namespace,
                "labels": {LABEL: kind, "app.kubernetes.io/managed-by": "turnout"},
                "annotations": {"turnout.dev/of": key},
            },
            "data": {
                _KEY: msgspec.json.encode(compiled, order="deterministic").decode(),
                "generation": str(compiled.generation),
            },
        }


def owner_reference(owner: dict[str, Any]) -> dict[str, Any]:
    """So that the API server's garbage collector takes the child with its owner."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }

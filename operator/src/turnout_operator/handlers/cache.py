"""What the watches have told us: the current objects by kind and name. Fed by kopf, repaired by the periodic resync."""

import threading
from collections.abc import Iterable
from typing import Any

from turnout_operator.kube.resources import Resource

Object = dict[str, Any]


class Cache:
    """Thread-safe. Objects are never changed in place: a reader may keep what it got."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}

    def put(self, resource: Resource, body: Object) -> bool:
        """Keeps `body` unless a newer version is known. True when something but `status` changed."""
        key = _key(body)
        with self._lock:
            kind = self._objects.setdefault(resource.kind, {})
            known = kind.get(key)
            if known is not None and _older(body, known):
                return False
            kind[key] = _lean(body)
        return known is None or _significant(known) != _significant(body)

    def wrote(self, resource: Resource, body: Object) -> None:
        """Keeps the answer to a write of our own, if only what we write has changed. An edit of somebody's that came back with it is
        left for the watch to tell: taken up here, it would be no news there, and nobody would act on it."""
        key = _key(body)
        with self._lock:
            kind = self._objects.setdefault(resource.kind, {})
            known = kind.get(key)
            if known is not None and not _older(body, known) and _significant(known) == _significant(body):
                kind[key] = _lean(body)

    def drop(self, resource: Resource, namespace: str, name: str) -> bool:
        with self._lock:
            return self._objects.get(resource.kind, {}).pop((namespace, name), None) is not None

    def reset(self, resource: Resource, bodies: Iterable[Object]) -> bool:
        """Replaces all objects of a kind by a fresh listing. True when that told us something new."""
        fresh = {_key(b): _lean(b) for b in bodies}
        with self._lock:
            known = self._objects.get(resource.kind, {})
            self._objects[resource.kind] = {
                k: known[k] if k in known and _older(b, known[k]) else b for k, b in fresh.items()
            }
        return {k: _significant(b) for k, b in known.items()} != {k: _significant(b) for k, b in fresh.items()}

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        with self._lock:
            return self._objects.get(resource.kind, {}).get((namespace, name))

    def all(self, resource: Resource) -> tuple[Object, ...]:
        with self._lock:
            return tuple(self._objects.get(resource.kind, {}).values())


def _key(body: Object) -> tuple[str, str]:
    metadata = body["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _lean(body: Object) -> Object:
    """Without `managedFields`, which is half of an object's size and nobody's business here."""
    metadata = {k: v for k, v in body["metadata"].items() if k != "managedFields"}
    return {**body, "metadata": metadata}


def _older(body: Object, known: Object) -> bool:
    """Of the same object (UID) by resourceVersion, which has been comparable as an integer since Kubernetes 1.35."""
    if body["metadata"].get("uid") != known["metadata"].get("uid"):
        return False
    try:
        return int(body["metadata"]["resourceVersion"]) < int(known["metadata"]["resourceVersion"])
    except (KeyError, ValueError):
        return False


def _significant(body: Object) -> Object:
    metadata = body["metadata"]
    return {
        "spec": body.get("spec"),
        "uid": metadata.get("uid"),
        "generation": metadata.get("generation"),
        "labels": metadata.get("labels"),
        "annotations": metadata.get("annotations"),
        "deletionTimestamp": metadata.get("deletionTimestamp"),
    }

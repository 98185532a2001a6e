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
        self._listings: list[tuple[str, set[tuple[str, str]]]] = []
        """Of each listing under way, the kind and the keys that were heard of meanwhile."""

    def put(self, resource: Resource, body: Object) -> bool:
        """Keeps `body` unless a newer version is known. True when something but `status` changed."""
        key = _key(body)
        with self._lock:
            kind = self._objects.setdefault(resource.kind, {})
            known = kind.get(key)
            if known is not None and _older(body, known):
                return False
            kind[key] = _lean(body)
            self._heard_of(resource, key)
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
                self._heard_of(resource, key)

    def drop(self, resource: Resource, namespace: str, name: str) -> bool:
        with self._lock:
            self._heard_of(resource, (namespace, name))
            return self._objects.get(resource.kind, {}).pop((namespace, name), None) is not None

    def reset(self, resource: Resource, bodies: Iterable[Object]) -> bool:
        """Replaces all objects of a kind by a fresh listing, which is read here. True when that told us something new.

        What was heard of while the listing ran is left as it was heard: a page that was read before an object came would take
        it away again, and with it a route out of service.
        """
        heard: set[tuple[str, str]] = set()
        listing = (resource.kind, heard)
        with self._lock:
            self._listings.append(listing)
        try:
            fresh = {_key(b): _lean(b) for b in bodies}
        except BaseException:
            with self._lock:
                self._end(listing)
            raise
        with self._lock:
            self._end(listing)
            known = self._objects.get(resource.kind, {})
            merged = {
                k: known[k] if k in known and _older(b, known[k]) else b for k, b in fresh.items() if k not in heard
            }
            merged |= {k: known[k] for k in heard if k in known}
            self._objects[resource.kind] = merged
        return {k: _significant(b) for k, b in known.items()} != {k: _significant(b) for k, b in merged.items()}

    def _end(self, listing: tuple[str, set[tuple[str, str]]]) -> None:
        self._listings = [other for other in self._listings if other is not listing]

    def _heard_of(self, resource: Resource, key: tuple[str, str]) -> None:
        for kind, heard in self._listings:
            if kind == resource.kind:
                heard.add(key)

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

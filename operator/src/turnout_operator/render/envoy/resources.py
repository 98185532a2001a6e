"""All that the sidecars of one namespace are told, save the provider keys, which only the xDS server holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from turnout_operator.clusters import Destination, SecretKey
from turnout_operator.ir import CompiledPool, CompiledRoute
from turnout_operator.render.envoy import listener, message
from turnout_operator.render.envoy.cluster import cluster
from turnout_operator.render.envoy.extension import extension
from turnout_operator.render.envoy.header_secret import HeaderSecret
from turnout_operator.render.envoy.listener import Edge
from turnout_sidecar.policy import codec
from turnout_sidecar.policy.units import Millis

GRACE = 5_000
"""Milliseconds beyond a stream's deadline until its cluster may go: its last bytes and its settling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One named Envoy resource in its deterministic encoding."""

    name: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Each tuple is sorted by name. A pool whose Secret is missing has no cluster here: Envoy would wait for its key in vain."""

    clusters: tuple[Resource, ...]
    listeners: tuple[Resource, ...]
    extensions: tuple[Resource, ...]
    secrets: tuple[HeaderSecret, ...]
    """What the clusters ask SDS for."""
    policy_version: str
    longest: Millis
    """How long a stream that began under this policy may still run after it was replaced."""


def resources(
    routes: Iterable[CompiledRoute], pools: Iterable[CompiledPool], resolved: frozenset[SecretKey], edge: Edge
) -> Resources:
    """What the sidecars of one namespace get, given its routes, the pools they use and the Secret keys that exist."""
    routes, pools = tuple(routes), tuple(pools)
    document = codec.encode(tuple(r.policy for r in routes), tuple(p.policy for p in pools))
    reachable = [d for p in pools for d in p.destinations if d.credential is None or d.credential.secret in resolved]
    return Resources(
        clusters=_sorted(_cluster(d, edge.trusted_ca) for d in reachable),
        listeners=_sorted(_listeners(edge)),
        extensions=(_encoded(message.EXTENSION, extension(document)),),
        secrets=tuple(sorted({HeaderSecret.of(d.credential) for d in reachable if d.credential is not None})),
        policy_version=msgspec.json.decode(document, type=_Version).version,
        longest=Millis(max((r.policy.deadlines.total for r in routes), default=0) + GRACE),
    )


class _Version(msgspec.Struct):
    version: str


def _sorted(made: Iterable[Resource]) -> tuple[Resource, ...]:
    return tuple(sorted(set(made), key=lambda resource: resource.name))


# Most of a rendering is what the last one and every other namespace have too, and encoding costs a millisecond apiece.


@lru_cache(maxsize=4096)
def _cluster(destination: Destination, trusted_ca: str) -> Resource:
    return _encoded(message.CLUSTER, cluster(destination, trusted_ca=trusted_ca))


@lru_cache(maxsize=8)
def _listeners(edge: Edge) -> tuple[Resource, ...]:
    return tuple(_encoded(message.LISTENER, document) for document in (listener.ingress(edge), listener.own(edge)))


def _encoded(type_url: str, document: dict[str, Any]) -> Resource:
    return Resource(name=document["name"], body=message.encode(type_url, document))

"""What is in service now: the last compilation, told to sidecars and to the ledger. Written by one reconciler, read by many.

Decide, then do: the snapshot is taken and compiled without touching anything; then the accepted generations are kept, and
only then are sidecars told, so that a restart serves what was served.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, TypeVar

import structlog

from turnout_operator import metrics
from turnout_operator.compiler import compile as compile_all
from turnout_operator.handlers.cache import Cache
from turnout_operator.ir import Accepted, Compilation
from turnout_operator.kube.accepted import AcceptedStore
from turnout_operator.kube.client import Client, Forbidden
from turnout_operator.kube.resources import HPAS, LLM_ROUTES, NAMESPACES, PROVIDER_POOLS
from turnout_operator.kube.secrets import SecretReader
from turnout_operator.quota import limits
from turnout_operator.quota.service import LeaseService
from turnout_operator.render.envoy import Edge, resources
from turnout_operator.snapshot import SecretFacts, Snapshot, from_manifests
from turnout_operator.xds import View, Views, view

log = structlog.get_logger(__name__)
T = TypeVar("T")
Object = dict[str, Any]

EMPTY = Compilation(routes=(), pools=(), diagnostics=(), outcomes=())


@dataclass(frozen=True, slots=True, kw_only=True)
class InService:
    """One moment's compilation and the policy version that each namespace's sidecars are to run."""

    compilation: Compilation = EMPTY
    versions: dict[str, str]


class Programme:
    """`run` from one worker thread at a time; `now` from any. `loop` is where xDS and leases live."""

    def __init__(
        self,
        *,
        client: Client,
        cache: Cache,
        accepted: AcceptedStore,
        secret_reader: SecretReader,
        views: Views,
        leases: LeaseService,
        edge: Edge,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._client = client
        self._cache = cache
        self._accepted = accepted
        self._secrets = secret_reader
        self._views = views
        self._leases = leases
        self._edge = edge
        self._loop = loop
        self._salt = secrets.token_bytes(16)
        self._last: Accepted | None = None
        self._facts: tuple[SecretFacts, ...] = ()
        self._lock = threading.Lock()
        self.in_service = InService(versions={})

    def run(self) -> None:
        """Afterwards sidecars and ledger are told what the cached objects mean."""
        with self._lock:
            if self._last is None:
                self._last = self._accepted.load()
            snapshot = self._snapshot()
            began = monotonic()
            compilation = compile_all(snapshot, self._last, datetime.now(UTC))
            metrics.COMPILE_SECONDS.observe(monotonic() - began)
            self._accepted.keep(compilation.accepted)
            self._last = compilation.accepted
            views, other = self._rendered(compilation)
            self._leases.set_limits(limits.of(compilation))
            on_loop(self._loop, lambda: self._views.publish(views, other))
            self.in_service = InService(
                compilation=compilation, versions={ns: v.policy_version for ns, v in views.items()}
            )
        metrics.NOT_ENFORCED.set(sum(len(r.not_enforced) for r in compilation.routes))
        log.info(
            "compiled",
            routes=len(compilation.routes),
            pools=len(compilation.pools),
            faults=len(compilation.diagnostics),
        )

    def rotated(self) -> bool:
        """True when a Secret that a pool names is not what it was at the last run."""
        with self._lock:  # the reader serves one at a time
            return self._read_secrets() != self._facts

    def _snapshot(self) -> Snapshot:
        manifests = [o for kind in (LLM_ROUTES, PROVIDER_POOLS, NAMESPACES) for o in self._cache.all(kind)]
        self._facts = self._read_secrets()
        return from_manifests([*manifests, *self._autoscalers()], self._facts)

    def _read_secrets(self) -> tuple[SecretFacts, ...]:
        return self._secrets.read(_named_secrets(self._cache.all(PROVIDER_POOLS)))

    def _autoscalers(self) -> Iterable[Object]:
        """Those in namespaces where a pool wants to scale something: another one may own the same target."""
        namespaces = {
            o["metadata"]["namespace"] for o in self._cache.all(PROVIDER_POOLS) if "autoscaling" in o.get("spec", {})
        }
        for namespace in sorted(namespaces):
            try:
                yield from self._client.every(HPAS, namespace)
            except Forbidden as e:
                log.warning("autoscalers not readable", namespace=namespace, error=str(e))

    def _rendered(self, compilation: Compilation) -> tuple[dict[str, View], View]:
        resolved = frozenset(
            key
            for pool in compilation.pools
            for key in pool.secrets
            if self._secrets.value(key.namespace, key.name, key.key) is not None
        )

        def rendered(namespace: str) -> View:
            made = resources(compilation.routes_of(namespace), compilation.pools_of(namespace), resolved, self._edge)
            return view(made, lambda k: self._secrets.value(k.namespace, k.name, k.key), self._salt)

        namespaces = sorted({r.namespace for r in compilation.routes})
        return {ns: rendered(ns) for ns in namespaces}, rendered("")


def _named_secrets(pools: Iterable[Object]) -> set[tuple[str, str]]:
    named: set[tuple[str, str]] = set()
    for pool in pools:
        reference = ((pool.get("spec") or {}).get("credentials") or {}).get("secretRef") or {}
        if isinstance(reference.get("name"), str):
            named.add((pool["metadata"]["namespace"], reference["name"]))
    return named


def on_loop(loop: asyncio.AbstractEventLoop, do: Callable[[], T], timeout: float = 10.0) -> T:
    """Calls `do` on the loop's thread and returns what it returned. Not to be called from that thread."""

    async def call() -> T:
        return do()

    return asyncio.run_coroutine_threadsafe(call(), loop).result(timeout)

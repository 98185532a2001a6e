"""What a leader runs: discovery, leases, reconcilers. Made when the lead is won; ended with the process.

Order matters twice. At the start: compile first, listen then, so that no sidecar is told to serve nothing. At the end: stop
listening first, so that sidecars turn to the next leader while this one finishes its writes.
"""

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, time_ns
from typing import Any

import structlog

from turnout_operator import metrics
from turnout_operator.handlers.cache import Cache
from turnout_operator.handlers.drill_runner import DrillRunner, RouteInService
from turnout_operator.handlers.programme import Programme, on_loop
from turnout_operator.handlers.queue import Queue
from turnout_operator.handlers.sightings import Sightings
from turnout_operator.handlers.status import Knowledge, StatusWriter
from turnout_operator.handlers.work import Controller, Key, Reconciler, Workers
from turnout_operator.identity import Identity
from turnout_operator.kube import certificates, endpoints
from turnout_operator.kube.accepted import AcceptedStore
from turnout_operator.kube.certificates import ServingCertificate
from turnout_operator.kube.client import Client
from turnout_operator.kube.events import Recorder
from turnout_operator.kube.ledger import ConfigMapStore
from turnout_operator.kube.resources import FALLBACK_DRILLS, LLM_ROUTES, PROVIDER_POOLS, WATCHED, Resource
from turnout_operator.kube.secrets import SecretReader
from turnout_operator.kube.tokens import TokenReviewer
from turnout_operator.quota import ports
from turnout_operator.quota.http import ReportServer
from turnout_operator.quota.service import BudgetFacts, LeaseService
from turnout_operator.render.envoy import Edge
from turnout_operator.settings import OperatorSettings
from turnout_operator.xds import Nodes, Progress, Server, Tls, Views
from turnout_sidecar.policy.report import DrillOrder, Report
from turnout_sidecar.policy.units import Millis

log = structlog.get_logger(__name__)

DEBOUNCE = 0.1
"""Seconds that a change waits for company: an apply of many objects is one compilation."""


class Leader:
    """`start` and `stop` on the loop; `changed` from any thread."""

    def __init__(
        self, settings: OperatorSettings, client: Client, cache: Cache, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._settings = settings
        self._client = client
        self._cache = cache
        self._loop = loop
        self._queue: Queue[Key] = Queue()
        self._views = Views()
        self._nodes = Nodes(clock, self._sidecars_changed)
        self._leases = LeaseService(ConfigMapStore(client, settings.namespace))
        self._recorder = Recorder(client)
        self._sightings = Sightings(self._breakers_changed)
        self._reviewer = TokenReviewer(client)
        self._programme = Programme(
            client=client,
            cache=cache,
            accepted=AcceptedStore(client, settings.namespace),
            secret_reader=SecretReader(client),
            views=self._views,
            leases=self._leases,
            edge=Edge(address=settings.listen_address, port=settings.listen_port),
            loop=loop,
        )
        self._drills = DrillRunner(
            client=client,
            cache=cache,
            recorder=self._recorder,
            namespace=settings.namespace,
            in_service=self._in_service,
            wake=lambda namespace, name: self._queue.add(Key(Controller.DRILL, namespace, name)),
            wake_route=self._wake_route,
        )
        self._status = StatusWriter(
            client=client,
            cache=cache,
            programme=self._programme,
            sightings=self._sightings,
            recorder=self._recorder,
            knowledge=Knowledge(progress=self._progress, budgets=self._budgets, rehearsal=self._drills.rehearsal),
        )
        self._server = Server(self._views, self._nodes, self._authenticate, clock=clock, wall=wall)
        self._reports: ReportServer | None = None
        self._leases.listeners.append(self._heard)
        self._leases.drill_orders = self._orders
        self._leases.anomalies = _anomaly
        self._workers = Workers(self._queue, self._reconcilers())
        self._tidy: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Afterwards sidecars are served. Raises what the API server or the ports refuse: the process is to end."""
        s = self._settings
        certificate = await asyncio.to_thread(
            certificates.ensure, self._client, namespace=s.namespace, service=s.service
        )
        await asyncio.to_thread(self._drills.recover)
        await asyncio.to_thread(self._programme.run)
        self._workers.start()
        for key in self._everything():
            self._queue.add(key)
        await self._server.start(f"{s.host}:{s.xds_port}", Tls(chain=certificate.chain, key=certificate.key))
        self._reports = ReportServer(
            self._leases, self._authenticate, wall=wall, tls=_context(certificate), observe=_observe
        )
        await self._reports.start(s.host, s.report_port)
        if s.advertise:
            await asyncio.to_thread(
                endpoints.publish,
                self._client,
                namespace=s.namespace,
                service=s.service,
                address=s.advertise,
                xds_port=s.xds_port,
                report_port=s.report_port,
            )
        self._tidy = asyncio.create_task(self._keep_tidy())
        metrics.LEADER.set(1)
        log.info("serving", xds_port=s.xds_port, report_port=s.report_port)

    async def stop(self) -> None:
        """Sidecars go on with what they have."""
        metrics.LEADER.set(0)
        self._drills.resign()
        if self._tidy is not None:
            self._tidy.cancel()
        await self._server.stop(0.5)
        if self._reports is not None:
            await self._reports.stop()
        await asyncio.to_thread(self._workers.end)

    def changed(self, resource: Resource, namespace: str, name: str) -> None:
        """A watch has seen something new."""
        if resource is FALLBACK_DRILLS:
            self._queue.add(Key(Controller.DRILL, namespace, name))
            return
        self._queue.add(Key(Controller.COMPILE), DEBOUNCE)

    def _heard(self, identity: ports.Identity, report: Report) -> None:
        assert isinstance(identity, Identity), "our own authenticator made it"
        self._nodes.report(identity, report)
        self._sightings.report(identity, report)
        self._drills.on_report(identity, report)

    def _orders(self, identity: ports.Identity) -> tuple[DrillOrder, ...]:
        assert isinstance(identity, Identity), "our own authenticator made it"
        return self._drills.orders(identity)

    def _in_service(self, namespace: str, name: str) -> RouteInService:
        served = self._programme.in_service
        compiled = next((r for r in served.compilation.routes if r.key == f"{namespace}/{name}"), None)
        return RouteInService(compiled=compiled, policy_version=served.versions.get(namespace, ""))

    def _wake_route(self, namespace: str, name: str) -> None:
        self._queue.add(Key(Controller.SCHEDULE, namespace, name))
        self._queue.add(Key(Controller.ROUTE, namespace, name))

    def _everything(self) -> list[Key]:
        """What a new leader looks at once, and what then comes back by itself."""
        drills = [_key(Controller.DRILL, b) for b in self._cache.all(FALLBACK_DRILLS)]
        periodic = [Key(Controller.SECRETS), Key(Controller.RESYNC)]
        return [Key(Controller.COMPILE), *drills, *periodic]

    def _reconcilers(self) -> Mapping[Controller, Reconciler]:
        return {
            Controller.COMPILE: self._compile,
            Controller.ROUTE: self._status.route,
            Controller.POOL: self._status.pool,
            Controller.DRILL: lambda key: self._drills.reconcile_drill(key.namespace, key.name),
            Controller.SCHEDULE: lambda key: self._drills.reconcile_schedule(key.namespace, key.name),
            Controller.SECRETS: self._look_at_secrets,
            Controller.RESYNC: self._resync,
        }

    def _compile(self, _: Key) -> float | None:
        self._programme.run()
        self._sightings.serve(p.key for p in self._programme.in_service.compilation.pools)
        for body in self._cache.all(LLM_ROUTES):
            self._queue.add(_key(Controller.ROUTE, body))
            self._queue.add(_key(Controller.SCHEDULE, body))
        for body in self._cache.all(PROVIDER_POOLS):
            self._queue.add(_key(Controller.POOL, body))
        self._status.count()
        return None

    def _look_at_secrets(self, _: Key) -> float | None:
        if self._programme.rotated():
            self._queue.add(Key(Controller.COMPILE))
        return self._settings.secret_poll_seconds

    def _resync(self, _: Key) -> float | None:
        """Lost watch events are repaired here: level-triggered, not edge-triggered."""
        news = [self._cache.reset(r, self._client.every(r)) for r in WATCHED]
        if any(news):
            self._queue.add(Key(Controller.COMPILE))
        for body in self._cache.all(FALLBACK_DRILLS):
            self._queue.add(_key(Controller.DRILL, body))
        self._status.count()
        return self._settings.resync_seconds

    def _sidecars_changed(self, namespace: str) -> None:
        self._look_again(namespace)

    def _breakers_changed(self, namespace: str) -> None:
        self._look_again(namespace)
        for body in self._cache.all(PROVIDER_POOLS):
            self._queue.add(_key(Controller.POOL, body))

    def _look_again(self, namespace: str) -> None:
        for body in self._cache.all(LLM_ROUTES):
            if body["metadata"]["namespace"] == namespace:
                self._queue.add(_key(Controller.ROUTE, body))

    def _progress(self, namespace: str, version: str) -> Progress:
        return on_loop(self._loop, lambda: self._nodes.progress(namespace, version))

    def _budgets(self, quota: tuple[Any, ...]) -> tuple[BudgetFacts, ...]:
        future = asyncio.run_coroutine_threadsafe(self._leases.budgets(quota, wall()), self._loop)
        try:
            return future.result(10)
        except (ports.StoreUnavailable, TimeoutError) as e:
            log.warning("budgets not readable for status", error=str(e))
            return ()

    async def _authenticate(self, token: str) -> Identity:
        return await asyncio.to_thread(self._reviewer.review, token)

    async def _keep_tidy(self) -> None:
        while True:
            await asyncio.sleep(60)
            try:
                await self._leases.tidy(wall())
            except ports.StoreUnavailable as e:
                log.warning("ledger not tidied", error=str(e))
            for result in ("writes", "conflicts", "unavailable", "splits", "surprises"):
                metrics.LEDGER_WRITES.labels(result).set(getattr(self._leases.counts, result))


def _key(controller: Controller, body: dict[str, Any]) -> Key:
    return Key(controller, body["metadata"].get("namespace", ""), body["metadata"]["name"])


def _observe(status: int, seconds: float) -> None:
    metrics.LEASE_REPORTS.labels(str(status)).inc()
    metrics.LEASE_SECONDS.observe(seconds)


def _anomaly(kind: str, accounts: tuple[str, ...]) -> None:
    metrics.LEDGER_ANOMALIES.labels(kind).inc()
    log.error("ledger anomaly", kind=kind, accounts=list(accounts[:5]))


def _context(certificate: ServingCertificate) -> ssl.SSLContext:
    """`ssl` loads from files only; they live as long as this call, in a folder that nobody else can open."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with TemporaryDirectory(prefix="turnout-tls-") as folder:
        chain, key = Path(folder) / "tls.crt", Path(folder) / "tls.key"
        chain.write_bytes(certificate.chain)
        key.touch(0o600)
        key.write_bytes(certificate.key)
        context.load_cert_chain(chain, key)
    return context


def clock() -> Millis:
    """Monotonic milliseconds."""
    return Millis(int(monotonic() * 1_000))


def wall() -> int:
    """Unix milliseconds."""
    return time_ns() // 1_000_000


def seed(client: Client, cache: Cache) -> None:
    """A first listing of all that is watched, so that nothing is decided from half of it."""
    for resource in WATCHED:
        cache.reset(resource, client.every(resource))

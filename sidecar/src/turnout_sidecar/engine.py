"""What outlives a policy: the book, breakers, loads, drills. It makes runtimes of policies and exchanges of requests.

Threads: `configure`, `report`, `on_answer`, `probes` and `probed` run on Envoy's main thread, `open` and the exchanges on the
worker. The book and the parking have locks of their own; breakers and loads are changed on the worker and only read here.
"""

import random
from collections.abc import Callable

import msgspec

from turnout_sidecar import metrics
from turnout_sidecar.core import runtime as runtimes
from turnout_sidecar.core.breaker import Breaker, State
from turnout_sidecar.core.budget import Book, Record
from turnout_sidecar.core.drills import Rehearsals
from turnout_sidecar.core.exchange import Exchange
from turnout_sidecar.core.faults import Overlay
from turnout_sidecar.core.host import Host
from turnout_sidecar.core.probe import Probe, ProbeAnswer
from turnout_sidecar.core.runtime import Load, Runtime, ServedRoute
from turnout_sidecar.core.services import Services
from turnout_sidecar.dialects import passages
from turnout_sidecar.dialects.alike import Alike
from turnout_sidecar.metrics import MetricSink
from turnout_sidecar.policy import codec
from turnout_sidecar.policy.codec import PolicyRefused, RouteRefused
from turnout_sidecar.policy.model import Model, Pool, Route
from turnout_sidecar.policy.report import WIRE, Answer, BreakerReport, InFlight, Report
from turnout_sidecar.policy.units import Millis

_GAUGE = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


class _Named(msgspec.Struct):
    version: str = ""


def _version_of(document: bytes) -> str:
    """The version that an unusable document claims, as far as it can be read."""
    try:
        return msgspec.json.decode(document, type=_Named).version
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


class Engine:
    """One a process. `wall` gives Unix milliseconds."""

    def __init__(
        self, *, epoch: str, rng: random.Random, record: Record | None = None, wall: Callable[[], int]
    ) -> None:
        self.book = Book(epoch=epoch, record=record)
        self._overlay = Overlay(rng, wall)
        self.rehearsals = Rehearsals(self._overlay)
        self._services = Services(
            dialect=passages.OPENAI_CLIENTS, book=self.book, overlay=self._overlay, rng=rng, wall=wall
        )
        self._alike: Alike | None = None
        self._passages = passages.passages(passages.OPENAI_CLIENTS)
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._loads: dict[str, Load] = {}
        self._last_good: dict[str, tuple[Route, dict[str, Pool]]] = {}
        self._runtime: Runtime | None = None
        self._refused_version = ""
        self._refused_words = ""
        self._sequence = 0

    # What the shell sets

    @property
    def metrics(self) -> MetricSink:
        return self._services.metrics

    @metrics.setter
    def metrics(self, sink: MetricSink) -> None:
        self._services.metrics = sink

    @property
    def on_need(self) -> Callable[[], None]:
        """Called on the worker: a report to the lease service now would help somebody."""
        return self._services.on_need

    @on_need.setter
    def on_need(self, call: Callable[[], None]) -> None:
        self._services.on_need = call

    @property
    def wake(self) -> Callable[[Exchange], None]:
        """Called on any thread: have `on_alarm` of this parked exchange called soon."""
        return self._services.wake

    @wake.setter
    def wake(self, call: Callable[[Exchange], None]) -> None:
        self._services.wake = call

    @property
    def alike(self) -> Alike | None:
        """A cheaper check of a stream's events than Python has; set before the first policy."""
        return self._alike

    @alike.setter
    def alike(self, check: Alike | None) -> None:
        self._alike = check
        self._passages = passages.passages(passages.OPENAI_CLIENTS, check)

    # Policies

    def configure(self, document: bytes) -> Runtime:
        """The runtime of this policy; a route that cannot be served keeps its last good version. Raises `PolicyRefused`."""
        try:
            decoded = codec.decode(document)
        except PolicyRefused as refusal:
            self._refused_version, self._refused_words = _version_of(document), str(refusal)
            self.metrics.count(metrics.POLICY_REFUSALS, ("document",))
            raise
        self._refused_version = self._refused_words = ""
        pools = {pool.key: pool for pool in decoded.pools}
        refused = list(decoded.refused)
        routes: dict[str, ServedRoute] = {}
        good: dict[str, tuple[Route, dict[str, Pool]]] = {}
        for route in decoded.routes:
            try:
                routes[route.key] = self._serve(route, pools)
                good[route.key] = (route, {c.pool: pools[c.pool] for c in route.candidates})
            except ValueError as e:
                refused.append(RouteRefused(route=route.key, generation=route.origin.generation, reason=str(e)))
        for bad in refused:
            self.metrics.count(metrics.POLICY_REFUSALS, ("route",))
            kept = self._last_good.get(bad.route)
            if kept is not None and bad.route not in routes:
                routes[bad.route] = self._serve(*kept)
                good[bad.route] = kept
        self._last_good = good
        self._runtime = Runtime(decoded.version, routes.values(), pools, tuple(refused))
        return self._runtime

    def forget(self, runtime: Runtime) -> None:
        """Envoy let go of this policy; requests that began with it end with it."""
        if runtime is self._runtime:
            self._runtime = None

    def _serve(self, route: Route, pools: dict[str, Pool]) -> ServedRoute:
        return runtimes.serve(route, pools, self._passages, self._breaker, self._load)

    def _breaker(self, pool: Pool, model: Model) -> Breaker:
        breaker = self._breakers.get((pool.key, model.name))
        if breaker is None:
            breaker = self._breakers[pool.key, model.name] = Breaker(pool.health)
        else:
            breaker.configure(pool.health)
        return breaker

    def _load(self, pool: str) -> Load:
        return self._loads.setdefault(pool, Load())

    # Requests

    def open(self, runtime: Runtime, host: Host) -> Exchange:
        return Exchange(self._services, runtime, host)

    # Reports

    def report(self, now: Millis) -> Report:
        """What the operator is told. Cumulative, so a lost report is none the worse."""
        self._sequence += 1
        self._gauges()
        runtime = self._runtime
        return Report(
            wire=WIRE,
            sequence=self._sequence,
            epoch=self.book.report(now),
            policy_version="" if runtime is None else runtime.version,
            refused_version=self._refused_version,
            refused_words=self._refused_words,
            refused_routes=() if runtime is None else runtime.refused,
            clusters_failing=self._services.clusters_failing(now),
            breakers=tuple(
                BreakerReport(pool=pool, model=model, state=breaker.state)
                for (pool, model), breaker in sorted(self._breakers.items())
            ),
            in_flight=tuple(
                InFlight(pool=pool, in_flight=load.in_flight) for pool, load in sorted(self._loads.items())
            ),
            drills=self.rehearsals.evidence(now, self._services.wall()),
        )

    def on_answer(self, answer: Answer | None, now: Millis) -> None:
        """The lease service answered, or could not be asked (None): then what is leased goes on, and drills end by themselves."""
        if answer is None:
            return
        gained = self.book.apply(answer.grants, now)
        if self.book.urgent:  # what was called back is wanted by somebody now
            self._services.on_need()
        self.rehearsals.order(answer.drills, now, self._services.wall())
        self._services.freed(tuple(gained))

    @property
    def is_waited_for(self) -> bool:
        """A request is parked for money."""
        return len(self._services.parking) > 0

    def probes(self, now: Millis) -> tuple[Probe, ...]:
        """The drill probes to send now, to the sidecar's own listener."""
        return self.rehearsals.due(now, self._services.wall())

    def probed(self, probe: Probe, answer: ProbeAnswer, now: Millis) -> None:
        """What became of a probe; each exactly once."""
        self.rehearsals.answered(probe, answer, now)

    def shutdown(self, now: Millis) -> None:
        """Charges what is open and closes the book: the next report is the last."""
        del now
        self.book.close()

    def _gauges(self) -> None:
        sink = self.metrics
        for labels, breaker in list(self._breakers.items()):
            sink.gauge(metrics.BREAKERS, labels, _GAUGE[breaker.state])
        for pool, load in list(self._loads.items()):
            sink.gauge(metrics.IN_FLIGHT, (pool,), load.in_flight)
        sink.gauge(metrics.PARKED, (), len(self._services.parking))
        sink.gauge(metrics.HELD, (), self._services.holds)

"""The promise of the budget on the real trace, ten times as fast as it was, with two sidecars and one small tenant.

Charging afterwards would spend nearly three times the limit here; a limiter that is too careful would leave it unspent.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from demo.books import NANO
from demo.result import Outcome, Result
from demo.stand_ins import StandIn

from demo import laws, replay, trace, workload
from turnout_operator.ir import Accepted, QuotaLimit
from turnout_operator.render.envoy import Edge
from turnout_operator.serve.control import Control
from turnout_operator.serve.program import ALL, Remembered, program
from turnout_sidecar.envoy import bootstrap
from turnout_sidecar.policy.units import Millis
from turnout_testing import waiting
from turnout_testing.envoy import Envoy

pytestmark = pytest.mark.envoy

TRACE = Path(__file__).parents[2] / "examples" / "traces" / "azure-llm-2023-chat.csv"
TENANT = "acme"
LIMIT = 1 * NANO
INPUT, OUTPUT = 2_500, 10_000
"""Nano-USD a token: list prices of a mid-size model."""
PROFILE = """
models:
- name: mid
  dialects: [OpenAI]
  prices: {input: "2.50", output: "10.00"}
  latency:
    firstToken: {logNormal: {p50: 150ms, p99: 500ms}}
    interToken: {fixed: 2ms}
tokensPerChunk: 8
"""
MANIFESTS = """
apiVersion: turnout.dev/v1alpha1
kind: ProviderPool
metadata: {name: provider, namespace: team}
spec:
  owner: team
  dialect: OpenAI
  endpoints:
  - {name: main, url: "http://127.0.0.1:%d/v1", allowInsecure: true}
  models:
  - name: mid
    class: Small
    contextWindow: 128000
    maxOutputTokens: 16384
    capabilities: [Streaming]
    approvedFor: [Low, Standard]
    pricing: {input: "2.50", output: "10.00"}
---
apiVersion: turnout.dev/v1alpha1
kind: LLMRoute
metadata: {name: chat, namespace: team}
spec:
  owner: team
  identity:
    tenant: {header: {name: x-tenant-id}, required: true}
  candidates:
  - {name: only, poolRef: {name: provider}, model: mid}
  budget:
    tokens: {maxInput: 20000, maxOutput: 1000}
    limits:
    - {name: request, scope: Request, cost: "0.10"}
    - {name: tenant-day, scope: Tenant, window: Day, cost: "1"}
  latency:
    timeToFirstToken: {p50: 400ms, p95: 900ms, p99: 2s, deadline: 20s}
    total: {p50: 1500ms, p95: 4s, p99: 8s, deadline: 60s}
  attempts: {max: 1, deadline: 55s}
  cache: {none: {reason: "every row of the trace is to be paid for"}}
  degradation:
    paths:
    - {faults: [Unavailable, RateLimited, TooSlow, InvalidOutput], steps: [{respond: {status: 503}}]}
    - {faults: [OverBudget], steps: [{respond: {status: 429}}]}
  drills: {schedule: "0 10 * * 2"}
"""
T = TypeVar("T")


class Plane:
    """The control plane of `serve`, on a thread of its own: the ledger in SQLite, leases over HTTP, discovery over gRPC."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="control-plane", daemon=True)
        self._control: Control | None = None
        self._quota: tuple[QuotaLimit, ...] = ()

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self.control.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def control(self) -> Control:
        assert self._control is not None, "inside `with`"
        return self._control

    def publish(self, manifests: str) -> None:
        """Sidecars are to have this. One that starts before it waits for it a long time."""
        edge = Edge(port=0)
        first = Remembered(accepted=Accepted(), generations={})
        made = program({"route.yaml": manifests}, {}, first, edge, datetime.now(UTC))
        assert made.faults == ()
        self._soon(lambda: self.control.publish(made, edge))
        self._quota = tuple(limit for route in made.compilation.routes for limit in route.quota)

    def spent(self) -> int:
        """By the ledger, over all subjects, in nano-USD."""
        return sum(self._call(self.control.spent(self._quota)).values())

    def bootstrap(self, name: str) -> dict[str, Any]:
        folder = self._directory / name
        epochs = folder / "epochs"
        epochs.mkdir(parents=True, mode=0o700)

        def write(file: str, content: bytes) -> Path:
            (folder / file).write_bytes(content)
            return folder / file

        node = bootstrap.Node(id=name, namespace=ALL, version="0.1.0")
        return bootstrap.bootstrap(
            node=node, control=self.control.plane(write), admin=bootstrap.Admin(), epoch_dir=str(epochs)
        )

    async def _start(self) -> None:
        self._control = Control(
            self._directory / "ledger.sqlite",
            clock=lambda: Millis(time.monotonic_ns() // 1_000_000),
            wall=lambda: time.time_ns() // 1_000_000,
            moved=lambda: None,
        )
        await self._control.start()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _soon(self, act: Callable[[], None]) -> None:
        async def do() -> None:
            act()

        self._call(do())


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[StandIn]:
    profile = tmp_path / "profile.yaml"
    profile.write_text(PROFILE)
    made = StandIn("provider", tmp_path, "", profile=profile, tied=True)
    made.start()
    yield made
    made.process.terminate(10)


@pytest.fixture
def plane(provider: StandIn, tmp_path: Path) -> Iterator[Plane]:
    with Plane(tmp_path) as running:
        running.publish(MANIFESTS % provider.port)
        yield running


@pytest.fixture
def sidecars(plane: Plane, tmp_path: Path) -> Iterator[tuple[Envoy, Envoy]]:
    with ExitStack() as running:
        one, two = (running.enter_context(Envoy(plane.bootstrap(f"s{n}"), tmp_path / f"envoy-{n}")) for n in (0, 1))
        yield one, two


def _replayed(asks: Sequence[workload.Ask], urls: Sequence[str]) -> list[Result]:
    heard: list[Result] = []

    async def run() -> None:
        clients = [replay.client(url) for url in urls]
        await replay.replay(asks, clients, heard.append)
        for client in clients:
            await client.close()

    asyncio.run(run())
    return heard


def _url(envoy: Envoy) -> str:
    def listening() -> bool:
        return "turnout-ingress::" in envoy.admin("/listeners")

    waiting.until(listening, what="the ingress listener", within=60)
    return f"http://127.0.0.1:{envoy.port('turnout-ingress')}/v1"


def test_providers_never_bill_more_than_the_tenants_dollar_and_nine_tenths_of_it_are_usable(
    provider: StandIn, plane: Plane, sidecars: tuple[Envoy, Envoy]
) -> None:
    rows = trace.read(TRACE, 600)
    worth = sum(row.input_tokens * INPUT + row.output_tokens * OUTPUT for row in rows)
    assert worth > 2.6 * LIMIT, "the trace must be worth much more than the limit, or nothing is proven"
    asks = [replace(ask, route="chat", tenant=TENANT) for ask in workload.asks(rows, speed=10, sidecars=2)]

    results = _replayed(asks, [_url(envoy) for envoy in sidecars])

    billed = provider.charges().total
    told = Counter((r.outcome, r.code) for r in results)
    assert billed <= LIMIT, told
    assert billed >= 0.9 * LIMIT, told
    assert any(laws.ran_out(r) for r in results)
    assert {r.outcome for r in results} == {Outcome.ANSWERED, Outcome.REFUSED}, told
    assert {r.code for r in results if r.outcome is Outcome.REFUSED} <= {"budget_exhausted", "budget_held"}, told
    by_sidecar = Counter(r.ask.sidecar for r in results if r.outcome is Outcome.ANSWERED)
    assert min(by_sidecar[0], by_sidecar[1]) > 20, "both sidecars spend from the one account"
    waiting.until(lambda: plane.spent() >= billed, what="the ledger to know of every charge", within=30)
    assert plane.spent() <= LIMIT

"""Ten thousand requests with every ending there is, through one real Envoy: no money and no memory stays behind."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from turnout_operator.quota import shard as shards
from turnout_operator.quota.account import Account
from turnout_operator.sim import Sim
from turnout_testing import waiting
from turnout_testing.installation import secret
from turnout_testing.served import Served
from turnout_testing.traffic import Mix, Traffic

from .conftest import DEEP, FAST, NANO, POOLS, ROUTES, limit, pool, route

pytestmark = pytest.mark.envoy

REQUESTS = 10_000
PATIENCE = 120
ENDINGS: list[tuple[float, list[dict[str, Any]]]] = [
    (0.02, [{"reset": {"at": "BeforeHead"}}]),
    (0.02, [{"reset": {"at": "AfterChunks", "chunks": 3}}]),
    (0.0005, [{"hang": {"at": "BeforeHead"}}]),
    (0.0005, [{"hang": {"at": "AfterChunks", "chunks": 2}}]),
    (0.02, [{"cut": {"chunks": 2, "ending": "Closed"}}]),
    (0.02, [{"cut": {"chunks": 2, "ending": "Clean"}}]),
    (0.02, [{"cut": {"chunks": 2, "ending": "Truncated"}}]),
    (0.02, [{"status": {"code": 400}}]),
    (0.02, [{"status": {"code": 502}}]),
    (0.02, [{"status": {"code": 503}}]),
    (0.02, [{"status": {"code": 429}}]),
    (0.02, [{"jsonError": {"code": 200}}]),
    (0.02, [{"errorEvent": {"chunks": 2}}]),
    (0.02, [{"errorEvent": {}}]),
    (0.02, [{"malformed": {"chunk": 2}}]),
    (0.01, [{"malformed": {"chunk": 1, "kind": "BadChunkSize"}}]),
    (0.02, [{"contentType": "text/html"}]),
    (0.02, [{"usage": "Missing"}]),
    (0.02, [{"usage": "Zero"}]),
    (0.02, [{"usage": "Contradictory"}]),
    (0.02, [{"missingDone": True}]),
]
PATIENT = {"consecutiveFailures": 20, "openFor": "1s", "maxOpenFor": "1s"}
"""A breaker that lets most requests meet their fault."""
PROFILE = {
    "models": [
        {"name": "gpt-5-mini", "dialects": ["OpenAI"], "prices": {"input": "0.25", "output": "2.00"}},
        {"name": "claude-sonnet-5", "dialects": ["Anthropic"], "prices": {"input": "3.00", "output": "15.00"}},
    ]
}


@dataclass(frozen=True)
class World:
    served: Served
    sim: Sim
    state: Path

    def accounts(self) -> dict[str, Account]:
        """The ledger as it is stored; the windows' names are cut off."""
        with closing(sqlite3.connect(f"file:{self.state / 'ledger.sqlite'}?mode=ro", uri=True)) as ledger:
            stored = [row[0] for row in ledger.execute("SELECT content FROM shards")]
        return {n.partition("|")[0]: a for content in stored for n, a in shards.decode(content).accounts.items()}

    def memory(self) -> int:
        """Resident bytes of Envoy with the engine in it."""
        status = Path(f"/proc/{self.served.envoy()}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) * 1024


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("manifests")
    state = tmp_path_factory.mktemp("leaks") / "state"
    with Sim(PROFILE, keys=(FAST, DEEP), log_size=10, log_bodies=False) as sim:
        manifests = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": POOLS}},
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ROUTES, "labels": {"llm": "allowed"}}},
            secret(POOLS, "fast", apiKey=FAST),
            secret(POOLS, "deep", apiKey=DEEP),
            pool("fast", sim, health=PATIENT, budget={"limits": [limit("all", "Pool", "500")]}),
            pool("deep", sim, health=PATIENT, abort="Stops"),
            route("wide", ("fast", "deep"), [limit("all", "Route", "500"), limit("each", "Tenant", "200")]),
            route("narrow", ("fast",), [limit("all", "Route", "500"), limit("each", "Tenant", "0.002")]),
        ]
        (folder / "all.yaml").write_text(yaml.safe_dump_all(manifests))
        with Served(folder, state) as served:
            yield World(served, sim, state)


def test_after_requests_with_every_ending_nothing_is_held_and_nothing_grows(
    world: World, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    served, sim = world.served, world.sim
    tenants = [f"t{n}" for n in random.Random(seed).sample(range(10**6), 12)]
    # A provider that bills more than was asked for breaks every bound, so only a tenant with plenty meets it.
    rules: list[dict[str, Any]] = [
        {"match": {"share": 0.2, "tag": f"wide.{tenants[0]}"}, "effects": [{"huge": {"tokens": 400}}]}
    ]
    rules += [{"match": {"share": share}, "effects": effects} for share, effects in ENDINGS]
    mix = Mix(
        models=("wide",) * 9 + ("narrow", "nobody-serves-this"),
        tenants=tuple(tenants),
        tokens=(1, 12),
        cap=100,
        leaves_at_once=2,
        leaves_in_stream=2,
    )
    sizes = []
    began = time.monotonic()
    sim.set_script({"seed": seed, "rules": rules})
    with Traffic([lambda: served.url], mix, seed=seed, workers=16) as traffic:
        for goal in range(0, REQUESTS + 1, REQUESTS // 4):
            waiting.until(lambda goal=goal: traffic.ended >= goal, what=f"{goal} requests", within=PATIENCE)  # type: ignore[misc]
            sizes.append(world.memory())
        took = time.monotonic() - began
        traffic.pause()
        waiting.until(lambda: traffic.quiet, what="the load to end", within=PATIENCE)
        waiting.until(lambda: not sim.state().in_flight, what="the provider to be left alone", within=PATIENCE)
        waiting.until(
            lambda: _differences(world) == {},
            what="the last report: each charge of the access log, no more",
            within=PATIENCE,
        )
        at_rest = world.accounts()
        assert served.stop() == 0
    settled = {name: account.settled for name, account in world.accounts().items()}
    with capsys.disabled():
        print(
            f"\nseed {seed}: {len(served.requests())} requests, most in {took:.0f} s, {dict(sorted(traffic.endings.items()))}"
        )
        print(f"  resident MB at each quarter: {[round(size / 2**20, 1) for size in sizes]}")
        print(
            f"  charged {sum(settled.values()) / NANO:.4f} over all accounts; fast was billed {sim.bill().cost_nano_usd / NANO:.4f}"
        )
    for name, account in world.accounts().items():
        assert not account.open, f"{name}: the sidecar's end settled everything"
    for name, account in at_rest.items():
        (lease,) = account.open.values()
        assert lease.held == 0, name
        assert lease.spent <= lease.granted - lease.returned, name
        assert settled[name] == lease.spent, f"{name}: nothing more is charged at the end than was at rest"
    route_bill = sum(line.cost_nano_usd for line in sim.bill().lines if line.tag.startswith("wide."))
    assert route_bill <= settled[f"{ROUTES}/route:wide/all/-"]
    early, late = sizes[2] - sizes[1], sizes[4] - sizes[2]
    assert late <= max(early, 0.05 * sizes[2]), f"memory grows with requests: {sizes}"


def _differences(world: World) -> dict[str, tuple[int, int]]:
    """Where the ledger and the access log differ, or money is still held: what was spent, what was logged.

    Each charge stands in the access log of its request: a hold that was settled twice, or never, shows here.
    """
    logged: Counter[str] = Counter()
    for line in world.served.requests():
        if line.get("attempts"):
            name = f"{ROUTES}/route:{line['route'].partition('/')[2]}"
            logged[f"{name}/all/-"] += line["cost_nano_usd"]
            logged[f"{name}/each/{line['tenant']}"] += line["cost_nano_usd"]
    found = {}
    for name, account in world.accounts().items():
        if not name.startswith(ROUTES):
            continue
        if account.spent != logged[name] or any(lease.held for lease in account.open.values()):
            found[name] = (account.spent, logged[name])
    return found if logged else {"": (0, 0)}

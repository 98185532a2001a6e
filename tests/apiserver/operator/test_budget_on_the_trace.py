"""A dollar for a tenant on the Azure trace, at ten times its speed, over two real sidecars and the real operator.

The oracle is the provider's own bill, whose arithmetic shares nothing with the engine's.
"""

from __future__ import annotations

import asyncio
import csv
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from turnout_operator.sim import Sim
from turnout_testing import waiting
from turnout_testing.installation import ROOT, Installation, Sidecar, secret

from .conftest import KEY

if TYPE_CHECKING:
    from typing import Any

DOLLAR = 1_000_000_000
SPEED = 10
PATIENCE = 60
PRICES = {"input": "2.50", "output": "10.00"}
PROFILE: dict[str, Any] = {
    "models": [
        {
            "name": "dear",
            "dialects": ["OpenAI"],
            "prices": PRICES,
            "contextWindow": 128000,
            "maxOutputTokens": 16384,
            "latency": {"firstToken": {"fixed": "300ms"}, "interToken": {"fixed": "15ms"}},
        }
    ]
}


@pytest.fixture(scope="module")
def provider() -> Iterator[Sim]:
    with Sim(PROFILE, keys=(KEY,), log_bodies=False) as sim:
        yield sim


@pytest.fixture(scope="module")
def sidecars(installed: Installation, provider: Sim) -> tuple[Sidecar, Sidecar]:
    labels = {"llm": "allowed"}
    installed.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "trace", "labels": labels}})
    installed.apply(secret("llm", "dear", apiKey=KEY), _pool(provider), _route())
    both = (installed.sidecar("trace", "app-a"), installed.sidecar("trace", "app-b"))

    def programmed() -> bool:
        status = installed.get("llmroute", "trace", "chat").get("status") or {}
        return bool((status.get("sidecars") or {}).get("programmed") == 2)

    waiting.until(programmed, what="both sidecars programmed", within=PATIENCE)
    return both


def _pool(sim: Sim) -> dict[str, Any]:
    model = {"name": "dear", "class": "Frontier", "contextWindow": 128000, "maxOutputTokens": 16384, "pricing": PRICES}
    return {
        "apiVersion": "turnout.dev/v1alpha1",
        "kind": "ProviderPool",
        "metadata": {"name": "dear", "namespace": "llm"},
        "spec": {
            "owner": "team-platform",
            "dialect": "OpenAI",
            "endpoints": [{"name": "main", "url": sim.openai_url, "allowInsecure": True}],
            "credentials": {"secretRef": {"name": "dear", "key": "apiKey"}},
            "models": [model | {"capabilities": ["Streaming"], "approvedFor": ["Low", "Standard"]}],
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"llm": "allowed"}}},
        },
    }


def _route() -> dict[str, Any]:
    refuse = {"respond": {"status": 429}}
    return {
        "apiVersion": "turnout.dev/v1alpha1",
        "kind": "LLMRoute",
        "metadata": {"name": "chat", "namespace": "trace"},
        "spec": {
            "owner": "team-support",
            "identity": {"tenant": {"header": {"name": "x-tenant-id"}, "required": True}},
            "candidates": [{"name": "only", "poolRef": {"name": "dear", "namespace": "llm"}, "model": "dear"}],
            "budget": {
                "tokens": {"maxInput": 40000, "maxOutput": 1024},
                "limits": [
                    {"name": "request", "scope": "Request", "cost": "0.2"},
                    {"name": "tenant", "scope": "Tenant", "window": "Month", "cost": "1"},
                ],
            },
            "latency": {"timeToFirstToken": {"deadline": "10s"}, "total": {"deadline": "60s"}, "stall": "10s"},
            "attempts": {"max": 1, "deadline": "59s"},
            "cache": {"none": {"reason": "a test"}},
            "degradation": {
                "paths": [
                    {"faults": ["Unavailable", "RateLimited", "TooSlow"], "steps": [{"respond": {"status": 503}}]},
                    {"faults": ["OverBudget", "InvalidOutput"], "steps": [refuse]},
                ]
            },
            "drills": {"schedule": "0 10 * * 2", "timeZone": "Europe/Berlin", "suspend": True},
        },
    }


class Replay:
    """The trace again and again, each request to the sidecar whose turn it is, until enough were told that nothing is left."""

    def __init__(self, sidecars: tuple[Sidecar, Sidecar], tenant: str, bill: Callable[[], int]) -> None:
        self.turns = itertools.cycle(sidecars)
        self.tenant = tenant
        self.bill = bill
        self.outcomes: Counter[str] = Counter()
        self.billed_when_first_exhausted: int | None = None

    async def run(self, *, exhausted: int, within: float) -> None:
        """`within` seconds, on which nothing is asserted but the end."""
        rows = [
            (int(row["offset_ms"]) / 1000 / SPEED, int(row["input_tokens"]), int(row["output_tokens"]))
            for row in csv.DictReader((ROOT / "examples/traces/azure-llm-2023-chat.csv").open())
        ]
        loop = asyncio.get_running_loop()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
        async with httpx.AsyncClient(timeout=90, limits=limits) as client, asyncio.TaskGroup() as group:
            until = loop.time() + within
            begin = loop.time()
            for offset, tokens_in, tokens_out in _laps(rows):
                if self.outcomes["budget_exhausted"] >= exhausted or loop.time() > until:
                    return
                await asyncio.sleep(begin + offset - loop.time())
                group.create_task(self._ask(client, tokens_in, tokens_out))

    async def _ask(self, client: httpx.AsyncClient, tokens_in: int, tokens_out: int) -> None:
        prompt = f"[sim:output={tokens_out}] ".ljust(4 * tokens_in, "x")
        body = {"model": "chat", "messages": [{"role": "user", "content": prompt}]}
        try:
            url = next(self.turns).url  # another after each restart
            answer = await client.post(f"{url}/chat/completions", json=body, headers={"x-tenant-id": self.tenant})
        except httpx.TransportError as error:  # its sidecar was killed
            self.outcomes[type(error).__name__] += 1
            return
        outcome = "served" if answer.status_code == 200 else answer.json()["error"]["code"]
        if outcome == "budget_exhausted" and self.billed_when_first_exhausted is None:
            self.billed_when_first_exhausted = self.bill()
        self.outcomes[outcome] += 1


def _laps(rows: list[tuple[float, int, int]]) -> Iterator[tuple[float, int, int]]:
    length = rows[-1][0] + 0.025
    for lap in itertools.count():
        for offset, tokens_in, tokens_out in rows:
            yield lap * length + offset, tokens_in, tokens_out


def test_the_bill_never_exceeds_a_dollar_and_nine_tenths_of_it_are_usable(
    provider: Sim, sidecars: tuple[Sidecar, Sidecar]
) -> None:
    before = provider.bill().cost_nano_usd
    replay = Replay(sidecars, "calm", lambda: provider.bill().cost_nano_usd - before)
    asyncio.run(replay.run(exhausted=20, within=150))
    assert replay.outcomes["budget_exhausted"] >= 20, replay.outcomes
    assert set(replay.outcomes) <= {"served", "budget_held", "budget_exhausted"}, replay.outcomes
    assert 0.9 * DOLLAR <= replay.bill() <= DOLLAR, replay.outcomes
    assert replay.billed_when_first_exhausted is not None
    assert replay.billed_when_first_exhausted >= 0.9 * DOLLAR


def test_the_bill_never_exceeds_a_dollar_while_sidecars_and_operators_are_killed(
    installed: Installation, provider: Sim, sidecars: tuple[Sidecar, Sidecar]
) -> None:
    """What was held at a kill counts as spent although the provider stopped: less of the dollar is usable then, and never more."""
    before = provider.bill().cost_nano_usd
    replay = Replay(sidecars, "stormy", lambda: provider.bill().cost_nano_usd - before)

    def storm() -> None:
        for sidecar in sidecars:
            waiting.until(lambda: replay.bill() > 0.1 * DOLLAR, what="some spending", within=PATIENCE)
            leader = installed.leader
            sidecar.process.kill()
            if leader is not None:
                leader.process.kill()
                leader.start()
            sidecar.start()

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(replay.run(exhausted=20, within=150))
            group.create_task(asyncio.to_thread(storm))

    asyncio.run(both())
    assert replay.outcomes["budget_exhausted"] >= 20, replay.outcomes
    assert replay.bill() <= DOLLAR, replay.outcomes

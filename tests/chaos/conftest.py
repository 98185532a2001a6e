"""Turnout as it is installed, and a stand-in provider whose bill is the judge: what these tests break is everything in between."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from turnout_operator.quota import shard as shards
from turnout_operator.quota.account import Account
from turnout_operator.sim import Sim
from turnout_testing import binaries, waiting
from turnout_testing.controlplane import ControlPlane
from turnout_testing.installation import NAMESPACE, Installation, Sidecar, secret

FAST, DEEP = "sk-chaos-fast", "sk-chaos-deep"
POOLS, ROUTES = "llm", "traffic"
NANO = 10**9
PATIENCE = 60
_PROFILE = {
    "models": [
        {
            "name": "gpt-5-mini",
            "dialects": ["OpenAI"],
            "prices": {"input": "0.25", "output": "2.00"},
            "latency": {"firstToken": {"fixed": "5ms"}, "interToken": {"fixed": "1ms"}},
        },
        {
            "name": "claude-sonnet-5",
            "dialects": ["Anthropic"],
            "prices": {"input": "3.00", "output": "15.00"},
            "latency": {"firstToken": {"fixed": "5ms"}, "interToken": {"fixed": "8ms"}},
        },
    ]
}


@dataclass(frozen=True, slots=True)
class Bed:
    """The chart in a control plane, not yet with operators, and a provider with two keys."""

    installation: Installation
    sim: Sim

    def accounts(self) -> dict[str, tuple[Account, ...]]:
        """The stored ledger: every account with its subject, and its windows."""
        listed = self.installation.plane.kubectl(
            "get", "configmaps", f"--namespace={NAMESPACE}", "--selector=turnout.dev/ledger=true", "-o", "json"
        )
        found: dict[str, tuple[Account, ...]] = {}
        for item in json.loads(listed.stdout)["items"]:
            for name, account in shards.decode(item["data"]["shard.json"].encode()).accounts.items():
                key = name.partition("|")[0]
                found[key] = (*found.get(key, ()), account)
        return found

    def charged(self) -> dict[str, int]:
        """What the ledger says is spent of each account, in nano-USD over all windows."""
        return {name: sum(account.spent for account in windows) for name, windows in self.accounts().items()}

    def programmed(self, route: str, count: int) -> bool:
        """Whether so many sidecars run the newest generation of the route."""
        found = self.installation.get("llmroute", ROUTES, route)
        status = found.get("status") or {}
        newest = status.get("observedGeneration") == found["metadata"]["generation"]
        return newest and (status.get("sidecars") or {}).get("programmed") == count

    def await_programmed(self, count: int, *routes: str) -> None:
        try:
            waiting.until(
                lambda: all(self.programmed(route, count) for route in routes),
                what=f"{', '.join(routes)} on {count} sidecars",
                within=PATIENCE,
            )
        except waiting.NeverHappenedError as e:
            pytest.fail(f"{e}\n{self.installation.story()}", pytrace=False)

    def done_with(self, *sidecars: Sidecar) -> None:
        """Ends them and the operators, so that the next module finds the chart alone."""
        for sidecar in sidecars:
            sidecar.process.terminate(10)
        for replica in self.installation.replicas:
            replica.process.terminate(10)
        self.sim.set_script(None)
        self.sim.reset()


@pytest.fixture(scope="session")
def seed() -> int:
    """The same each time, or what ``TURNOUT_SEED`` says; a failure tells it."""
    return int(os.environ.get("TURNOUT_SEED", "20261121"))


@pytest.fixture(scope="package")
def bed() -> Iterator[Bed]:
    try:
        binaries.require()
    except binaries.BinariesMissingError as error:
        pytest.fail(str(error), pytrace=False)
    with (
        tempfile.TemporaryDirectory(prefix="turnout-chaos-") as name,
        ControlPlane(Path(name) / "plane") as plane,
        Sim(_PROFILE, keys=(FAST, DEEP), log_size=100) as sim,
    ):
        installation = Installation(plane, Path(name) / "installation")
        installation.install(secret_namespaces=(POOLS,))
        installation.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ROUTES, "labels": {"llm": "allowed"}}},
            secret(POOLS, "fast", apiKey=FAST),
            secret(POOLS, "deep", apiKey=DEEP),
        )
        yield Bed(installation, sim)


def pool(name: str, sim: Sim, **fields: Any) -> dict[str, Any]:
    """`fast` speaks OpenAI's dialect, `deep` Anthropic's; each has a key of its own, so the bill tells them apart."""
    deep = name == "deep"
    prices = (
        {"input": "3.00", "output": "15.00", "cachedInput": "0.30", "cacheWrite5m": "3.75", "cacheWrite1h": "6.00"}
        if deep
        else {"input": "0.25", "output": "2.00", "cachedInput": "0.025"}
    )
    return {
        "apiVersion": "turnout.dev/v1alpha1",
        "kind": "ProviderPool",
        "metadata": {"name": name, "namespace": POOLS},
        "spec": {
            "owner": "team-platform",
            "dialect": "Anthropic" if deep else "OpenAI",
            "endpoints": [{"name": "main", "url": sim.url if deep else sim.openai_url, "allowInsecure": True}],
            "credentials": {"secretRef": {"name": name, "key": "apiKey"}},
            "models": [
                {
                    "name": "claude-sonnet-5" if deep else "gpt-5-mini",
                    "class": "Frontier" if deep else "Small",
                    "contextWindow": 128000,
                    "maxOutputTokens": 16384,
                    "capabilities": ["Streaming"],
                    "approvedFor": ["Low", "Standard"],
                    "pricing": prices,
                }
            ],
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"llm": "allowed"}}},
            **fields,
        },
    }


def route(name: str, candidates: tuple[str, ...], limits: list[dict[str, Any]]) -> dict[str, Any]:
    """A route over these pools in that order, with short deadlines, retries, and a tenant on every request."""
    models = {"fast": "gpt-5-mini", "deep": "claude-sonnet-5"}
    others: list[dict[str, Any]] = [{"candidate": {"name": other}} for other in candidates[1:]]
    return {
        "apiVersion": "turnout.dev/v1alpha1",
        "kind": "LLMRoute",
        "metadata": {"name": name, "namespace": ROUTES},
        "spec": {
            "owner": "team-support",
            "identity": {"tenant": {"header": {"name": "x-tenant-id"}, "required": True}},
            "candidates": [
                {"name": c, "poolRef": {"name": c, "namespace": POOLS}, "model": models[c]} for c in candidates
            ],
            "budget": {
                "tokens": {"maxInput": 1000, "maxOutput": 256},
                "limits": [{"name": "request", "scope": "Request", "cost": "0.05"}, *limits],
                "maxHoldWait": "250ms",
                "maxLeaseWait": "500ms",
            },
            "latency": {"timeToFirstToken": {"deadline": "1s"}, "total": {"deadline": "5s"}, "stall": "1s"},
            "attempts": {
                "max": 3,
                "maxPerCandidate": 2,
                "deadline": "1500ms",
                "retryOn": ["Connect", "Reset", "RateLimited", "ServerError"],
                "backoff": {"base": "20ms", "max": "200ms", "jitter": "Full"},
            },
            "cache": {"none": {"reason": "a test"}},
            "degradation": {
                "paths": [
                    {
                        "faults": ["Unavailable", "RateLimited", "TooSlow"],
                        "steps": [*others, {"respond": {"status": 503}}],
                    },
                    {"faults": ["OverBudget", "InvalidOutput"], "steps": [{"respond": {"status": 429}}]},
                ]
            },
            "drills": {"schedule": "0 10 * * 2", "timeZone": "Europe/Berlin", "suspend": True},
        },
    }


def limit(name: str, scope: str, dollars: str) -> dict[str, Any]:
    return {"name": name, "scope": scope, "window": "Month", "cost": dollars}

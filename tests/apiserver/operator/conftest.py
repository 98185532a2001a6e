"""A control plane of this folder's own (it installs CRDs by Helm) with the chart and two operators, which tests kill and restart."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from turnout_operator.sim import Sim
from turnout_testing import binaries, waiting
from turnout_testing.controlplane import ControlPlane
from turnout_testing.installation import ROOT, Installation, Sidecar, secret

KEY = "sk-never-print-me-7c1f"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "installed" in getattr(item, "fixturenames", ()):
            item.add_marker("apiserver")


@pytest.fixture(scope="package")
def installed() -> Iterator[Installation]:
    """The chart with the examples' pools and Secrets, and two operators that run under its rights."""
    try:
        binaries.require()
    except binaries.BinariesMissingError as error:
        pytest.fail(str(error), pytrace=False)
    with tempfile.TemporaryDirectory(prefix="turnout-operator-") as name, ControlPlane(Path(name) / "plane") as plane:
        installation = Installation(plane, Path(name) / "installation")
        installation.install(secret_namespaces=("llm",))
        plane.restart_controller_manager()
        try:
            installation.start_operators()
            _examples(installation)
            yield installation
        finally:
            installation.stop()


def _examples(installation: Installation) -> None:
    for file in sorted((ROOT / "examples").glob("*.yaml")):
        if "secret" not in file.name:
            installation.apply(*(d for d in yaml.safe_load_all(file.read_text()) if d))
    installation.apply(secret("llm", "openai", apiKey=KEY), secret("llm", "anthropic", apiKey=KEY))


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A namespace of its own with two sidecars, whose pools lead to a stand-in provider."""

    installed: Installation
    sim: Sim
    sidecars: tuple[Sidecar, Sidecar]


@pytest.fixture(scope="package")
def world(installed: Installation) -> Iterator[World]:
    """Two real sidecars in `traffic`, programmed and served by one stand-in provider."""
    with Sim(keys=(KEY,)) as sim:
        installed.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "traffic", "labels": {"llm": "allowed"}}}
        )
        installed.apply(*(_towards(sim, name) for name in ("primary", "backup")))
        installed.apply(secret("llm", "sim", apiKey=KEY), route("answer"))
        sidecars = (installed.sidecar("traffic", "app-a"), installed.sidecar("traffic", "app-b"))
        try:
            waiting.until(lambda: programmed(installed, "answer", 2), what="both sidecars programmed", within=60)
        except waiting.NeverHappenedError as e:
            pytest.fail(f"{e}\n{installed.story()}", pytrace=False)
        yield World(installed=installed, sim=sim, sidecars=sidecars)


def programmed(installed: Installation, name: str, count: int) -> bool:
    """Whether so many sidecars run the newest generation of a route in `traffic`."""
    found = installed.get("llmroute", "traffic", name)
    status = found.get("status") or {}
    newest = status.get("observedGeneration") == found["metadata"]["generation"]
    return newest and (status.get("sidecars") or {}).get("programmed") == count


def _towards(sim: Sim, name: str) -> dict[str, Any]:
    pricing = {"input": "0.25", "output": "2.00", "cachedInput": "0.025"}
    model = {
        "name": "gpt-5-mini",
        "class": "Small",
        "contextWindow": 400000,
        "maxOutputTokens": 128000,
        "pricing": pricing,
    }
    return {
        "apiVersion": "turnout.dev/v1alpha1",
        "kind": "ProviderPool",
        "metadata": {"name": name, "namespace": "llm"},
        "spec": {
            "owner": "team-platform",
            "dialect": "OpenAI",
            "endpoints": [{"name": "main", "url": sim.openai_url, "allowInsecure": True}],
            "credentials": {"secretRef": {"name": "sim", "key": "apiKey"}},
            "models": [model | {"capabilities": ["Streaming"], "approvedFor": ["Low", "Standard"]}],
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"llm": "allowed"}}},
        },
    }


def route(name: str, day: str = "200") -> dict[str, Any]:
    """A route in `traffic` from `primary` to `backup`, with so many dollars a day."""
    return {
        "apiVersion": "turnout.dev/v1alpha1",
        "kind": "LLMRoute",
        "metadata": {"name": name, "namespace": "traffic"},
        "spec": {
            "owner": "team-support",
            "candidates": [
                {"name": "first", "poolRef": {"name": "primary", "namespace": "llm"}, "model": "gpt-5-mini"},
                {"name": "second", "poolRef": {"name": "backup", "namespace": "llm"}, "model": "gpt-5-mini"},
            ],
            "budget": {
                "tokens": {"maxInput": 8000, "maxOutput": 1024},
                "limits": [
                    {"name": "request", "scope": "Request", "cost": "0.02"},
                    {"name": "day", "scope": "Route", "window": "Day", "cost": day},
                ],
            },
            "latency": {"timeToFirstToken": {"deadline": "5s"}, "total": {"deadline": "40s"}, "stall": "5s"},
            "attempts": {"max": 2, "deadline": "19s"},
            "cache": {"none": {"reason": "a test"}},
            "degradation": {
                "paths": [
                    {
                        "faults": ["Unavailable", "RateLimited", "TooSlow"],
                        "steps": [{"candidate": {"name": "second"}}, {"respond": {"status": 503}}],
                    },
                    {"faults": ["OverBudget", "InvalidOutput"], "steps": [{"respond": {"status": 429}}]},
                ]
            },
            "drills": {"schedule": "0 10 * * 2", "timeZone": "Europe/Berlin", "suspend": True},
        },
    }

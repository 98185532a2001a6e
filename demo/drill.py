"""A rehearsal as a person starts it: `kubectl create`, then waiting for the verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from demo.books import nano
from turnout_testing import waiting
from turnout_testing.controlplane import ControlPlane

_PATIENCE = 90
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """What status says of it in the end. `expected` and `observed` are steps such as ``small:Unavailable``."""

    name: str
    route: str
    fault: str
    verdict: str
    expected: tuple[str, ...]
    observed: tuple[str, ...]
    samples: int
    cost: int
    """Nano-USD that its probes were charged, out of an allowance of their own."""
    words: str
    """The first thing that was not as declared, or what the operator says of it."""


def run(plane: ControlPlane, namespace: str, route: str, tell: Tell) -> Drill:
    """Rehearses that the route's first candidate is unavailable; `tell` hears its phases.

    Raises `waiting.NeverHappenedError` where it does not end.
    """
    made = plane.kubectl("create", "-f", "-", "-o", "json", input=yaml.safe_dump(_manifest(namespace, route)))
    name = json.loads(made.stdout)["metadata"]["name"]

    def done() -> dict[str, Any] | None:
        got = plane.kubectl("get", "fallbackdrill", name, f"--namespace={namespace}", "-o", "json")
        drill: dict[str, Any] = json.loads(got.stdout)
        phase = (drill.get("status") or {}).get("phase") or "Created"
        tell(phase)
        return drill if phase == "Done" else None

    return of_object(waiting.until(done, what=f"the verdict of drill {name}", within=_PATIENCE, every=0.5))


def of_object(drill: dict[str, Any]) -> Drill:
    """Of a FallbackDrill that is done."""
    spec, status = drill["spec"], drill["status"]
    path: dict[str, Any] = next(iter(status.get("paths") or ()), {})
    said = next((c["message"] for c in status.get("conditions") or () if c["type"] == "Complete"), "")
    return Drill(
        name=drill["metadata"]["name"],
        route=spec["routeRef"]["name"],
        fault=spec["faults"][0]["type"],
        verdict=status.get("verdict") or "",
        expected=tuple(path.get("expected") or ()),
        observed=tuple(path.get("observed") or ()),
        samples=status.get("sampleCount") or 0,
        cost=nano(status.get("cost") or "0"),
        words=status.get("failStep") or said,
    )


def _manifest(namespace: str, route: str) -> dict[str, Any]:
    return {
        "apiVersion": "turnout.dev/v1alpha1",
        "kind": "FallbackDrill",
        "metadata": {"generateName": f"{route}-unavailable-", "namespace": namespace},
        "spec": {
            "routeRef": {"name": route},
            "faults": [{"type": "Unavailable"}],
            "duration": "10s",
            "probes": {"count": 6, "interval": "500ms", "minSamples": 3},
            "reason": "make demo",
        },
    }

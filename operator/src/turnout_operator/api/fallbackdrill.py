"""FallbackDrill: one run of one rehearsal, immutable but for `abort`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from turnout_operator.api.enums import DrillFault
from turnout_operator.api.fallbackdrill_status import FallbackDrillStatus
from turnout_operator.api.metadata import Resource
from turnout_operator.api.model import Model, by_name, listed
from turnout_operator.api.references import CandidateRef, ConfigMapSource, RouteRef
from turnout_operator.api.types import Decimal, Duration, Money, Percent, Text


class InjectedFault(Model):
    """A fault at the upstream attempt, at these candidates or at all of them."""

    type: DrillFault
    candidates: Annotated[tuple[CandidateRef, ...], by_name(most=16)] = ()


class DrillScope(StrEnum):
    """Who meets the fault: only the drill's own probes, or a share of real traffic."""

    PROBES = "Probes"
    LIVE = "Live"


class DrillMode(StrEnum):
    """Run the drill, or resolve and check it without injecting anything."""

    RUN = "Run"
    PREVIEW = "Preview"


ProbeCount = Annotated[int, Field(strict=True, ge=1, le=1000, json_schema_extra={"format": "int32"})]


class Probes(Model):
    """The drill's own requests."""

    count: ProbeCount = 10
    interval: Duration = Duration("500ms")
    min_samples: ProbeCount = 5
    """Fewer answered probes than this are Inconclusive."""
    prompts: ConfigMapSource | None = None
    max_cost: Money | None = None


class GuardMetric(StrEnum):
    """A measure that ends the drill when it is bad."""

    ERROR_RATE = "ErrorRate"
    LATENCY_P95 = "LatencyP95"


class Guard(Model):
    """Abort when `metric` is above `threshold` over `window`."""

    metric: GuardMetric
    threshold: Decimal
    window: Duration


class FallbackDrillSpec(Model):
    """What is rehearsed, how, and what ends it early."""

    route_ref: RouteRef
    faults: Annotated[tuple[InjectedFault, ...], listed(most=8, least=1)]
    duration: Duration = Duration("30s")
    """At most 15m; counted by the sidecar, so that the fault ends whoever dies."""
    scope: DrillScope = DrillScope.PROBES
    live_percent: Percent | None = None
    mode: DrillMode = DrillMode.RUN
    probes: Probes = Probes()
    abort_when: Annotated[tuple[Guard, ...], listed(most=8)] = ()
    starting_deadline: Duration = Duration("60s")
    recovery_deadline: Duration = Duration("30s")
    reason: Text | None = None
    abort: bool = False
    """The one field that may change: from false to true."""


class FallbackDrill(Resource):
    """A drill and its verdict."""

    kind: Literal["FallbackDrill"] = "FallbackDrill"
    spec: FallbackDrillSpec
    status: FallbackDrillStatus = FallbackDrillStatus()

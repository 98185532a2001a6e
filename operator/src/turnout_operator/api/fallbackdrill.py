"""FallbackDrill: one run of one rehearsal, immutable but for `abort`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from turnout_operator.api import spans
from turnout_operator.api.enums import DrillFault
from turnout_operator.api.fallbackdrill_status import FallbackDrillStatus
from turnout_operator.api.metadata import Resource
from turnout_operator.api.model import Blame, Model, Rule, by_name, listed
from turnout_operator.api.references import CandidateRef, ConfigMapSource, OwnRouteRef
from turnout_operator.api.rehearsal import LONGEST_FAULT
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


ProbeCount = Annotated[int, Field(strict=True, ge=1, le=1000)]


class Probes(Model):
    """The drill's own requests."""

    cel_rules = (
        Rule(
            cel="(has(self.minSamples) ? self.minSamples : 5) <= (has(self.count) ? self.count : 10)",
            message="minSamples (5 unless written) is above count (10 unless written): such a drill could only be Inconclusive",
            at=".minSamples",
        ),
        spans.positive("interval"),
        Rule(
            cel="!has(self.maxCost) || self.maxCost.matches('[1-9]')",
            message='a drill that may spend nothing sends no probe: write an amount above zero such as "0.10"',
            at=".maxCost",
        ),
    )
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

    cel_rules = (spans.positive("window"),)
    metric: GuardMetric
    threshold: Decimal
    window: Duration


_FIXED_FIELDS = (
    "routeRef",
    "faults",
    "duration",
    "scope",
    "livePercent",
    "mode",
    "probes",
    "abortWhen",
    "startingDeadline",
    "recoveryDeadline",
    "reason",
)


def _unchanged(field: str) -> Rule:
    return Rule(
        cel=f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        message="a drill is one run and does not change, only abort may go from false to true: create a new drill",
        at=f".{field}",
        blame=Blame.FORBIDDEN,
    )


class FallbackDrillSpec(Model):
    """What is rehearsed, how, and what ends it early."""

    cel_rules = (
        Rule(
            cel="self.faults.all(f, self.faults.filter(g, g.type == f.type).size() == 1)",
            message="a fault stands twice: name each type once and list its candidates there",
            at=".faults",
        ),
        Rule(
            cel=spans.within("self.duration", most=LONGEST_FAULT),
            message=f"duration must be above zero and at most {LONGEST_FAULT}",
            at=".duration",
        ),
        Rule(
            cel="!has(self.scope) || self.scope != 'Live' || (has(self.livePercent) && self.livePercent > 0)",
            message="a Live drill needs the share of real traffic that meets the fault: write livePercent, for example 1",
            at=".livePercent",
            blame=Blame.REQUIRED,
        ),
        Rule(
            cel="!has(oldSelf.abort) || !oldSelf.abort || (has(self.abort) && self.abort)",
            message="an abort cannot be taken back: create a new drill",
            at=".abort",
        ),
        *(_unchanged(field) for field in _FIXED_FIELDS),
    )
    route_ref: OwnRouteRef
    faults: Annotated[tuple[InjectedFault, ...], listed(most=8, least=1)]
    duration: Duration = Duration("30s")
    """At most 15m; counted by the sidecar, so that the fault ends whoever dies."""
    scope: DrillScope = DrillScope.PROBES
    live_percent: Percent | None = None
    """Only with scope Live, and at most what the route allows."""
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

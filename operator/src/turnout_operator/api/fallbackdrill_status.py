"""What a drill has done and seen."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from turnout_operator.api.conditions import ConditionList
from turnout_operator.api.enums import DrillFault, Verdict
from turnout_operator.api.llmroute_status import Dollars, Shown
from turnout_operator.api.model import Observed, listed
from turnout_operator.api.types import Time


class DrillPhase(StrEnum):
    """Where the drill stands; each is written before its effect."""

    PENDING = "Pending"
    PREFLIGHT = "Preflight"
    INJECTING = "Injecting"
    OBSERVING = "Observing"
    REVERTING = "Reverting"
    DONE = "Done"


class Sample(Observed):
    """One probe: what was expected of it and what came."""

    fault: DrillFault | None = None
    """None for a control probe."""
    sidecar: Shown = ""
    expected: Shown = ""
    observed: Shown = ""
    http_status: int | None = None
    latency: Shown = ""
    cost: Dollars = ""
    passed: bool = False
    detail: Annotated[str, Field(max_length=1024)] = ""


class PathEvidence(Observed):
    """For one fault: the declared steps, and the steps that were seen."""

    fault: DrillFault
    expected: Annotated[tuple[Shown, ...], listed(most=20)] = ()
    observed: Annotated[tuple[Shown, ...], listed(most=20)] = ()


class ReportRef(Observed):
    """The ConfigMap with the report as JSON and Markdown."""

    name: Shown


class FallbackDrillStatus(Observed):
    """`verdict` stands once `phase` is Done."""

    observed_generation: int = -1
    conditions: ConditionList = ()
    phase: DrillPhase | None = None
    verdict: Verdict | None = None
    fail_step: Annotated[str, Field(max_length=1024)] = ""
    """The first thing that was not as declared."""
    started_at: Time | None = None
    injected_at: Time | None = None
    fault_ends_at: Time | None = None
    proves: Shown = ""
    """Digest of what of the route was rehearsed: after an edit of that, it takes another drill."""
    completed_at: Time | None = None
    paths: Annotated[tuple[PathEvidence, ...], listed(most=10)] = ()
    sample_count: int = 0
    samples: Annotated[tuple[Sample, ...], listed(most=20)] = ()
    time_to_detect: Shown = ""
    time_to_recover: Shown = ""
    abort_latency: Shown = ""
    cost: Dollars = ""
    report_ref: ReportRef | None = None

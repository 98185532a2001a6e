"""What the operator says about a route."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from turnout_operator.api.conditions import ConditionList
from turnout_operator.api.enums import DrillFault, LimitScope, Verdict, Window
from turnout_operator.api.model import Observed, by_name, listed
from turnout_operator.api.types import Time

Shown = Annotated[str, Field(max_length=256)]
Dollars = Annotated[str, Field(max_length=32)]


class WorstCase(Observed):
    """The most that one request can take: over retries, fallbacks and repairs, at the full token budget."""

    attempts: int
    cost: Dollars
    """US dollars, exact to a nano-dollar."""
    latency: Shown
    """A duration."""


class SubjectSpend(Observed):
    """One of the fullest accounts of a limit."""

    subject: Shown
    spent: Dollars
    held: Dollars
    limit: Dollars


class BudgetStatus(Observed):
    """One limit: for Tenant and User limits the sums over all subjects of the current window."""

    name: Shown
    scope: LimitScope
    window: Window | None = None
    limit: Dollars = ""
    spent: Dollars = "0"
    held: Dollars = "0"
    resets_at: Time | None = None
    subjects: int = 0
    fullest: Annotated[tuple[SubjectSpend, ...], listed(most=5)] = ()


class SidecarCount(Observed):
    """How many sidecars are connected, and how many of them run this generation."""

    connected: int = 0
    programmed: int = 0


class DrillVerdict(Observed):
    """The last drill of one fault."""

    fault: DrillFault
    verdict: Verdict
    drill: Shown
    time: Time | None = None


class RouteDrills(Observed):
    """What the route's schedule has done so far."""

    last_schedule_time: Time | None = None
    last_success: Time | None = None
    last_verdict: Shown = ""
    verdicts: Annotated[
        tuple[DrillVerdict, ...],
        Field(
            max_length=10, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["fault"]}
        ),
    ] = ()


class NotEnforced(Observed):
    """A convenience that is declared and that this version does not act on."""

    field: Shown
    since: Shown
    """The version that will."""


class LLMRouteStatus(Observed):
    """`observedGeneration` is -1 until the operator has looked; it always advances, also on failure."""

    observed_generation: int = -1
    accepted_generation: int | None = None
    """The generation in service: the last one that was accepted."""
    conditions: ConditionList = ()
    worst_case: WorstCase | None = None
    budgets: Annotated[tuple[BudgetStatus, ...], by_name(most=16)] = ()
    spent_today: Dollars = ""
    """US dollars since midnight UTC, over all candidates."""
    active_step: Shown = ""
    """The degradation step in use now, empty while the plan holds."""
    sidecars: SidecarCount = SidecarCount()
    drills: RouteDrills = RouteDrills()
    not_enforced: Annotated[tuple[NotEnforced, ...], listed(most=64)] = ()

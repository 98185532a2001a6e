"""What the operator says about a pool."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from turnout_operator.api.conditions import ConditionList
from turnout_operator.api.llmroute_status import BudgetStatus, NotEnforced, Shown
from turnout_operator.api.model import Observed, by_name, listed


class BreakerState(StrEnum):
    """Whether traffic to a model flows; the worst state any sidecar reports."""

    CLOSED = "Closed"
    HALF_OPEN = "HalfOpen"
    OPEN = "Open"


class ModelStatus(Observed):
    """How one model of the pool is doing, over all sidecars."""

    name: Shown
    breaker: BreakerState = BreakerState.CLOSED
    saturation_percent: int | None = None


class ProviderPoolStatus(Observed):
    """`observedGeneration` is -1 until the operator has looked; it always advances, also on failure."""

    observed_generation: int = -1
    conditions: ConditionList = ()
    models: Annotated[tuple[ModelStatus, ...], by_name(most=64)] = ()
    routes: Annotated[tuple[Shown, ...], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})] = ()
    """The first 64 routes that name the pool, as namespace/name."""
    route_count: int = 0
    budgets: Annotated[tuple[BudgetStatus, ...], by_name(most=16)] = ()
    not_enforced: Annotated[tuple[NotEnforced, ...], listed(most=64)] = ()

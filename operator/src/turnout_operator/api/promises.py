"""The table of promises that belongs to each kind's spec."""

from __future__ import annotations

from turnout_operator.api import FallbackDrillSpec, LLMRouteSpec, ProviderPoolSpec
from turnout_operator.api.enforcement import Promises
from turnout_operator.api.model import Model
from turnout_operator.api.promises_of_drills import DRILL_PROMISES
from turnout_operator.api.promises_of_pools import POOL_PROMISES
from turnout_operator.api.promises_of_routes import ROUTE_PROMISES

_TABLES: dict[type[Model], Promises] = {
    LLMRouteSpec: ROUTE_PROMISES,
    ProviderPoolSpec: POOL_PROMISES,
    FallbackDrillSpec: DRILL_PROMISES,
}


def promises_of(spec: type[Model]) -> Promises:
    """The marks of every field of `spec`."""
    return _TABLES[spec]

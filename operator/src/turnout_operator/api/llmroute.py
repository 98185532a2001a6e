"""LLMRoute: one contract between an application and the models that answer it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from turnout_operator.api.budget import Budget
from turnout_operator.api.caching import Cache
from turnout_operator.api.coherence import ROUTE_COHERENCE
from turnout_operator.api.degradation import Degradation
from turnout_operator.api.enums import Api, Risk, Workload
from turnout_operator.api.latency import AttemptBounds, Latency
from turnout_operator.api.law import ROUTE_LAW
from turnout_operator.api.llmroute_status import LLMRouteStatus
from turnout_operator.api.matching import AttachTo, DataPolicy, Identity, Match
from turnout_operator.api.metadata import SHORT_NAME, Resource
from turnout_operator.api.model import Model, as_set, by_name, listed
from turnout_operator.api.operations import Alerts, Batch, Gates, Load, Preset, RuleException
from turnout_operator.api.output import Concurrency, Output, Streaming
from turnout_operator.api.rehearsal import Drills
from turnout_operator.api.routing import Candidate, Routing
from turnout_operator.api.types import Name, Owner

Version = Annotated[str, Field(strict=True, min_length=1, max_length=128)]


class LLMRouteSpec(Model):
    """The contract: who owns it, what it may spend, how long it may take, how it degrades, how that is rehearsed."""

    cel_rules = (*ROUTE_LAW, *ROUTE_COHERENCE)
    owner: Owner | None = None
    """Who answers for the route."""
    feature: Name | None = None
    """Cost attribution, a metric label; the route's name unless it is written."""
    risk: Risk = Risk.STANDARD
    workload: Workload = Workload.INTERACTIVE
    attach_to: AttachTo | None = None
    """The namespace's sidecars unless it is written."""
    apis: Annotated[tuple[Api, ...], as_set(most=4, least=1)] = (Api.CHAT_COMPLETIONS,)
    matches: Annotated[tuple[Match, ...], listed(most=8)] = ()
    """Any of these; requests for a model of the route's name unless they are written."""
    identity: Identity = Identity()
    data_policy: DataPolicy | None = None
    candidates: Annotated[tuple[Candidate, ...], by_name(most=16)] = ()
    routing: Routing = Routing()
    budget: Budget | None = None
    latency: Latency | None = None
    attempts: AttemptBounds | None = None
    output: Output | None = None
    streaming: Streaming = Streaming()
    concurrency: Concurrency | None = None
    cache: Cache | None = None
    degradation: Degradation | None = None
    drills: Drills | None = None
    preset: Preset | None = None
    """Fills the token budget where `budget.tokens` leaves it open."""
    load: Load | None = None
    batch: Batch | None = None
    prompt_version: Version | None = None
    exceptions: Annotated[tuple[RuleException, ...], listed(most=8)] = ()
    gates: Gates | None = None
    alerts: Alerts | None = None


class LLMRoute(Resource):
    """A route and what became of it."""

    cel_rules = (SHORT_NAME,)
    kind: Literal["LLMRoute"] = "LLMRoute"
    spec: LLMRouteSpec
    status: LLMRouteStatus = LLMRouteStatus()

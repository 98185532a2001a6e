"""The candidates of a route and the order in which they are tried."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from turnout_operator.api import spans
from turnout_operator.api.model import Model, as_set, by_name
from turnout_operator.api.references import CandidateRef, ConfigMapSource, PoolRef
from turnout_operator.api.types import Duration, Expression, Few, ModelName, Name, Percent


class Candidate(Model):
    """One model of one pool that may serve this route."""

    name: Name
    pool_ref: PoolRef
    model: ModelName


class RoutingRule(Model):
    """When `when` holds for a request, the candidates of `use` are tried in that order; the first rule that holds wins."""

    name: Name
    when: Expression
    use: Annotated[tuple[CandidateRef, ...], by_name(most=16, least=1)]


class EscalationCause(StrEnum):
    """Why a cascade asks a stronger candidate."""

    INVALID_OUTPUT = "InvalidOutput"
    LOW_CONFIDENCE = "LowConfidence"
    REFUSAL = "Refusal"


class Evidence(ConfigMapSource):
    """The measured lift that justifies a cascade, and how old it may be."""

    max_age: Duration | None = None


class Cascade(Model):
    """Ask a stronger candidate when the answer of a weaker one does not hold."""

    to: Annotated[tuple[CandidateRef, ...], by_name(most=16, least=1)]
    when: Annotated[tuple[EscalationCause, ...], as_set(most=3, least=1)]
    max_escalations: Few = 1
    evidence: Evidence | None = None


class Hedge(Model):
    """Ask a second candidate when the first token is late, for at most a share of requests."""

    cel_rules = (spans.positive("after"),)
    after: Duration
    max_share_percent: Percent


class Routing(Model):
    """Rules first, then `default`, which is the order of the candidates unless it is written."""

    rules: Annotated[tuple[RoutingRule, ...], by_name(most=32)] = ()
    default: Annotated[tuple[CandidateRef, ...], by_name(most=16)] = ()
    cascade: Cascade | None = None
    hedge: Hedge | None = None

"""How a route is run: presets, expected load, batches, exceptions, gates and alerts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from turnout_operator.api import spans
from turnout_operator.api.model import Model, listed
from turnout_operator.api.references import ConfigMapSource
from turnout_operator.api.types import Count, Date, Decimal, Duration, Money, Owner, Percent, Text, TokenCount


class Preset(StrEnum):
    """A usual token budget (input/output): fills what `budget.tokens` leaves open."""

    CLASSIFICATION = "Classification"
    SHORT_ANSWER = "ShortAnswer"
    RAG = "RAG"
    CASE_DRAFT = "CaseDraft"
    LONG_SUMMARY = "LongSummary"
    AGENT_STEP = "AgentStep"

    @property
    def max_input(self) -> int:
        """Input tokens of one request."""
        return _PRESET_TOKENS[self][0]

    @property
    def max_output(self) -> int:
        """Output tokens of one attempt."""
        return _PRESET_TOKENS[self][1]


_PRESET_TOKENS = {
    Preset.CLASSIFICATION: (1_000, 100),
    Preset.SHORT_ANSWER: (4_000, 500),
    Preset.RAG: (12_000, 1_000),
    Preset.CASE_DRAFT: (24_000, 2_000),
    Preset.LONG_SUMMARY: (64_000, 4_000),
    Preset.AGENT_STEP: (8_000, 300),
}


class Load(Model):
    """The load that the owner expects; nothing is refused by it."""

    requests_per_minute: Count | None = None
    peak_factor: Count | None = None
    model_calls_per_request: Decimal | None = None
    expected_input: TokenCount | None = None
    expected_output: TokenCount | None = None


class Batch(Model):
    """Bounds of items that are run later."""

    cel_rules = (spans.positive("deadline"),)
    deadline: Duration
    max_item_cost: Money


class ExceptionType(StrEnum):
    """A rule that may be waived, with a reason and an end."""

    OFFLINE_EVALUATION = "OfflineEvaluation"
    NO_WEAKER_FALLBACK = "NoWeakerFallback"
    CACHE_PRIMARY = "CachePrimary"
    CACHE_FORBIDDEN = "CacheForbidden"
    PROTOTYPE = "Prototype"


class RuleException(Model):
    """One waived rule: why, who answers for it, until when."""

    type: ExceptionType
    reason: Text
    owner: Owner
    expires: Date


class GateMetric(StrEnum):
    """A measure that a change must not make worse."""

    LATENCY_P95 = "LatencyP95"
    TIME_TO_FIRST_TOKEN_P95 = "TimeToFirstTokenP95"
    COST_PER_REQUEST = "CostPerRequest"
    COST_PER_SUCCESS = "CostPerSuccess"
    ERROR_PERCENT = "ErrorPercent"
    FALLBACK_SHARE = "FallbackShare"


class Gate(Model):
    """The most that a measure may rise above the baseline."""

    name: GateMetric
    max_increase_percent: Percent


class Gates(Model):
    """A baseline and what a change may do to it."""

    baseline: ConfigMapSource
    metrics: Annotated[tuple[Gate, ...], listed(most=8, least=1)]


class Alerts(Model):
    """Thresholds of the alert rules that are generated for the route."""

    budget_burn: bool | None = None
    cost_anomaly_factor: Decimal | None = None
    unexpected_cost_per_hour: Money | None = None
    error_percent: Percent | None = None
    latency_p95: Duration | None = None
    fallback_share_percent: Percent | None = None
    retry_amplification: Decimal | None = None
    cache_hit_drop_percent: Percent | None = None
    quota_percent: Percent | None = None

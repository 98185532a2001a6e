"""What a route may spend: tokens a request, and accounts that count money, requests or tokens."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from turnout_operator.api.enums import Enforce, LimitScope, Window
from turnout_operator.api.model import Model, as_set, by_name, listed
from turnout_operator.api.types import Count, Duration, Few, Money, Name, Subject, TokenCount, Zone


class WhenTokensExceeded(StrEnum):
    """What happens to a request above its token budget."""

    REJECT = "Reject"
    TRIM = "Trim"


class TokenBudget(Model):
    """The most tokens one request may bring and receive; `preset` may fill `maxInput` and `maxOutput`."""

    max_input: TokenCount | None = None
    """Input tokens of one request; with tokenizer `Bytes` these are bytes of the normalised request."""
    max_output: TokenCount | None = None
    """Output tokens of one attempt; sent to the provider as its output limit."""
    max_context: TokenCount | None = None
    max_tool_result: TokenCount | None = None
    max_conversation: TokenCount | None = None
    when_exceeded: WhenTokensExceeded = WhenTokensExceeded.REJECT


class Amounts(Model):
    """What is counted; at least one stands in every limit."""

    cost: Money | None = None
    """US dollars."""
    requests: Count | None = None
    tokens: Count | None = None


class Override(Amounts):
    """Other amounts for named subjects."""

    subjects: Annotated[tuple[Subject, ...], as_set(most=64, least=1)]


class Plan(Amounts):
    """Other amounts for the subjects of a plan."""

    name: Name


class Limit(Amounts):
    """One account for each subject and window; it is keyed by name and outlives the route."""

    name: Name
    scope: LimitScope
    window: Window | None = None
    """Needed by every scope but Request and Run, which have none."""
    time_zone: Zone | None = None
    """Where the window begins at midnight; UTC unless it is written."""
    share: Name | None = None
    """Routes of one namespace that name the same share spend from one account."""
    enforce: Enforce = Enforce.HARD
    allowance: Money | None = None
    """With `enforce: Soft`: what one sidecar may spend without a lease."""
    overrides: Annotated[tuple[Override, ...], listed(most=16)] = ()
    plans: Annotated[tuple[Plan, ...], by_name(most=8)] = ()


class WhenRunExceeded(StrEnum):
    """What happens to an agent run above its bounds."""

    ESCALATE = "Escalate"
    REJECT = "Reject"


class AgentRunBudget(Model):
    """Bounds on one agent run, told apart by `identity.run`."""

    max_steps: Count | None = None
    max_model_calls: Count | None = None
    max_tool_calls: Count | None = None
    max_repeated_tool_calls: Count | None = None
    max_tokens: Count | None = None
    max_duration: Duration | None = None
    when_exceeded: WhenRunExceeded = WhenRunExceeded.REJECT


class Budget(Model):
    """Token bounds of each request and the limits that its cost is admitted against."""

    tokens: TokenBudget | None = None
    max_judge_calls: Few = 0
    """Model calls that judge an answer, per request."""
    limits: Annotated[tuple[Limit, ...], by_name(most=16)] = ()
    max_hold_wait: Duration = Duration("250ms")
    """How long a request waits for holds of others to settle."""
    max_lease_wait: Duration = Duration("500ms")
    """How long a request waits for a first lease."""
    agent_run: AgentRunBudget | None = None

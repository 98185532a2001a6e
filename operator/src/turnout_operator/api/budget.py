"""What a route may spend: tokens a request, and accounts that count money, requests or tokens."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from turnout_operator.api import spans
from turnout_operator.api.enums import Enforce, LimitScope, Window
from turnout_operator.api.model import Blame, Model, Rule, as_set, by_name, listed
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

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.cost) || has(self.requests) || has(self.tokens)",
            message="nothing is counted: write cost, requests or tokens",
            blame=Blame.REQUIRED,
        ),
        Rule(
            cel="!has(self.cost) || self.cost.matches('[1-9]')",
            message='a limit of nothing refuses every request: write an amount above zero such as "0.50"',
            at=".cost",
        ),
    )
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


class Account(Amounts):
    """What limits of routes and of pools have in common."""

    cel_rules = (
        *Amounts.cel_rules,
        Rule(
            cel="(has(self.enforce) && self.enforce == 'Soft') == has(self.allowance)",
            message="allowance is what one sidecar may spend without a lease: write it with enforce: Soft, and only there",
            at=".allowance",
        ),
    )
    name: Name
    time_zone: Zone | None = None
    """Where the window begins at midnight; UTC unless it is written."""
    enforce: Enforce = Enforce.HARD
    allowance: Money | None = None
    """With `enforce: Soft`: what one sidecar may spend without a lease."""


class PoolLimit(Account):
    """One account for each window, over all routes of the pool."""

    scope: Literal[LimitScope.POOL]
    window: Window
    # What only a route's limit can say; the compiler reads both kinds of limit alike.
    share: ClassVar[None] = None
    overrides: ClassVar[tuple[Override, ...]] = ()
    plans: ClassVar[tuple[Plan, ...]] = ()


class Limit(Account):
    """One account for each subject and window; it is keyed by name and outlives the route."""

    cel_rules = (
        *Account.cel_rules,
        Rule(
            cel="self.scope in ['Request', 'Run'] || has(self.window)",
            message="a limit over many requests needs a window: write Minute, Hour, Day or Month",
            at=".window",
            blame=Blame.REQUIRED,
        ),
        Rule(
            cel="!(self.scope in ['Request', 'Run']) || !has(self.window)",
            message="a Request or Run limit ends with the request or the run: leave the window out",
            at=".window",
            blame=Blame.FORBIDDEN,
        ),
        Rule(
            cel="!has(self.timeZone) || has(self.window)",
            message="a time zone says when a window begins, and there is no window: leave timeZone out",
            at=".timeZone",
            blame=Blame.FORBIDDEN,
        ),
        Rule(
            cel="self.scope != 'Request' || !has(self.requests)",
            message="one request is always one request: count cost or tokens",
            at=".requests",
            blame=Blame.FORBIDDEN,
        ),
        Rule(
            cel="!has(self.share) || self.scope in ['User', 'Tenant', 'Route']",
            message="only User, Tenant and Route limits can be shared by routes: leave share out",
            at=".share",
            blame=Blame.FORBIDDEN,
        ),
        Rule(
            cel="!has(self.overrides) || self.scope in ['User', 'Tenant']",
            message="overrides name users or tenants: leave them out of other limits",
            at=".overrides",
            blame=Blame.FORBIDDEN,
        ),
        Rule(
            cel="!has(self.plans) || self.scope in ['User', 'Tenant']",
            message="plans are of users or tenants: leave them out of other limits",
            at=".plans",
            blame=Blame.FORBIDDEN,
        ),
    )
    scope: LimitScope
    window: Window | None = None
    """Needed by every scope but Request and Run, which have none."""
    share: Name | None = None
    """Routes of one namespace that name the same share spend from one account."""
    overrides: Annotated[tuple[Override, ...], listed(most=16)] = ()
    plans: Annotated[tuple[Plan, ...], by_name(most=8)] = ()


class WhenRunExceeded(StrEnum):
    """What happens to an agent run above its bounds."""

    ESCALATE = "Escalate"
    REJECT = "Reject"


class AgentRunBudget(Model):
    """Bounds on one agent run, told apart by `identity.run`."""

    cel_rules = (spans.positive("maxDuration"),)
    max_steps: Count | None = None
    max_model_calls: Count | None = None
    max_tool_calls: Count | None = None
    max_repeated_tool_calls: Count | None = None
    max_tokens: Count | None = None
    max_duration: Duration | None = None
    when_exceeded: WhenRunExceeded = WhenRunExceeded.REJECT


class Budget(Model):
    """Token bounds of each request and the limits that its cost is admitted against."""

    cel_rules = (
        Rule(
            cel="!has(self.limits) || self.limits.all(l, l.scope != 'Pool')",
            message="a Pool limit belongs to the ProviderPool: write it in its spec.budget.limits",
            at=".limits",
            blame=Blame.FORBIDDEN,
        ),
    )
    tokens: TokenBudget | None = None
    max_judge_calls: Few = 0
    """Model calls that judge an answer, per request."""
    limits: Annotated[tuple[Limit, ...], by_name(most=16)] = ()
    max_hold_wait: Duration = Duration("250ms")
    """How long a request waits for holds of others to settle."""
    max_lease_wait: Duration = Duration("500ms")
    """How long a request waits for a first lease."""
    agent_run: AgentRunBudget | None = None

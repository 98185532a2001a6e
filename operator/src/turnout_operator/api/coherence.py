"""Rules of a route that look at two of its parts at once: names that must be declared, bounds that must fit each other."""

from __future__ import annotations

from turnout_operator.api import spans
from turnout_operator.api.law import declared, demand
from turnout_operator.api.model import Blame, Rule

_KNOWN = "has(self.candidates) && self.candidates.exists(c, c.name == {name})"


def _names_candidates(path: str, what: str, at: str | None = None) -> Rule:
    """Every {name} in the list at `path` is a candidate."""
    return Rule(
        cel=f"!({declared(path)}) || self.{path}.all(u, {_KNOWN.format(name='u.name')})",
        message=f"{what} names a candidate that is not in candidates: correct the name, or declare the candidate",
        at=at or f".{path}",
    )


def _needs_identity(part: str, who: str, used: str) -> Rule:
    return demand(
        f".identity.{part}",
        f"!({used}) || ({declared(f'identity.{part}')})",
        f"{who} counts or tells apart by {part}, and nothing says where the {part} comes from: "
        f"write identity.{part}, for example {{header: {{name: x-{part}-id}}}}",
    )


def _limit_scope(scope: str) -> str:
    return f"{declared('budget.limits')} && self.budget.limits.exists(l, l.scope == '{scope}')"


def _cache_scope(scope: str) -> str:
    kinds = ("response", "semantic", "embedding")
    return " || ".join(f"({declared(f'cache.{kind}')} && self.cache.{kind}.scope == '{scope}')" for kind in kinds)


def _needs_checks(at: str, used: str, message: str) -> Rule:
    return demand(at, f"!({used}) || ({declared('output.checks')} && size(self.output.checks) > 0)", message)


_STEPS = (
    f"{declared('degradation.paths')} && self.degradation.paths.exists(p, has(p.steps) && p.steps.exists(s, {{step}}))"
)
_HIGH = "has(self.risk) && self.risk == 'High'"

CANDIDATES_ARE_DECLARED = (
    _names_candidates("routing.default", "routing.default"),
    Rule(
        cel=(
            f"!({declared('routing.rules')}) || self.routing.rules.all(r, r.use.all(u, {_KNOWN.format(name='u.name')}))"
        ),
        message="a routing rule names a candidate that is not in candidates: correct the name, or declare the candidate",
        at=".routing.rules",
    ),
    _names_candidates("routing.cascade.to", "routing.cascade.to"),
    Rule(
        cel=(
            f"!({declared('degradation.paths')}) || self.degradation.paths.all(p, !has(p.steps) || "
            f"p.steps.all(s, !has(s.candidate) || ({_KNOWN.format(name='s.candidate.name')})))"
        ),
        message="a degradation step names a candidate that is not in candidates: correct the name, or declare the candidate",
        at=".degradation.paths",
    ),
)

IDENTITIES_ARE_DECLARED = (
    _needs_identity("tenant", "a Tenant limit", _limit_scope("Tenant")),
    _needs_identity("user", "a User limit", _limit_scope("User")),
    _needs_identity("run", "a Run limit", _limit_scope("Run")),
    _needs_identity("run", "budget.agentRun", declared("budget.agentRun")),
    _needs_identity("tenant", "concurrency.maxPerTenant", declared("concurrency.maxPerTenant")),
    _needs_identity("tenant", "a cache with scope Tenant", _cache_scope("Tenant")),
    _needs_identity("user", "a cache with scope User", _cache_scope("User")),
)

CHECKS_ARE_DECLARED = (
    _needs_checks(
        ".output.checks",
        "has(self.streaming) && has(self.streaming.commit) && self.streaming.commit == 'Validated'",
        "streaming.commit: Validated holds a stream until the checks pass, and there are none: write output.checks",
    ),
    _needs_checks(
        ".output.checks",
        f"{declared('routing.cascade')} && 'InvalidOutput' in self.routing.cascade.when",
        "a cascade on InvalidOutput escalates answers that fail the checks, and there are none: write output.checks",
    ),
)

BOUNDS_FIT = (
    Rule(
        cel=spans.compared("self.attempts.deadline", "<=", "self.latency.total.deadline"),
        message="the deadline of one attempt is above the total deadline and would never act",
        message_cel=(
            "'the deadline of one attempt ' + self.attempts.deadline + ' is above latency.total.deadline ' + "
            "self.latency.total.deadline + ' and would never act'"
        ),
        at=".attempts.deadline",
    ),
    Rule(
        cel=spans.compared("self.latency.timeToFirstToken.deadline", "<=", "self.attempts.deadline"),
        message="the first-token deadline is above the deadline of one attempt and would never act",
        message_cel=(
            "'the first-token deadline ' + self.latency.timeToFirstToken.deadline + ' is above attempts.deadline ' + "
            "self.attempts.deadline + ' and would never act'"
        ),
        at=".latency.timeToFirstToken.deadline",
    ),
)

HIGH_RISK_IS_STRICT = (
    Rule(
        cel=f"!({_HIGH}) || !({declared('cache.semantic')})",
        message="a High risk route answers no request with the answer to a similar one: leave cache.semantic out",
        at=".cache.semantic",
        blame=Blame.FORBIDDEN,
    ),
    Rule(
        cel=f"!({_HIGH}) || !({_STEPS.format(step='has(s.partial)')})",
        message="a High risk route gives no part of an answer: leave the partial step out",
        at=".degradation.paths",
        blame=Blame.FORBIDDEN,
    ),
)

ROUTE_COHERENCE = (
    *CANDIDATES_ARE_DECLARED,
    *IDENTITIES_ARE_DECLARED,
    *CHECKS_ARE_DECLARED,
    *BOUNDS_FIT,
    *HIGH_RISK_IS_STRICT,
)

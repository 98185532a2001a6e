"""The law: a route that does not declare its owner, budgets, bounds, cache decision, degradation and drills does not run.

Each sentence names what is missing and what to write. All of them are looked at for every object, so a person sees the whole list at the
first `kubectl apply`.
"""

from __future__ import annotations

from turnout_operator.api.enums import FaultClass
from turnout_operator.api.model import Blame, Rule


def demand(at: str, present: str, message: str) -> Rule:
    """A rule that refuses the object unless `present` holds."""
    return Rule(cel=present, message=message, at=at, blame=Blame.REQUIRED)


def declared(path: str) -> str:
    """CEL that holds when every field along `path` is set."""
    parts = path.split(".")
    return " && ".join(f"has(self.{'.'.join(parts[: end + 1])})" for end in range(len(parts)))


def _tokens(field: str, example: int) -> Rule:
    return demand(
        f".budget.tokens.{field}",
        f"has(self.preset) || ({declared(f'budget.tokens.{field}')})",
        f"the token budget is open: write budget.tokens.{field}, for example {example}, or a preset",
    )


def _path(fault: FaultClass) -> Rule:
    return demand(
        ".degradation.paths",
        f"{declared('degradation.paths')} && self.degradation.paths.exists(p, '{fault}' in p.faults)",
        f"no degradation path for {fault}: name {fault} in the faults of one path, for example "
        f"{{faults: [{fault}], steps: [{{respond: {{status: 503}}}}]}}",
    )


ROUTE_LAW = (
    demand(".owner", declared("owner"), "no owner: write who answers for this route, for example owner: team-support"),
    demand(
        ".candidates",
        f"{declared('candidates')} && size(self.candidates) > 0",
        "no candidates: write at least one, for example {name: small, poolRef: {name: openai}, model: gpt-5-mini}",
    ),
    _tokens("maxInput", 8000),
    _tokens("maxOutput", 1024),
    demand(
        ".budget.limits",
        f"{declared('budget.limits')} && self.budget.limits.exists(l, has(l.cost))",
        'no cost limit: write at least one, for example {name: day, scope: Route, window: Day, cost: "200"}',
    ),
    demand(
        ".latency.total.deadline",
        declared("latency.total.deadline"),
        "no latency budget: write latency.total.deadline, the longest a request may take, for example 15s",
    ),
    demand(
        ".latency.timeToFirstToken.deadline",
        f"(has(self.workload) && self.workload != 'Interactive') || ({declared('latency.timeToFirstToken.deadline')})",
        "no first-token budget: an Interactive route needs latency.timeToFirstToken.deadline, for example 3s; "
        "or write workload: Background",
    ),
    demand(
        ".attempts.max",
        declared("attempts.max"),
        "no attempt bound: write attempts.max, the most attempts over retries and fallbacks together, for example 2",
    ),
    demand(
        ".cache",
        declared("cache"),
        'no cache decision: write what is cached, or none with a reason, for example {none: {reason: "answers are personal"}}',
    ),
    *(_path(fault) for fault in FaultClass),
    demand(
        ".drills.schedule",
        declared("drills.schedule"),
        'no drills: a path that is never rehearsed is not a path; write drills.schedule, for example "0 10 * * 2"',
    ),
)

"""The order in which candidates are asked, as a pure function of the policy. The drill's prediction asks the same functions.

Rules
- Routing picks the first choice: the first candidate of the matching rule's `use`, else of `order`, that can be asked now
  (breaker not open, cluster there). One that was passed over counts as Unavailable, and the answer says so.
- A fault that retries cannot cure makes the request leave its first choice. From then on the degradation path of that fault
  governs, to its end: step by step, over candidates that were not tried, to its `respond`. A fault further down the path
  goes to the next step of the same path, because one request keeps one promise.
- `attempts.max` counts everything. A retry never takes the attempt that a candidate further down the path would need.
- When attempts or time run out, the path's `respond` is said at once.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cel

from turnout_sidecar.policy.model import (
    Attempts,
    CandidateStep,
    FaultClass,
    RespondStep,
    RetryClass,
    Route,
    Rule,
    Step,
)


def steps_for(route: Route, fault: FaultClass) -> tuple[Step, ...]:
    """The path of this fault; each class stands in exactly one."""
    for path in route.degradation:
        if fault in path.faults:
            return path.steps
    raise ValueError(f"{route.key} declares no degradation path for {fault}")


def last_word(steps: Sequence[Step]) -> RespondStep:
    """Where every path ends."""
    last = steps[-1]
    assert isinstance(last, RespondStep), "a degradation path ends in a respond step"
    return last


def next_candidate(steps: Sequence[Step], at: int, usable: Callable[[str], bool]) -> tuple[int, str] | None:
    """The first step from `at` on whose candidate is usable, as (its index, its candidate); None where `respond` is next."""
    for index in range(at, len(steps)):
        step = steps[index]
        if isinstance(step, RespondStep):
            return None
        if usable(step.candidate):
            return index, step.candidate
    return None


def candidates_ahead(steps: Sequence[Step], at: int, usable: Callable[[str], bool]) -> int:
    """How many attempts the rest of a path may need."""
    return len({s.candidate for s in steps[at:] if isinstance(s, CandidateStep) and usable(s.candidate)})


def may_retry(policy: Attempts, retry: RetryClass | None, tries: int, attempts: int, ahead: int) -> bool:
    """Whether a candidate that was asked `tries` times may be asked again, `attempts` having been made in all."""
    return (
        retry is not None
        and retry in policy.retry_on
        and tries < policy.max_per_candidate
        and attempts + ahead < policy.max
    )


class Facts(NamedTuple):
    """What a rule may look at: ``request`` in CEL."""

    model: str
    input_tokens: int
    max_output_tokens: int
    stream: bool
    tenant: str


class CompiledRule(NamedTuple):
    name: str
    program: "cel.Program"
    headers: tuple[str, ...]
    """the request headers that the expression may read"""
    use: tuple[str, ...]


_LITERAL = re.compile(r"""'([^'\\]*)'|"([^"\\]*)\"""")
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}").fullmatch


def compile_rule(rule: Rule) -> CompiledRule:
    """Raises `ValueError` with the parser's words. Headers are looked up by the literals of the expression: a request's headers
    are many, and reading one costs as much as the rule."""
    program = cel.compile(rule.when)
    literals = {(a or b).lower() for a, b in _LITERAL.findall(rule.when)}
    return CompiledRule(rule.name, program, tuple(sorted(n for n in literals if _HEADER(n))), rule.use)


def first_choices(
    rules: Sequence[CompiledRule], order: tuple[str, ...], facts: Facts, header: Callable[[str], str]
) -> tuple[tuple[str, ...], str]:
    """The candidates to route to, in order, and the name of the rule that said so (empty: none matched)."""
    for rule in rules:
        if _matches(rule, facts, header):
            return rule.use, rule.name
    return order, ""


def _matches(rule: CompiledRule, facts: Facts, header: Callable[[str], str]) -> bool:
    """A rule that fails on this request (a header that is not there) does not match; it is checked for sense when compiled."""
    found = {name: value for name in rule.headers if (value := header(name))}
    request = {
        "model": facts.model,
        "inputTokens": facts.input_tokens,
        "maxOutputTokens": facts.max_output_tokens,
        "stream": facts.stream,
        "tenant": facts.tenant,
        "headers": found,
    }
    try:
        return rule.program.execute({"request": request}) is True
    except (KeyError, ValueError, TypeError, RuntimeError):
        return False


class Prediction(NamedTuple):
    """What a request that meets a fault is expected to do, in the words of a drill's evidence."""

    path: tuple[str, ...]
    """what is tried in order, such as ``small:Unavailable``, ``local:ok`` or ``respond:503``; retries are not told apart"""
    candidate: str
    """who serves; empty where the path ends in `respond`"""
    status: int
    degraded: str
    """the reason that the answer names; empty where the first choice serves"""
    step: str


def path_for(route: Route, fault: FaultClass, candidates: Sequence[str] = ()) -> Prediction:
    """The declared way of a request of `route`'s default order while `candidates` (none: the first choice) meet `fault`."""
    first = route.order[0]
    sick = set(candidates) or {first}
    if first not in sick:
        return Prediction((f"{first}:ok",), first, 200, "", "")
    steps = steps_for(route, fault)
    costs_attempt = fault is not FaultClass.OVER_BUDGET
    path = [f"{first}:{fault}"]
    tried = {first}
    attempts = int(costs_attempt)
    at = 0
    while attempts < route.attempts.max and (found := next_candidate(steps, at, lambda c: c not in tried)) is not None:
        at, candidate = found[0] + 1, found[1]
        tried.add(candidate)
        if candidate not in sick:
            return Prediction((*path, f"{candidate}:ok"), candidate, 200, fault, candidate_step(candidate))
        path.append(f"{candidate}:{fault}")
        attempts += costs_attempt
    status = last_word(steps).status
    return Prediction((*path, f"respond:{status}"), "", status, fault, RESPOND)


RESPOND = "respond"


def candidate_step(candidate: str) -> str:
    """The step as `x-turnout-step` names it."""
    return f"candidate:{candidate}"

"""Whether each routing rule can ever be the one that matches: read, checked for facts that do not exist, and tried out.

Theory: a rule built from comparisons of one fact with one literal, joined by &&, ||, ! and ?:, changes its truth only at its literals.
So all its behaviour shows on the finite grid of those literals, their neighbours and the ends of each fact's range (`inputTokens` ends
at the route's own maxInput). A rule that is false on the whole grid never matches; one that holds only where earlier rules hold is never
reached. What leaves that fragment (arithmetic, functions, one fact against another) or whose grid is too large is believed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cel

from turnout_operator.api.conditions import AcceptedReason
from turnout_operator.compiler import expressions
from turnout_operator.compiler.expressions import FACTS, Literals, Token
from turnout_operator.compiler.faults import Faults
from turnout_sidecar.policy import model as policy

POINTS = 4096
"""The largest grid that is tried: 15 microseconds a point and rule, so a rule costs at most 60 ms, once an edit."""
_OTHER = "\x00another"
"""A string that no rule names: it stands for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The range of each fact at this route."""

    models: tuple[str, ...]
    """Empty: any model."""
    max_input: int
    max_output: int
    tenants: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    rule: policy.Rule
    field: str
    program: Any
    tokens: tuple[Token, ...]


def examine(rules: tuple[policy.Rule, ...], bounds: Bounds | None, faults: Faults) -> None:
    """Names every rule that cannot be read or can never be the one that matches; without `bounds`, only what cannot be read."""
    read = [
        r for i, rule in enumerate(rules) if (r := _read(rule, f"spec.routing.rules[{i}].when", faults)) is not None
    ]
    if bounds is not None:
        for position, one in enumerate(read):
            _examine_reach(one, read[:position], bounds, faults)


def _read(rule: policy.Rule, where: str, faults: Faults) -> _Read | None:
    try:
        program = cel.compile(rule.when)
    except ValueError as error:
        words = str(error).splitlines()[0].partition("ERROR: ")[2] or str(error).splitlines()[0]
        faults.unless_said(AcceptedReason.INVALID, where, f"this is not CEL: {words.removeprefix('<input>:')}")
        return None
    tokens = tuple(expressions.tokens(rule.when))
    unknown = sorted(_unknown_facts(tokens, program.variables()))
    if unknown:
        message = f"there is no {', '.join(unknown)}: rules see request.{', request.'.join(FACTS)}"
        faults.unless_said(AcceptedReason.INVALID, where, message)
        return None
    for message in _unreadable_headers(tokens):
        faults.unless_said(AcceptedReason.INVALID, where, message)
        return None
    return _Read(rule=rule, field=where, program=program, tokens=tokens)


_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def _unreadable_headers(tokens: tuple[Token, ...]) -> Iterator[str]:
    """Uses of headers that the sidecar cannot answer: it looks up the names that stand in the rule, in lower case, and no others."""
    for i, (_, text) in enumerate(tokens):
        if text != "headers" or [t for _, t in tokens[max(i - 2, 0) : i]] != ["request", "."]:
            continue
        tested = i >= 4 and tokens[i - 3][1] == "in" and tokens[i - 4][0] == "string"
        indexed = [t for _, t in tokens[i + 1 : i + 4]]
        if not tested and not (
            len(indexed) == 3 and (indexed[0], indexed[2]) == ("[", "]") and tokens[i + 2][0] == "string"
        ):
            yield "headers are read by names that stand in the rule: write request.headers['x-name'] or 'x-name' in request.headers"
            continue
        name = (tokens[i - 4][1] if tested else indexed[1])[1:-1]
        if _HEADER.fullmatch(name) is None:
            yield f"there is no header {name!r}: names are in lower case, of letters, digits and dashes"


def _unknown_facts(tokens: tuple[Token, ...], variables: list[str]) -> Iterator[str]:
    for i, (kind, text) in enumerate(tokens):
        if (kind, text) == ("word", "request") and (i == 0 or tokens[i - 1][1] != "."):
            after = [t for _, t in tokens[i + 1 : i + 3]]
            if len(after) == 2 and after[0] == "." and after[1] not in FACTS:
                yield f"request.{after[1]}"
    if not any(kind == "word" and text in ("exists", "all", "exists_one", "map", "filter") for kind, text in tokens):
        yield from (v for v in variables if v != "request")


def _examine_reach(one: _Read, earlier: list[_Read], bounds: Bounds, faults: Faults) -> None:
    alone = _grid([one], bounds)
    if alone is None:
        return
    if not any(_holds(one, point) for point in alone):
        why = f"{_range(bounds)}, so this never holds" if _varies(one) else "this never holds for any request"
        faults.unless_said(AcceptedReason.UNREACHABLE_RULE, one.field, f"{why}: remove the rule, or correct it")
        return
    for other in earlier:
        both = _grid([other, one], bounds)
        if both is not None and all(_holds(other, p) for p in both if _holds(one, p)):
            message = f"rule {other.rule.name} stands before it and takes every request it would match: put this rule first, or remove it"
            faults.unless_said(AcceptedReason.UNREACHABLE_RULE, one.field, message)
            return
    joint = _grid([*earlier, one], bounds) if len(earlier) > 1 else None
    if joint is not None and all(any(_holds(e, p) for e in earlier) for p in joint if _holds(one, p)):
        names = ", ".join(e.rule.name for e in earlier)
        message = (
            f"the rules before it ({names}) together take every request it would match: put it first, or remove it"
        )
        faults.unless_said(AcceptedReason.UNREACHABLE_RULE, one.field, message)


def _range(bounds: Bounds) -> str:
    models = f"request.model is {' or '.join(bounds.models)}" if bounds.models else "request.model is any"
    return f"here request.inputTokens is at most {bounds.max_input}, request.maxOutputTokens at most {bounds.max_output} and {models}"


def _varies(one: _Read) -> bool:
    return "request" in one.program.variables()


def _holds(one: _Read, point: Mapping[str, Any]) -> bool:
    """As the sidecar reads it: a rule that fails on a request (a header that is not there) does not match it."""
    try:
        return one.program.execute({"request": point}) is True
    except Exception:  # noqa: BLE001 - the evaluator raises a different type for each kind of failure
        return False


def _grid(rules: list[_Read], bounds: Bounds) -> list[dict[str, Any]] | None:
    """Every combination of values at which one of `rules` could change its mind; None where that cannot be told."""
    literals = Literals()
    for one in rules:
        if _varies(one) and not expressions.collect(one.tokens, literals):
            return None
    axes: dict[str, list[Any]] = {
        "model": _model_axis(literals, bounds),
        "inputTokens": _integer_axis(literals.integers.get("inputTokens", set()), bounds.max_input),
        "maxOutputTokens": _integer_axis(literals.integers.get("maxOutputTokens", set()), bounds.max_output),
        "stream": [False, True],
        "tenant": _string_axis(literals.strings.get("tenant"), [""]),
    }
    # An empty header counts as none, as in the sidecar.
    headers = {name: [None, *sorted(values - {""}), _OTHER] for name, values in sorted(literals.headers.items())}
    size = 1
    for values in (*axes.values(), *headers.values()):
        size *= len(values)
    if size > POINTS:
        return None
    return [_point(axes, headers, combination) for combination in itertools.product(*axes.values(), *headers.values())]


def _point(axes: Mapping[str, Any], headers: Mapping[str, Any], combination: tuple[Any, ...]) -> dict[str, Any]:
    point = dict(zip(axes, combination, strict=False))
    carried = zip(headers, combination[len(axes) :], strict=True)
    return {**point, "headers": {name: value for name, value in carried if value is not None}}


def _model_axis(literals: Literals, bounds: Bounds) -> list[str]:
    named = literals.strings.get("model")
    if named is None:
        return [bounds.models[0] if bounds.models else _OTHER]
    return list(bounds.models) if bounds.models else [*sorted(named), _OTHER]


def _integer_axis(literals: set[int], most: int) -> list[int]:
    if not literals:
        return [most]
    near = {value + step for value in literals for step in (-1, 0, 1)}
    return sorted(v for v in {0, most, *near} if 0 <= v <= most)


def _string_axis(literals: set[str] | None, always: list[str]) -> list[str]:
    return always if literals is None else sorted({*literals, *always, _OTHER})

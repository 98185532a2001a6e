"""Rules that can never match are refused, and none that can."""

from __future__ import annotations

from typing import Any

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout_operator.compiler.faults import Faults
from turnout_operator.compiler.rules import Bounds, examine
from turnout_sidecar.policy.model import Rule

BOUNDS = Bounds(models=("m", "n"), max_input=8000, max_output=1024)


def _told(*whens: str, bounds: Bounds | None = BOUNDS) -> list[tuple[int, str]]:
    """(index, reason) of every rule that is refused."""
    faults = Faults(kind="LLMRoute", namespace="n", name="r", generation=1)
    examine(tuple(Rule(name=f"r{i}", when=when, use=("a",)) for i, when in enumerate(whens)), bounds, faults)
    return [(int(d.field.split("[")[1].split("]")[0]), d.reason) for d in faults.found]


@pytest.mark.parametrize(
    "when",
    [
        "request.inputTokens > 7999",
        "request.maxOutputTokens == 1024 || request.inputTokens > 99999",
        "request.model == 'n' && !request.stream",
        "'x-tier' in request.headers ? request.headers['x-tier'] == 'gold' : request.stream",
        "request.model in ['z', 'm']",
        "size(request.tenant) > 3",
        "request.model.startsWith('zzz')",
        "request.inputTokens + request.maxOutputTokens > 9000",
        "request.headers['x-tier'] != 'gold'",
        "100 <= request.inputTokens",
        'request.tenant == "acme"',
    ],
)
def test_a_rule_that_may_match_is_kept(when: str) -> None:
    assert _told(when) == []


@pytest.mark.parametrize(
    "when",
    [
        "false",
        "1 == 2",
        "request.inputTokens > 8000",
        "request.inputTokens > 5 && request.inputTokens < 6",
        "request.maxOutputTokens > 1024 && request.stream",
        "request.model == 'z'",
        "request.headers['x-a'] == '1' && request.headers['x-a'] == '2'",
        "request.headers['x-a'] == ''",
        "!('x-a' in request.headers) && request.headers['x-a'] == '1'",
    ],
)
def test_a_rule_that_never_holds_is_refused(when: str) -> None:
    assert _told(when) == [(0, "UnreachableRule")]


@pytest.mark.parametrize(
    "when",
    [
        "request.inputTokens >",
        "request.tokens > 1",
        "user == 'me'",
        "request.headers.tier == 'gold'",
        "request.headers['X-Tier'] == 'gold'",
        "request.headers.exists(h, h == 'x')",
        "request.headers[request.model] == 'x'",
    ],
)
def test_a_rule_that_the_sidecar_cannot_answer_is_refused(when: str) -> None:
    assert _told(when) == [(0, "Invalid")]
    assert _told(when, bounds=None) == [(0, "Invalid")]


def test_a_grid_that_is_too_large_is_believed() -> None:
    many = " && ".join(f"request.headers['h{i}'] == 'x'" for i in range(12))

    assert _told(f"{many} && request.inputTokens > 9000") == []


HEADERS = ("x-a", "x-b")
ATOMS = st.one_of(
    st.tuples(
        st.sampled_from(["request.inputTokens", "request.maxOutputTokens"]),
        st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
        st.sampled_from(["0", "1", "500", "1024", "1025", "7999", "8000", "8001"]),
    ).map(" ".join),
    st.tuples(
        st.sampled_from(["request.model", "request.tenant"]),
        st.sampled_from(["==", "!="]),
        st.sampled_from(["'m'", "'n'", "'z'", "''"]),
    ).map(" ".join),
    st.tuples(st.sampled_from(HEADERS), st.sampled_from(["==", "!="]), st.sampled_from(["'1'", "'2'"])).map(
        lambda a: f"request.headers['{a[0]}'] {a[1]} {a[2]}"
    ),
    st.sampled_from(HEADERS).map(lambda h: f"'{h}' in request.headers"),
    st.sampled_from(["request.stream", "true", "false", "request.model in ['m', 'z']"]),
)
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda e: f"({e[0]} {e[1]} {e[2]})"),
        inner.map(lambda e: f"!({e})"),
        st.tuples(inner, inner, inner).map(lambda e: f"({e[0]} ? {e[1]} : {e[2]})"),
    ),
    max_leaves=5,
)
REQUESTS = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["m", "n"]),
        "inputTokens": st.one_of(st.integers(0, 8000), st.sampled_from([0, 1, 500, 1024, 7999, 8000])),
        "maxOutputTokens": st.integers(0, 1024),
        "stream": st.booleans(),
        "tenant": st.sampled_from(["", "m", "acme"]),
        "headers": st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(["1", "2", "3"])),
    }
)


@settings(max_examples=150, deadline=None)
@given(rules=st.lists(EXPRESSIONS, min_size=1, max_size=3), requests=st.lists(REQUESTS, min_size=1, max_size=10))
def test_a_refused_rule_is_never_the_one_that_matches(rules: list[str], requests: list[dict[str, Any]]) -> None:
    refused = {index for index, _ in _told(*rules)}

    assert refused.isdisjoint(_first_match(rules, request) for request in requests)


def _first_match(rules: list[str], request: dict[str, Any]) -> int | None:
    return next((i for i, rule in enumerate(rules) if _holds(rule, request)), None)


def _holds(rule: str, request: dict[str, Any]) -> bool:
    try:
        return cel.evaluate(rule, {"request": request}) is True
    except (KeyError, ValueError, TypeError, RuntimeError):
        return False

"""Laws of the compiler, over generated worlds: order does not matter, bytes are stable, bounds are bounds, edits do not take service away."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout_operator.compiler import compile as compile_snapshot
from turnout_operator.ir import Accepted, Compilation, Condition, Service
from turnout_operator.snapshot import from_manifests
from turnout_sidecar.policy import codec

BASE = Path(__file__).parent / "testdata" / "base.yaml"
NOW = datetime(2026, 9, 1, tzinfo=UTC)
Manifest = dict[str, Any]


def _base() -> list[Manifest]:
    return list(yaml.safe_load_all(BASE.read_text(encoding="utf-8")))


def _compiled(manifests: Iterable[Manifest], accepted: Accepted | None = None) -> Compilation:
    return compile_snapshot(from_manifests(manifests), accepted, NOW)


def _bytes(compilation: Compilation) -> bytes:
    return msgspec.json.encode(compilation, order="deterministic")


def _find(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    return next(m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)


def _routes(names_and_models: list[tuple[str, str]]) -> list[Manifest]:
    """The base world with one more route a pair, each claiming one model; ages go backwards, so later ones are older."""
    manifests = _base()
    template = _find(manifests, "LLMRoute", "support-answer")
    for index, (name, model) in enumerate(names_and_models):
        route = copy.deepcopy(template)
        route["metadata"] |= {
            "name": name,
            "uid": name,
            "creationTimestamp": f"2025-{12 - index:02d}-01T00:00:00Z",
        }
        route["spec"]["matches"] = [{"models": [model]}]
        manifests.append(route)
    return manifests


WORLDS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["m", "n", "support-answer"])),
    max_size=4,
    unique_by=lambda pair: pair[0],
).map(_routes)


@settings(max_examples=50, deadline=None)
@given(world=WORLDS, data=st.data())
def test_the_order_of_manifests_does_not_matter(world: list[Manifest], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(world))

    assert _bytes(_compiled(shuffled)) == _bytes(_compiled(world))


@settings(max_examples=50, deadline=None)
@given(world=WORLDS)
def test_compiling_what_was_accepted_again_changes_nothing(world: list[Manifest]) -> None:
    once = _compiled(world)

    assert _bytes(_compiled(world, once.accepted)) == _bytes(once)


def test_bytes_do_not_depend_on_the_process() -> None:
    command = [sys.executable, "-m", "turnout_operator.cli.main", "compile", str(BASE), "-o", "json"]
    command[1:3] = ["-c", "from turnout_operator.cli.main import run; run()"]
    answers = {
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    }

    assert len(answers) == 1


@settings(max_examples=50, deadline=None)
@given(world=WORLDS)
def test_no_two_routes_in_service_claim_the_same_model(world: list[Manifest]) -> None:
    claimed = [model for route in _compiled(world).routes for match in route.policy.matches for model in match.models]

    assert len(claimed) == len(set(claimed))


PRICE = st.integers(0, 20_000_000).map(lambda micro: f"{micro // 1_000_000}.{micro % 1_000_000:06d}")
PRICING = st.fixed_dictionaries(
    {"input": PRICE, "output": PRICE},
    optional={"cachedInput": PRICE, "cacheWrite5m": PRICE, "cacheWrite1h": PRICE},
)


@settings(max_examples=60, deadline=None)
@given(
    pricings=st.lists(PRICING, min_size=1, max_size=3),
    attempts=st.integers(1, 4),
    tokens=st.tuples(st.integers(1, 20_000), st.integers(1, 8_000)),
)
def test_the_worst_case_is_the_dearest_chain_and_never_below_one(
    pricings: list[dict[str, str]], attempts: int, tokens: tuple[int, int]
) -> None:
    worst = _worst_case(pricings, attempts, tokens)
    dearest = max(
        sum(_dearest_attempt(pricing, tokens) for pricing in chain)
        for length in range(1, attempts + 1)
        for chain in itertools.product(pricings, repeat=length)
    )

    assert worst == dearest


def _dearest_attempt(pricing: dict[str, str], tokens: tuple[int, int]) -> int:
    """By the price list alone, in nano-dollars: every way the provider may count the input, rounded up."""
    ways = [Fraction(price) for kind, price in pricing.items() if kind != "output"]
    cost = (max(ways) * tokens[0] + Fraction(pricing["output"]) * tokens[1]) / 1_000_000
    return math.ceil(cost * 1_000_000_000)


def _worst_case(pricings: list[dict[str, str]], attempts: int, tokens: tuple[int, int]) -> int:
    world = _base()
    models = [
        {"name": f"m{i}", "contextWindow": 100_000, "maxOutputTokens": 100_000, "pricing": pricing}
        for i, pricing in enumerate(pricings)
    ]
    _find(world, "ProviderPool", "openai")["spec"]["models"] = models
    spec = _find(world, "LLMRoute", "support-answer")["spec"]
    pool = {"name": "openai", "namespace": "llm"}
    spec["candidates"] = [{"name": m["name"], "poolRef": pool, "model": m["name"]} for m in models]
    spec["degradation"]["paths"][0]["steps"] = [{"respond": {"status": 503}}]
    spec["budget"]["tokens"] = {"maxInput": tokens[0], "maxOutput": tokens[1]}
    spec["budget"]["limits"] = [{"name": "day", "scope": "Route", "window": "Day", "cost": "200"}]
    spec["attempts"] = {"max": attempts}
    spec["latency"]["timeToFirstToken"] = {"deadline": "1s"}
    compilation = _compiled(world)
    assert compilation.diagnostics == ()
    return compilation.routes[0].worst_case.cost


GOOD = st.sampled_from(
    [{"attempts": {"max": 1, "deadline": "7s"}}, {"owner": "team-b"}, {"feature": "other"}, {"risk": "Low"}]
)
BAD = st.sampled_from(
    [
        {"risk": "High"},
        {"attempts": {"max": 9, "deadline": "7s"}},
        {"owner": None},
        {"risk": "Extreme"},
        {"routing": {"rules": [{"name": "never", "when": "false", "use": [{"name": "local"}]}]}},
        {"candidates": [{"name": "local", "poolRef": {"name": "nowhere"}, "model": "m"}]},
        {"output": {"checks": ["NonEmpty"]}},
    ]
)
EDITS = st.lists(st.tuples(st.booleans(), GOOD, BAD).map(lambda e: (e[0], e[1] if e[0] else e[2])), max_size=5)


@settings(max_examples=60, deadline=None)
@given(edits=EDITS)
def test_edits_never_take_the_last_accepted_generation_out_of_service(edits: list[tuple[bool, Manifest]]) -> None:
    world = _routes([("bystander", "m")])
    compilation = _compiled(world)
    bystander = next(r for r in compilation.routes if r.key == "support/bystander")
    original = copy.deepcopy(_find(world, "LLMRoute", "support-answer"))
    accepted_generation = 1
    for generation, (good, edit) in enumerate(edits, start=2):
        route = _find(world, "LLMRoute", "support-answer")
        route["metadata"]["generation"] = generation
        route["spec"] = {k: v for k, v in {**original["spec"], **edit}.items() if v is not None}
        compilation = _compiled(world, compilation.accepted)
        accepted_generation = generation if good else accepted_generation
        outcome = compilation.outcome_of("LLMRoute", "support/support-answer")

        assert outcome is not None
        assert outcome.served == accepted_generation
        assert outcome.service is (Service.CURRENT if good else Service.LAST_GOOD)
        assert bystander in compilation.routes


REVOCATIONS = {
    "grant": lambda w: _find(w, "Namespace", "support")["metadata"].update(labels={}),
    "secret": lambda w: w.remove(_find(w, "Secret", "openai")),
    "pool": lambda w: w.remove(_find(w, "ProviderPool", "vllm")),
    "model": lambda w: _find(w, "ProviderPool", "vllm")["spec"]["models"][0].update(name="qwen4"),
    "approval": lambda w: _find(w, "ProviderPool", "vllm")["spec"]["models"][0].update(approvedFor=["High"]),
    "deletion": lambda w: w.remove(_find(w, "LLMRoute", "support-answer")),
}


@settings(max_examples=50, deadline=None)
@given(revoked=st.sampled_from(sorted(REVOCATIONS)), edit=st.one_of(st.none(), BAD))
def test_a_revocation_stops_the_last_good_generation_whatever_was_edited(revoked: str, edit: Manifest | None) -> None:
    world = _base()
    accepted = _compiled(world).accepted
    if edit is not None:
        spec = _find(world, "LLMRoute", "support-answer")["spec"]
        spec.update(edit)
    REVOCATIONS[revoked](world)

    assert _compiled(world, accepted).routes == ()


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterable[tuple[str | int, ...]]:
    yield path
    if isinstance(value, dict):
        for name, child in value.items():
            yield from _places(child, (*path, name))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _places(child, (*path, index))


def _put(manifest: Manifest, path: tuple[str | int, ...], value: Any) -> None:
    *way, last = path
    holder: Any = manifest
    for part in way:
        holder = holder[part]
    if value is _GONE:
        del holder[last]
    else:
        holder[last] = value


_GONE = object()
PLACES = [
    (index, path)
    for index, manifest in enumerate(_base())
    if manifest["kind"] in ("LLMRoute", "ProviderPool")
    for path in _places(manifest)
    if path and path[0] != "kind"
]
VALUES = st.one_of(
    st.sampled_from([_GONE, None, "", "x", 0, 1, -1, 10**12, True, [], {}, [None], ["x"], {"x": 1}, "0", "1s", "0s"]),
    st.sampled_from(
        ["0.000000001", "999999999", "20h", "1ms", "Bytes", "High", "small", "local", "openai", "* * * * *"]
    ),
)
DAMAGE = st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3)


@settings(max_examples=150, deadline=None)
@given(damage=DAMAGE)
def test_whatever_is_written_is_accepted_or_told_and_what_is_accepted_serves(damage: list[Any]) -> None:
    world = _base()
    for (index, path), value in damage:
        with contextlib.suppress(KeyError, IndexError, TypeError):  # an earlier damage took the place away
            _put(world[index], path, value)
    compilation = _compiled(world)

    told = {(d.kind, d.key) for d in compilation.diagnostics if d.condition is not Condition.AUTOSCALING_READY}
    refused = {(o.kind, o.key) for o in compilation.outcomes if o.service is not Service.CURRENT}
    assert told == refused
    document = codec.encode(tuple(r.policy for r in compilation.routes), tuple(p.policy for p in compilation.pools))
    decoded = codec.decode(document)
    assert decoded.refused == ()
    assert len(decoded.routes) == len(compilation.routes)

"""Each case is a fact: `<fact>.in.yaml` is what differs from `base.yaml`, `<fact>.out.yaml` what the compiler and renderers say.

A document of a case is merged into the base's object of the same kind, namespace and name (a null takes a field away, lists are replaced);
`like: namespace/name` starts from a copy of another object of its kind, `gone: true` takes the object away, and `then: <sentence>` opens a
second moment, which knows what the first one accepted. `TURNOUT_GOLDEN=1` rewrites the answers; the diff is reviewed like code.
"""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from turnout_operator.cli.compile import objects
from turnout_operator.compiler import compile as compile_snapshot
from turnout_operator.ir import Accepted, Compilation, CompiledPool, CompiledRoute
from turnout_operator.render import quota
from turnout_operator.render.pool_status import PoolFacts, pool_status
from turnout_operator.render.status import RouteFacts, route_status
from turnout_operator.snapshot import from_manifests

TESTDATA = Path(__file__).parent / "testdata"
REWRITE = os.environ.get("TURNOUT_GOLDEN") == "1"
NOW = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)
CASES = sorted(path.name.removesuffix(".in.yaml") for path in TESTDATA.glob("*.in.yaml"))
WHOLE = "the-smallest-route"
"""The one case that shows everything; the others leave out what is as here."""

Manifest = dict[str, Any]
Key = tuple[str, str, str]


@pytest.mark.parametrize("case", CASES)
def test_what_becomes_of(case: str) -> None:
    answer = yaml.safe_dump(_answer(case), sort_keys=False, width=140, allow_unicode=True)
    golden = TESTDATA / f"{case}.out.yaml"
    if REWRITE:
        golden.write_text(answer, encoding="utf-8")
    assert answer == golden.read_text(encoding="utf-8")


def test_every_golden_has_its_case() -> None:
    orphans = [path for path in TESTDATA.glob("*.out.yaml") if path.name.removesuffix(".out.yaml") not in CASES]
    if REWRITE:
        for path in orphans:
            path.unlink()
        orphans = []
    assert orphans == []


def _answer(case: str) -> dict[str, Any]:
    told = {sentence: _told(compilation, case) for sentence, compilation in _moments(case)}
    return told if len(told) > 1 else next(iter(told.values()))


def _moments(case: str) -> list[tuple[str, Compilation]]:
    world = _documents(TESTDATA / "base.yaml")
    accepted: Accepted | None = None
    found: list[tuple[str, Compilation]] = []
    for sentence, changes in _steps(case):
        world = _changed(world, changes)
        compilation = compile_snapshot(from_manifests(world.values()), accepted, NOW)
        accepted = compilation.accepted
        found.append((sentence, compilation))
    return found


def _documents(path: Path) -> dict[Key, Manifest]:
    return {_key(m): m for m in yaml.safe_load_all(path.read_text(encoding="utf-8")) if m is not None}


def _steps(case: str) -> list[tuple[str, list[Manifest]]]:
    steps: list[tuple[str, list[Manifest]]] = [("first", [])]
    for document in yaml.safe_load_all((TESTDATA / f"{case}.in.yaml").read_text(encoding="utf-8")):
        if document is None:
            continue
        if "then" in document:
            steps.append((document["then"], []))
        else:
            steps[-1][1].append(document)
    return steps


def _key(manifest: Manifest) -> Key:
    meta = manifest["metadata"]
    return (manifest["kind"], meta.get("namespace", ""), meta["name"])


def _changed(world: dict[Key, Manifest], changes: list[Manifest]) -> dict[Key, Manifest]:
    result = copy.deepcopy(world)
    for written in changes:
        change = dict(written)
        key = _key(change)
        if change.pop("gone", False):
            del result[key]
            continue
        like = change.pop("like", None)
        start = copy.deepcopy(result[(key[0], *like.split("/"))]) if like else result.get(key, {})
        result[key] = _merged(start, change)
    return result


def _merged(into: Any, change: Any) -> Any:
    if not isinstance(into, dict) or not isinstance(change, dict):
        return change
    merged = {**into, **{k: _merged(into.get(k), v) for k, v in change.items()}}
    return {k: v for k, v in merged.items() if v is not None}


def _told(compilation: Compilation, case: str) -> dict[str, Any]:
    whole = None if case == WHOLE else _whole()
    told = {
        "outcomes": [
            _outcome(compilation, o.kind, o.key)
            for o in compilation.outcomes
            if whole is None or o.kind == "LLMRoute" or whole.outcome_of(o.kind, o.key) != o
        ],
        "faults": [
            f"{d.kind} {d.key} {d.condition}={d.reason} {d.field}: {d.message}" for d in compilation.diagnostics
        ],
        "routes": _differing(compilation.routes, whole.routes if whole else ()),
        "pools": _differing(compilation.pools, whole.pools if whole else ()),
        "accounts": [
            msgspec.to_builtins(q)
            for q in quota.definitions(compilation)
            if whole is None or q not in quota.definitions(whole)
        ],
        "objects": [o for o in objects(compilation) if whole is None or o not in objects(whole)],
    }
    return {name: value for name, value in told.items() if value}


@functools.cache
def _whole() -> Compilation:
    return _moments(WHOLE)[0][1]


def _differing(
    values: Iterable[CompiledRoute | CompiledPool], known: Sequence[CompiledRoute | CompiledPool]
) -> list[Any]:
    """Each value, or what of it differs from the one of its key (else the first) in the whole case; nothing where nothing does."""
    shown = []
    for value in values:
        like = next((k for k in known if k.key == value.key), known[0] if known else None)
        plain = msgspec.to_builtins(value)
        difference = plain if like is None else _difference(plain, msgspec.to_builtins(like))
        if difference is not None:
            shown.append({"key": value.key, **difference})
    return shown


def _difference(value: Any, like: Any) -> Any:
    if not isinstance(value, dict) or not isinstance(like, dict):
        return value
    found = {name: _difference(v, like.get(name)) for name, v in value.items() if v != like.get(name)}
    return found or None


def _outcome(compilation: Compilation, kind: str, key: str) -> dict[str, Any]:
    outcome = compilation.outcome_of(kind, key)
    assert outcome is not None
    faults = compilation.faults_of(kind, key)
    if kind == "LLMRoute":
        route = next((r for r in compilation.routes if r.key == key), None)
        status = route_status(RouteFacts(outcome=outcome, faults=faults, compiled=route), {}, NOW)
    else:
        pool = next((p for p in compilation.pools if p.key == key), None)
        status = pool_status(PoolFacts(outcome=outcome, faults=faults, compiled=pool), {}, NOW)
    shown = {
        "object": f"{kind} {key}",
        "generation": outcome.generation,
        "service": outcome.service.value,
        "served": outcome.served,
        "conditions": [f"{c['type']}={c['status']} {c['reason']}" for c in status["conditions"]],
    }
    if "worstCase" in status:
        shown["worstCase"] = status["worstCase"]
    return shown

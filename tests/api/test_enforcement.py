"""Every field has exactly one mark, and what a person wrote and nobody keeps is said with its path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest

from turnout_operator.api import FallbackDrillSpec, LLMRoute, LLMRouteSpec, ProviderPool, ProviderPoolSpec, crdgen
from turnout_operator.api.enforcement import Bound, ByValue, Convenience, unenforced, written_name
from turnout_operator.api.model import Model
from turnout_operator.api.promises import promises_of
from turnout_testing import manifest_cases

ROOT = Path(__file__).parents[2]
SPECS = (LLMRouteSpec, ProviderPoolSpec, FallbackDrillSpec)
ALL = tuple(manifest_cases.read(Path(__file__).parent / "testdata"))
ACCEPTED = tuple(case for case in ALL if not case.refused)
CASES = {case.name: case.manifest for case in ALL}
KINDS = {kind.__name__: kind for kind in crdgen.KINDS}


def _leaves(annotation: Any, path: str) -> Iterator[str]:
    """Every field below an annotation that holds no fields itself; an object without fields is a leaf."""
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (each for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is tuple:
        below = list(_leaves(get_args(annotation)[0], f"{path}[]"))
        yield from [path] if below == [f"{path}[]"] else below
    elif isinstance(annotation, type) and issubclass(annotation, Model) and annotation.model_fields:
        for name, field in annotation.model_fields.items():
            yield from _leaves(field.annotation, f"{path}.{written_name(annotation, name)}")
    else:
        yield path


def _covering(path: str, marked: Any) -> list[str]:
    return [each for each in marked if path == each or path.startswith((f"{each}.", f"{each}["))]


@pytest.mark.parametrize("spec", SPECS)
def test_every_field_has_exactly_one_mark(spec: type[Model]) -> None:
    marked = promises_of(spec)

    assert {path: covers for path in _leaves(spec, "spec") if len(covers := _covering(path, marked)) != 1} == {}


@pytest.mark.parametrize("spec", SPECS)
def test_every_mark_is_of_a_field(spec: type[Model]) -> None:
    covered = {each for path in _leaves(spec, "spec") for each in _covering(path, promises_of(spec))}

    assert set(promises_of(spec)) - covered == set()


def _marks(spec: type[Model]) -> Iterator[tuple[str, Any]]:
    for path, mark in promises_of(spec).items():
        for each in mark.marks.values() if isinstance(mark, ByValue) else (mark,):
            yield path, each


def test_the_smallest_route_declares_no_bound_that_is_not_kept() -> None:
    found = unenforced(LLMRoute.from_manifest(CASES["the smallest route"]).spec)

    assert found.bounds == ()
    assert {gap.path for gap in found.conveniences} == {
        f"spec.latency.{part}.{percentile}"
        for part in ("timeToFirstToken", "total")
        for percentile in ("p50", "p95", "p99")
    }


def test_a_bound_is_named_by_the_path_and_the_value_that_was_written() -> None:
    found = unenforced(LLMRoute.from_manifest(CASES["every field of a route"]).spec)
    bounds = {(gap.path, gap.value) for gap in found.bounds}

    assert {
        ("spec.apis", "Responses"),
        ("spec.budget.limits[1].scope", "User"),
        ("spec.budget.limits[2].requests", ""),
        ("spec.degradation.paths[0].steps[1].cachedResponse", ""),
        ("spec.routing.hedge", ""),
    } <= bounds
    assert not {path for path, _ in bounds} & {
        "spec.budget.limits[0].scope",
        "spec.streaming.commit",
        "spec.drills.live.allowed",
    }
    assert all(gap.since == "0.2" for gap in (*found.bounds, *found.conveniences))


def test_a_default_is_no_declaration() -> None:
    found = unenforced(ProviderPool.from_manifest(CASES["the smallest pool"]).spec)

    assert found == ((), ())


def test_an_empty_list_is_no_declaration() -> None:
    found = unenforced(ProviderPool.from_manifest(CASES["every field of a pool"]).spec)

    assert found.bounds == ()


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_not_kept_names_the_version_that_will(spec: type[Model]) -> None:
    assert all(mark.since > "0.1" for _, mark in _marks(spec) if isinstance(mark, Bound | Convenience))


@pytest.mark.parametrize("manifest", [case.manifest for case in ACCEPTED], ids=[case.name for case in ACCEPTED])
def test_whatever_the_apiserver_takes_has_a_mark_for_every_field(manifest: dict[str, Any]) -> None:
    spec = KINDS[manifest["kind"]].from_manifest(manifest).spec  # type: ignore[attr-defined]  # every kind has a spec

    found = unenforced(spec)

    assert all(gap.path.startswith("spec.") for gap in (*found.bounds, *found.conveniences))

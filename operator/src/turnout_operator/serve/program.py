"""A folder's texts and keys -> what the one sidecar of `serve` is to have. Pure: `now` and the salt are arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from turnout_operator import compiler, snapshot
from turnout_operator.api import validation
from turnout_operator.api.fault import Fault, Finding
from turnout_operator.ir import Accepted, Compilation, CompiledPool, CompiledRoute, Diagnostic
from turnout_operator.render.envoy import Edge, Resources, resources
from turnout_operator.serve import keys
from turnout_operator.serve.generations import Generations, stamp

ALL = "*"
"""The namespace of `serve`'s own sidecar: it runs the routes of every namespace of the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What one reading leaves to the next, also over a restart."""

    accepted: Accepted
    generations: Generations


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What was made of one reading."""

    compilation: Compilation
    faults: tuple[Fault, ...]
    keys: keys.Keys
    resources: Resources
    remembered: Remembered

    def says_the_same(self, other: Program) -> bool:
        """Nothing that anybody is told differs."""
        same = (self.compilation, self.faults, self.keys, self.resources)
        return same == (other.compilation, other.faults, other.keys, other.resources)


class Unusable(Exception):  # noqa: N818 - said to a person
    """The reading as a whole is not taken over: everything stays as it was. `faults` say what to repair."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = faults


def program(
    texts: Mapping[str, str], given: keys.Keys, before: Remembered, edge: Edge, now: datetime, namespace: str = ALL
) -> Program:
    """Each object is judged alone, and one that is refused keeps its last good generation. Raises `Unusable` where that cannot be told:
    a file that is no YAML says nothing about which objects it holds."""
    checked = validation.check(texts)
    lost = tuple(fault for fault in checked.faults if not fault.subject)
    if lost:
        raise Unusable(lost)
    manifests = [d.value for d in checked.documents if isinstance(d.value, dict)]
    known = {**keys.of_manifests(manifests), **given}
    stamped, generations = stamp((m for m in manifests if m.get("kind") != "Secret"), before.generations)
    compilation = compiler.compile(snapshot.from_manifests(stamped, keys.facts(known)), before.accepted, now)
    routes = tuple(r for r in compilation.routes if namespace in (ALL, r.namespace))
    pools = _used(compilation.pools, routes)
    faults = (*_told(checked, compilation.diagnostics), *_claimed_twice(routes))
    return Program(
        compilation=compilation,
        faults=tuple(sorted(set(faults))),
        keys=known,
        resources=resources(routes, pools, frozenset(known), edge),
        remembered=Remembered(accepted=compilation.accepted, generations=generations),
    )


def _used(pools: tuple[CompiledPool, ...], routes: tuple[CompiledRoute, ...]) -> tuple[CompiledPool, ...]:
    used = {key for route in routes for key in route.pools}
    return tuple(p for p in pools if p.key in used)


def _told(checked: validation.Checked, diagnostics: tuple[Diagnostic, ...]) -> Iterator[Fault]:
    """The compiler's words with file and line, and those of `check` that it did not say."""
    places = {validation.subject_of(d.value): d for d in checked.documents}
    said: set[tuple[str, str]] = set()
    for diagnostic in diagnostics:
        subject = f"{diagnostic.kind} {diagnostic.key}"
        said.add((subject, diagnostic.message))
        finding = Finding(path=diagnostic.field, found="", message=diagnostic.message)
        if subject in places:
            yield validation.fault_at(places[subject], finding, diagnostic.reason)
    yield from (fault for fault in checked.faults if (fault.subject, fault.message) not in said)


def _claimed_twice(routes: tuple[CompiledRoute, ...]) -> Iterator[Fault]:
    """In a cluster each namespace has sidecars of its own; here one sidecar would have to choose."""
    owners: dict[Any, CompiledRoute] = {}
    for route in routes:
        for match in route.policy.matches:
            for model in match.models:
                first = owners.setdefault((model, match.headers), route)
                if first.namespace != route.namespace:
                    message = f"model {model} is claimed by {first.key} too, in another namespace: choose one with --namespace"
                    subject = f"LLMRoute {route.key}"
                    yield Fault(file="", line=0, subject=subject, path="spec.matches", found=model, message=message)

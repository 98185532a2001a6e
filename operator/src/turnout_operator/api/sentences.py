"""Evaluates the CRD's own CEL rules on a value, as the apiserver does: every rule of every object, with the path it belongs to."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cel

from turnout_operator.api.documents import Location, path_of
from turnout_operator.api.fault import Finding
from turnout_operator.api.structure import Schema, shown

# CEL reserves these words, so the apiserver renames fields that bear one.
_RENAMED = {"namespace": "__namespace__"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One rule on one part of an object, and the finding if the rule refused it."""

    schema_path: str
    rule: str
    finding: Finding | None


def judge(schema: Schema, value: Any, old: Any = None) -> Iterator[Judged]:
    """Every rule of `schema` that applies to `value`; rules about `oldSelf` apply only where there is an `old`."""
    yield from _judge(schema, _renamed(value), _renamed(old), (), "")


def _judge(schema: Schema, value: Any, old: Any, at: Location, schema_path: str) -> Iterator[Judged]:
    rules = schema.get("x-kubernetes-validations", ())
    # One context for all rules of a node: turning the value into CEL's costs a thousand times what a rule does.
    facts = cel.Context(variables={"self": value, "oldSelf": old}) if rules else None
    for rule in rules:
        if "oldSelf" in rule["rule"] and old is None:
            continue
        yield Judged(schema_path=schema_path, rule=rule["rule"], finding=_refusal(rule, value, facts, at))
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            key = _RENAMED.get(name, name)
            if key in value:
                before = old.get(key) if isinstance(old, dict) else None
                yield from _judge(child, value[key], before, (*at, name), f"{schema_path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _judge(schema.get("items", {}), item, None, (*at, index), f"{schema_path}[]")


def _refusal(rule: dict[str, Any], value: Any, facts: Any, at: Location) -> Finding | None:
    if _program(rule["rule"]).execute(facts) is True:
        return None
    message = _program(rule["messageExpression"]).execute(facts) if "messageExpression" in rule else rule["message"]
    inside = tuple(rule.get("fieldPath", "").strip(".").split(".")) if "fieldPath" in rule else ()
    there = _follow(value, inside)
    found = "nothing" if there is None else shown(there)
    return Finding(path=path_of((*at, *inside)), found=found, message=message)


@functools.cache
def _program(source: str) -> Any:
    return cel.compile(source)


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {_RENAMED.get(name, name): _renamed(child) for name, child in value.items()}
    if isinstance(value, list):
        return [_renamed(child) for child in value]
    return value


def _follow(value: Any, location: tuple[str, ...]) -> Any:
    for part in location:
        value = value.get(part) if isinstance(value, dict) else None
    return value

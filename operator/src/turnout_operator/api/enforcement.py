"""What this version does about every field that a person can write: nothing may be declared and silently not kept.

A bound that nothing enforces keeps the object from being accepted; a convenience that nothing acts on is listed in
`status.notEnforced`; what is enforced names the test that proves it. The tables are `promises_of_routes`, `promises_of_pools` and
`promises_of_drills`; a test walks all fields of the models and fails where one has no mark, two, or a proof that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from turnout_operator.api.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforced:
    """Kept on every request, or by the compiler or operator; `proof` is `tests/file.py::test_name` or a scenario file."""

    proof: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A bound that holds because nothing it bounds exists in this version: `why` says what, `proof` is the test that shows it."""

    why: str
    proof: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A bound or a way of serving that nothing keeps yet: the object is not accepted. `since` is the version that will."""

    since: str = "0.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Convenience:
    """Nothing acts on it yet and nobody is worse off than without it. `since` is the version that will."""

    since: str = "0.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptive:
    """Says something to people or groups things; no behaviour is promised."""


Mark = Enforced | Held | Bound | Convenience | Descriptive


@dataclass(frozen=True, slots=True, kw_only=True)
class ByValue:
    """A field of a closed set of which this version keeps a part."""

    marks: Mapping[Any, Mark]

    def of(self, value: Any) -> Mark:
        """The mark of one value; a table that lacks it is a programming error."""
        return self.marks[value]


Promises = Mapping[str, Mark | ByValue]
"""Field path with `[]` for list entries to mark; a mark on an object covers everything below it."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Gap:
    """A field that was written and is not enforced, the value where only some are, and the version that will."""

    path: str
    value: str
    since: str

    @property
    def words(self) -> str:
        """A sentence for the person who wrote it."""
        return f"this version does not enforce {self.value or 'it'}, {self.since} will: leave it out until then"


class Unenforced(NamedTuple):
    """What was declared and is not kept: `bounds` keep the object from being accepted, `conveniences` are told in its status."""

    bounds: tuple[Gap, ...]
    conveniences: tuple[Gap, ...]


def unenforced(spec: Model) -> Unenforced:
    """The gaps of one spec, over the fields that a person wrote; defaults and empty lists are no declaration."""
    from turnout_operator.api.promises import promises_of  # the tables name the models, which must not know of them

    bounds: list[Gap] = []
    conveniences: list[Gap] = []
    for path, value, mark in _written(spec, promises_of(type(spec)), "spec", "spec"):
        if isinstance(mark, Bound):
            bounds.append(Gap(path=path, value=value, since=mark.since))
        elif isinstance(mark, Convenience):
            conveniences.append(Gap(path=path, value=value, since=mark.since))
    return Unenforced(bounds=tuple(sorted(bounds)), conveniences=tuple(sorted(conveniences)))


def _written(value: Any, promises: Promises, path: str, pattern: str) -> Iterator[tuple[str, str, Mark]]:
    """Path, value and mark of every written field that has a mark, outermost first and nothing below it."""
    mark = promises.get(pattern)
    if isinstance(mark, ByValue):
        for each in value if isinstance(value, tuple) else (value,):
            yield path, str(each).lower() if isinstance(each, bool) else str(each), mark.of(each)
    elif mark is not None:
        yield path, "", mark
    elif isinstance(value, Model):
        for name in sorted(value.model_fields_set):
            child = getattr(value, name)
            if child is not None and child != ():
                written = written_name(type(value), name)
                yield from _written(child, promises, f"{path}.{written}", f"{pattern}.{written}")
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _written(item, promises, f"{path}[{index}]", f"{pattern}[]")
    else:
        raise AssertionError(f"{pattern} has no mark in the promises")


def written_name(model: type[Model], attribute: str) -> str:
    """The name in a manifest of a model's attribute."""
    alias = model.model_fields[attribute].alias
    assert alias is not None, "every field has an alias by its model's configuration"
    return alias


class State(StrEnum):
    """How a mark is shown in the reference."""

    ENFORCED = "enforced"
    HELD = "holds, nothing to bound yet"
    BOUND = "refused until"
    CONVENIENCE = "no effect until"
    DESCRIPTIVE = "describes"


def described(mark: Mark | ByValue) -> str:
    """One line for the reference."""
    match mark:
        case Enforced():
            return State.ENFORCED
        case Held(why=why):
            return f"{State.HELD}: {why}"
        case Bound(since=since):
            return f"{State.BOUND} {since}"
        case Convenience(since=since):
            return f"{State.CONVENIENCE} {since}"
        case Descriptive():
            return State.DESCRIPTIVE
        case ByValue(marks=marks):
            grouped: dict[str, list[str]] = {}
            for value, each in marks.items():
                grouped.setdefault(described(each), []).append(
                    str(value).lower() if isinstance(value, bool) else str(value)
                )
            return "; ".join(f"{', '.join(values)}: {state}" for state, values in grouped.items())

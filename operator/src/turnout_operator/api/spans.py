"""CEL about durations: they stay strings in the object, and a badly written one is the schema's to refuse, not a rule's.

Every comparison is guarded by the pattern, because a rule that fails to evaluate would hide its own sentence behind an evaluation error.
"""

from __future__ import annotations

from turnout_operator.api.model import Rule
from turnout_operator.api.types import Duration

_WELL_WRITTEN = f"matches('{Duration.pattern}')"


def compared(left: str, operator: str, right: str) -> str:
    """CEL: both fields are set and well written, and then `left operator right` holds; holds as well when one is not."""
    return f"!({_set(left)}) || !({_set(right)}) || {_compared(left, operator, right)}"


def compared_with_defaults(left: str, operator: str, right: str, *, defaults: dict[str, str]) -> str:
    """As `compared`, where a field that is not set has its default."""
    return _compared(*(f"({_set(f)} ? {f} : '{defaults[f]}')" if f in defaults else f for f in (left, operator, right)))


def _compared(left: str, operator: str, right: str) -> str:
    return f"!{left}.{_WELL_WRITTEN} || !{right}.{_WELL_WRITTEN} || duration({left}) {operator} duration({right})"


def within(field: str, *, above: str = "0s", most: str | None = None) -> str:
    """CEL: when `field` is set and well written it is longer than `above` and at most `most`."""
    bounds = f"duration({field}) > duration('{above}')"
    if most is not None:
        bounds += f" && duration({field}) <= duration('{most}')"
    return f"!({_set(field)}) || !{field}.{_WELL_WRITTEN} || ({bounds})"


def _set(field: str) -> str:
    parts = field.split(".")
    return " && ".join(f"has({'.'.join(parts[: end + 1])})" for end in range(1, len(parts)))


def positive(name: str, at: str | None = None) -> Rule:
    """A rule that refuses a duration of nothing."""
    return Rule(
        cel=within(f"self.{name}"),
        message=f"{name} is a span of nothing: write a duration above zero such as 5s, or leave the field out",
        at=at or f".{name}",
    )

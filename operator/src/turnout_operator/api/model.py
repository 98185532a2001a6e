"""What every part of the API has in common: frozen pydantic models in camelCase, each carrying its own CEL rules.

Rules of this package: a model is the single source of its CRD schema, its reference page and its Python value. Fields that the law
demands are optional here and demanded by CEL, because an OpenAPI `required` error would hide every other message of the apiserver.
Defaults that are constants stand on the model and not in the CRD, so that what `kubectl get` shows is what the person wrote and GitOps
tools see no difference; defaults that follow from other fields are the compiler's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Blame(StrEnum):
    """The reasons a rule may give; not the apiserver's FieldValueDuplicate, which swallows the rule's message."""

    INVALID = "FieldValueInvalid"
    REQUIRED = "FieldValueRequired"
    FORBIDDEN = "FieldValueForbidden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One CEL sentence about the object it stands on; `at` is the field path below that object which the message belongs to."""

    cel: str
    message: str
    at: str = ""
    blame: Blame = Blame.INVALID
    message_cel: str | None = None


def exactly_one(*fields: str) -> Rule:
    """A union: one of `fields` and no second."""
    counted = ", ".join(f"has(self.{field})" for field in fields)
    return Rule(cel=f"[{counted}].filter(set, set).size() == 1", message=f"write exactly one of {', '.join(fields)}")


class Model(BaseModel):
    """A frozen part of a manifest; unknown fields are refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )
    cel_rules: ClassVar[tuple[Rule, ...]] = ()


class Observed(Model):
    """A frozen part of a status: fields of a newer version are ignored instead of refused."""

    model_config = ConfigDict(extra="ignore")


LIST_BY_NAME: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
LIST_AS_SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}


def by_name(*, most: int, least: int = 0) -> Any:
    """A list that people patch entry by entry, keyed by `name`."""
    return Field(min_length=least or None, max_length=most, json_schema_extra=dict(LIST_BY_NAME))


def as_set(*, most: int, least: int = 0) -> Any:
    """A list in which no value stands twice."""
    return Field(min_length=least or None, max_length=most, json_schema_extra=dict(LIST_AS_SET))


def listed(*, most: int, least: int = 0) -> Any:
    """A list that is replaced as a whole and in which order may matter."""
    return Field(min_length=least or None, max_length=most, json_schema_extra={"x-kubernetes-list-type": "atomic"})

"""Holds a value against a structural schema and says what is wrong in the words of the apiserver.

`blocks` follows apiextensions-apiserver: after a wrong type, a missing field, an unknown value or something too long it does not look at
any CEL rule, so neither do we, or `turnout check` would promise messages that `kubectl apply` does not give.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # its types are a package of their own

from turnout_operator.api.documents import Location, path_of
from turnout_operator.api.fault import Finding
from turnout_operator.api.types import Decimal, Duration, Money, Price

Schema = dict[str, Any]

NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)
_BLOCKING = frozenset({"type", "required", "enum", "maxLength", "maxItems", "maxProperties"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Structural:
    """A finding, and whether the apiserver stops before the rules because of it."""

    finding: Finding
    blocks: bool


def _go_pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    # In Go `$` is the end of the text, in Python also the place before a last newline.
    if isinstance(value, str) and re.search(re.sub(r"\$$", r"\\Z", pattern), value) is None:
        yield jsonschema.ValidationError("")


def _is_int64(_checker: Any, value: Any) -> bool:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    return whole and -(2**63) <= value < 2**63


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    {"pattern": _go_pattern},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_int64),
)


def unknown_fields(schema: Schema, value: Any, at: Location = ()) -> Iterator[Finding]:
    """Every field that the schema does not name; `metadata` is the apiserver's own."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown_fields(schema.get("items", {}), item, (*at, index))
    if not isinstance(value, dict) or at == ("metadata",):
        return
    known = schema.get("properties")
    for name, child in value.items():
        if known is not None and name in known:
            yield from unknown_fields(known[name], child, (*at, name))
        elif known is not None and "additionalProperties" not in schema:
            path = path_of((*at, name))
            yield Finding(path=path, found=shown(child), message=f'unknown field "{path}"')


def violations(schema: Schema, value: Any) -> Iterator[Structural]:
    """Everything in `value` that the schema refuses."""
    silenced: set[Location] = set()
    for error in sorted(_Validator(schema).iter_errors(value), key=_turn):
        location = tuple(error.absolute_path)
        if error.validator in _ONE_OF_A_STRING:
            if location in silenced:
                continue
            silenced.add(location)
        if error.validator == "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            # jsonschema reports one error for each missing name; its message names it first, quoted.
            name = next(name for name in missing if error.message.startswith(repr(name)))
            location = (*location, name)
        path = path_of(location)
        found = "nothing" if error.validator == "required" else shown(error.instance)
        message = _words(str(error.validator), error.validator_value, path, error.instance)
        yield Structural(
            finding=Finding(path=path, found=found, message=message, hint=_hint(error)),
            blocks=str(error.validator) in _BLOCKING,
        )
    yield from _repeated(schema, value, ())


_EXPECTED = {scalar.pattern: scalar.expected for scalar in (Duration, Money, Price, Decimal)}


def _hint(error: Any) -> str:
    expected = (
        _EXPECTED.get(error.schema.get("pattern")) if error.validator in ("pattern", "type", "maxLength") else None
    )
    return f"write {expected}" if expected else ""


_ONE_OF_A_STRING = ("maxLength", "minLength", "pattern")
"""Of these the apiserver says the first that does not hold."""


def _turn(error: Any) -> int:
    return _ONE_OF_A_STRING.index(error.validator) if error.validator in _ONE_OF_A_STRING else 0


def _words(keyword: str, demanded: Any, path: str, found: Any) -> str:
    match keyword:
        case "required":
            return "Required value"
        case "type":
            return f"{path} in body must be of type {demanded}: {json.dumps(_json_type(found))}"
        case "enum":
            return "supported values: " + ", ".join(json.dumps(each) for each in demanded)
        case "pattern":
            return f"{path} in body should match '{demanded}'"
        case "minLength":
            return f"{path} in body should be at least {demanded} chars long"
        case "maxLength":
            return f"Too long: may not be more than {demanded} bytes"
        case "minimum":
            return f"{path} in body should be greater than or equal to {demanded}"
        case "maximum":
            return f"{path} in body should be less than or equal to {demanded}"
        case "minItems":
            return f"{path} in body should have at least {demanded} items"
        case "maxItems":
            return f"must have at most {demanded} items"
        case "maxProperties":
            return f"must have at most {demanded} items"
        case _:
            raise AssertionError(f"the CRDs use no keyword {keyword}")


def _json_type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() if -(2**63) <= value < 2**63:
            return "integer"
        case int():
            return "number"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _repeated(schema: Schema, value: Any, at: Location) -> Iterator[Structural]:
    """Entries of a set or of a map by key that stand twice."""
    if isinstance(value, dict):
        for name, child in value.items():
            yield from _repeated(schema.get("properties", {}).get(name, {}), child, (*at, name))
    if not isinstance(value, list):
        return
    seen: list[Any] = []
    for index, item in enumerate(value):
        if schema.get("x-kubernetes-list-type") == "map" and item is not None and not isinstance(item, dict):
            message = "must be an object for an array of list-type map"
            yield Structural(
                finding=Finding(path=path_of((*at, index)), found=shown(item), message=message), blocks=False
            )
            return
        key = _key(schema, item)
        if key is not None and key in seen:
            found = Finding(path=path_of((*at, index)), found=shown(item), message="Duplicate value")
            yield Structural(finding=found, blocks=False)
        seen.append(key)
        yield from _repeated(schema.get("items", {}), item, (*at, index))


def _key(schema: Schema, item: Any) -> Any:
    match schema.get("x-kubernetes-list-type"):
        case "set":
            return (item,)
        case "map" if isinstance(item, dict):
            return tuple(item.get(key) for key in schema["x-kubernetes-list-map-keys"])
        case _:
            return None


def shown(value: Any) -> str:
    """A value short enough for a table."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."

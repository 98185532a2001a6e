"""Writes crds/*.yaml and the chart's copies from the models: `python -m turnout_operator.api.crdgen [--check] [DIR...]`.

What pydantic prints is JSON Schema with `$ref` and `anyOf: [..., null]`; what the apiserver takes is a structural schema: everything in
place, one type a node, no defaults but the status's (constant defaults stand in the descriptions, see `model`). The rules of each model
become `x-kubernetes-validations` on its own object. Same models, same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from turnout_operator.api import GROUP, VERSION, FallbackDrill, LLMRoute, ProviderPool, Resource
from turnout_operator.api.model import Model, Rule
from turnout_operator.api.printing import COLUMNS, NAMES, Names

KINDS: tuple[type[Resource], ...] = (LLMRoute, ProviderPool, FallbackDrill)
Schema = dict[str, Any]

_DROPPED = frozenset({"title", "$defs", "additionalProperties", "default", "propertyNames"})
FOLDERS = ("crds", "charts/turnout/files/crds")
"""Helm reads nothing outside of a chart, so the chart has its own copies."""
_HEADER = "# Generated from turnout_operator.api by `python -m turnout_operator.api.crdgen`; do not edit.\n"


def manifest(kind: type[Resource]) -> Schema:
    """The CustomResourceDefinition of `kind`."""
    names = NAMES[kind.__name__]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": _names(kind.__name__, names),
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [dict(column) for column in COLUMNS[kind.__name__]],
                    "schema": {"openAPIV3Schema": schema(kind)},
                }
            ],
        },
    }


def schema(kind: type[Resource]) -> Schema:
    """The structural schema of a whole object of `kind`."""
    spec, status = (kind.model_fields[part].annotation for part in ("spec", "status"))
    assert isinstance(spec, type), "spec is one model"
    assert isinstance(status, type), "status is one model"
    whole: Schema = {
        "type": "object",
        "description": _sentence(kind),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _structural_model(spec),
            "status": _structural_model(status) | {"default": {"observedGeneration": -1}},
        },
    }
    if kind.cel_rules:
        whole["x-kubernetes-validations"] = [_validation(rule) for rule in kind.cel_rules]
    return whole


def _names(kind: str, names: Names) -> Schema:
    return {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": names.plural,
        "singular": kind.lower(),
        "shortNames": [names.short],
        "categories": ["turnout"],
    }


def _structural_model(model: type[Model]) -> Schema:
    printed = model.model_json_schema(by_alias=True)
    return _Structure(printed.get("$defs", {}), _models_below(model)).node(printed, model)


class _Structure:
    """Turns what pydantic prints into structural nodes, looking models up by the name they have in `$defs`."""

    def __init__(self, definitions: Schema, models: dict[str, type[Model]]) -> None:
        self._definitions = definitions
        self._models = models

    def node(self, printed: Schema, model: type[Model] | None = None) -> Schema:
        if "$ref" in printed:
            name = printed["$ref"].rsplit("/", 1)[1]
            beside = {key: value for key, value in printed.items() if key != "$ref"}
            return self.node(self._definitions[name] | beside, self._models.get(name))
        if "anyOf" in printed:
            (alternative,) = (each for each in printed["anyOf"] if each.get("type") != "null")
            beside = {key: value for key, value in printed.items() if key != "anyOf"}
            return self.node(alternative | beside, model)
        if "const" in printed:
            printed = {key: value for key, value in printed.items() if key != "const"} | {"enum": [printed["const"]]}
        node = {key: self._part(key, value) for key, value in printed.items() if key not in _DROPPED}
        if isinstance(printed.get("additionalProperties"), dict):
            node["additionalProperties"] = self.node(printed["additionalProperties"])
        if "description" in node:
            node["description"] = _one_line(node["description"], printed.get("default"))
        elif _worth_saying(printed.get("default")):
            node["description"] = _one_line("", printed["default"])
        if model is not None and model.cel_rules:
            node["x-kubernetes-validations"] = [_validation(rule) for rule in model.cel_rules]
        return node

    def _part(self, key: str, value: Any) -> Any:
        match key:
            case "properties":
                return {name: self.node(child) for name, child in value.items()}
            case "items":
                return self.node(value)
            case _:
                return value


def _validation(rule: Rule) -> Schema:
    written: Schema = {"rule": rule.cel, "message": rule.message}
    if rule.message_cel is not None:
        written["messageExpression"] = rule.message_cel
    if rule.at:
        written["fieldPath"] = rule.at
    return written | {"reason": str(rule.blame)}


def _models_below(model: type[Model]) -> dict[str, type[Model]]:
    """Every model that a field of `model` leads to, by class name; two of one name would hide each other's rules."""
    found: dict[str, type[Model]] = {}
    pending = list(_models_in(model))
    while pending:
        child = pending.pop()
        assert found.setdefault(child.__name__, child) is child, f"two models are called {child.__name__}"
        pending.extend(below for below in _models_in(child) if below.__name__ not in found)
    return found


def _models_in(model: type[Model]) -> list[type[Model]]:
    def named(annotation: Any) -> list[type[Model]]:
        if isinstance(annotation, type) and issubclass(annotation, Model):
            return [annotation]
        return [each for argument in getattr(annotation, "__args__", ()) for each in named(argument)]

    return [each for field in model.model_fields.values() for each in named(field.annotation)]


def _worth_saying(default: Any) -> bool:
    return default is not None and default not in ([], {}, "", -1)


def _one_line(text: str, default: Any) -> str:
    said = " ".join(text.split())
    if not _worth_saying(default) or isinstance(default, dict):
        return said
    shown = str(default).lower() if isinstance(default, bool) else default
    shown = ", ".join(map(str, shown)) if isinstance(shown, list) else shown
    return f"{said} Default: {shown}.".strip()


def _sentence(kind: type[Resource]) -> str:
    return " ".join((sys.modules[kind.__module__].__doc__ or "").split())


def written(kind: type[Resource]) -> str:
    """The bytes of the kind's file in crds/."""
    return _HEADER + yaml.safe_dump(manifest(kind), sort_keys=False, width=140, allow_unicode=True)


def files() -> dict[str, str]:
    """File name to content, for all kinds."""
    return {f"{GROUP}_{NAMES[kind.__name__].plural}.yaml": written(kind) for kind in KINDS}


def main(arguments: list[str]) -> int:
    """Write the files, or with --check name those that are stale and return 1."""
    check = "--check" in arguments
    places = [argument for argument in arguments if not argument.startswith("-")]
    stale = [
        (path, text) for folder in places or FOLDERS for path, text in _paths(Path(folder)) if not _same(path, text)
    ]
    for path, text in stale:
        if check:
            sys.stderr.write(f"{path} is stale: run `python -m turnout_operator.api.crdgen`\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


def _paths(folder: Path) -> list[tuple[Path, str]]:
    return [(folder / name, text) for name, text in files().items()]


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

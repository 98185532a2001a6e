"""The part of `metadata` that Turnout reads, and what every kind has around its spec."""

from __future__ import annotations

from typing import Any, Self

from pydantic import ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from turnout_operator.api.model import Model, Rule


class InvalidManifestError(ValueError):
    """A manifest that is not of its kind; `faults` are pairs of field path and message, all at once."""

    def __init__(self, subject: str, faults: tuple[tuple[str, str], ...]) -> None:
        super().__init__(f"{subject}: " + "; ".join(f"{path}: {message}" for path, message in faults))
        self.subject = subject
        self.faults = faults


class ObjectMeta(Model):
    """Identity and age of an object; everything else in `metadata` is the apiserver's and is ignored."""

    model_config = ConfigDict(extra="ignore")
    name: str = ""
    namespace: str = "default"
    generate_name: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


SHORT_NAME = Rule(
    cel="!has(self.metadata.name) || (size(self.metadata.name) <= 63 && !self.metadata.name.contains('.'))",
    message="metadata.name is too long or holds a dot: it becomes a label and a part of other names, so write at most 63 of a-z, 0-9 and -",
)


class Resource(Model):
    """A whole object: subclasses add `spec` and `status`."""

    model_config = ConfigDict(alias_generator=to_camel)
    api_version: str = "turnout.dev/v1alpha1"
    kind: str
    metadata: ObjectMeta

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> Self:
        """The object that `manifest` (decoded YAML or an apiserver's answer) describes.

        Raises InvalidManifestError with every fault; CEL rules are not run here, see `validation`.
        """
        try:
            return cls.model_validate(_as_served(manifest))
        except ValidationError as error:
            found = tuple((field_path(fault["loc"]), fault["msg"]) for fault in error.errors())
            name = str((manifest.get("metadata") or {}).get("name", ""))
            raise InvalidManifestError(f"{cls.__name__} {name}".strip(), found) from error

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return (self.metadata.namespace, self.metadata.name)

    def manifest(self) -> dict[str, Any]:
        """What was set, as decoded YAML; defaults stay away."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def without_nulls(value: Any) -> Any:
    """The value as the apiserver keeps it: a field that is null was not written."""
    if isinstance(value, dict):
        return {name: without_nulls(child) for name, child in value.items() if child is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _as_served(value: Any) -> Any:
    """The value as the apiserver gives it back: no nulls, and 2.0 is 2."""
    match value:
        case dict():
            return {name: _as_served(child) for name, child in value.items() if child is not None}
        case list():
            return [_as_served(item) for item in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def field_path(location: tuple[str | int, ...]) -> str:
    """A location as the apiserver writes field paths: `spec.candidates[0].model`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path

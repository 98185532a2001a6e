"""Everything the compiler looks at, frozen at one moment and in one order, whatever order it was read in.

A Secret enters by its name, its keys and a digest only: values are hashed and let go here, so nothing behind this point can print one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from turnout_operator.api import API_VERSION, GROUP, InvalidManifestError, LLMRoute, ProviderPool, Resource, validation

NAME_LABEL = "kubernetes.io/metadata.name"
"""Kubernetes puts it on every namespace; a folder of manifests without Namespace objects gets it too."""
OWNED_BY = ("app.kubernetes.io/managed-by", "turnout")
"""The label and value by which Turnout knows its own objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFacts:
    """What may be known of a Secret."""

    namespace: str
    name: str
    keys: tuple[str, ...]
    digest: str
    problem: str = ""
    """Why it could not be read, empty when it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerFacts:
    """A HorizontalPodAutoscaler that exists, and what it scales."""

    namespace: str
    name: str
    api_version: str
    kind: str
    target: str
    ours: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """An object that is not of its kind: each fault is a field path and a message."""

    kind: str
    namespace: str
    name: str
    generation: int
    faults: tuple[tuple[str, str], ...]
    created: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name), as every resource has it."""
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All manifests at one moment. Tuples are sorted by namespace and name."""

    routes: tuple[LLMRoute, ...] = ()
    pools: tuple[ProviderPool, ...] = ()
    secrets: Mapping[tuple[str, str], SecretFacts] = field(default_factory=dict)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    autoscalers: tuple[AutoscalerFacts, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    def labels(self, namespace: str) -> Mapping[str, str]:
        """The namespace's labels; its name is one of them, as in every cluster."""
        return {NAME_LABEL: namespace, **self.namespaces.get(namespace, {})}


KINDS: Mapping[str, type[LLMRoute | ProviderPool]] = {"LLMRoute": LLMRoute, "ProviderPool": ProviderPool}


def from_manifests(manifests: Iterable[Mapping[str, Any]], secrets: Iterable[SecretFacts] = ()) -> Snapshot:
    """The snapshot of decoded manifests in any order; kinds that no compilation looks at are left out.

    `secrets` are facts of Secrets that were read apart, so that their values need not stand among the manifests.

    Never raises for what a person wrote: an object that cannot be read, or that is declared twice, stands in `unreadable`.
    """
    documents = [m for m in manifests if isinstance(m.get("kind"), str)]
    read, unreadable = _resources([m for m in documents if _is_ours(m)])
    return Snapshot(
        routes=tuple(sorted((r for r in read if isinstance(r, LLMRoute)), key=_by_key)),
        pools=tuple(sorted((r for r in read if isinstance(r, ProviderPool)), key=_by_key)),
        secrets=MappingProxyType({(s.namespace, s.name): s for s in (*_secrets(documents), *secrets)}),
        namespaces=MappingProxyType(
            {_name(m): MappingProxyType(_labels(m)) for m in documents if m["kind"] == "Namespace"}
        ),
        autoscalers=tuple(sorted(_autoscalers(documents), key=lambda a: (a.namespace, a.name))),
        unreadable=tuple(sorted(unreadable, key=lambda u: (u.kind, u.namespace, u.name))),
    )


def _is_ours(manifest: Mapping[str, Any]) -> bool:
    return manifest["kind"] in KINDS and str(manifest.get("apiVersion", "")).split("/", 1)[0] == GROUP


def _by_key(resource: Resource) -> tuple[str, str]:
    return resource.key


def _resources(manifests: list[Mapping[str, Any]]) -> tuple[list[Resource], list[Unreadable]]:
    grouped: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for manifest in manifests:
        grouped.setdefault((manifest["kind"], _namespace(manifest), _name(manifest)), []).append(manifest)
    read: list[Resource] = []
    unreadable: list[Unreadable] = []
    for same in grouped.values():
        resource = _resource(same)
        if isinstance(resource, Unreadable):
            unreadable.append(resource)
        else:
            read.append(resource)
    return read, unreadable


def _resource(same: list[Mapping[str, Any]]) -> Resource | Unreadable:
    manifest = same[0]
    if len(same) > 1:
        return _unreadable(same[-1], (("metadata.name", f"declared {len(same)} times: keep one of them"),))
    nameless = _nameless(manifest)
    if nameless:
        return _unreadable(manifest, nameless)
    if manifest.get("apiVersion") != API_VERSION:
        return _unreadable(manifest, (("apiVersion", f"found {manifest.get('apiVersion')!r}, write {API_VERSION}"),))
    try:
        return KINDS[manifest["kind"]].from_manifest({k: v for k, v in manifest.items() if k != "status"})
    except InvalidManifestError as error:
        said = tuple((f.path, f.message) for f in validation.findings(dict(manifest)))
        return _unreadable(manifest, said or error.faults)


def _nameless(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What keeps an object from being told apart from others; without that no rule can be asked about it."""
    if not isinstance(manifest.get("metadata"), Mapping):
        return (("metadata", "write an object with name and namespace"),)
    wrong = [part for part in ("name", "namespace") if not isinstance(_metadata(manifest).get(part, "default"), str)]
    return tuple((f"metadata.{part}", "write a string") for part in wrong)


def _unreadable(manifest: Mapping[str, Any], faults: tuple[tuple[str, str], ...]) -> Unreadable:
    generation = _metadata(manifest).get("generation")
    return Unreadable(
        kind=manifest["kind"],
        namespace=_namespace(manifest),
        name=_name(manifest),
        generation=generation if isinstance(generation, int) else 0,
        faults=faults,
        created=str(_metadata(manifest).get("creationTimestamp") or ""),
    )


def _metadata(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = manifest.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _namespace(manifest: Mapping[str, Any]) -> str:
    return str(_metadata(manifest).get("namespace") or "default")


def _name(manifest: Mapping[str, Any]) -> str:
    return str(_metadata(manifest).get("name") or "")


def _labels(manifest: Mapping[str, Any]) -> dict[str, str]:
    labels = _metadata(manifest).get("labels")
    return {str(k): str(v) for k, v in labels.items()} if isinstance(labels, Mapping) else {}


def _secrets(documents: list[Mapping[str, Any]]) -> list[SecretFacts]:
    return [secret_facts(m) for m in documents if m["kind"] == "Secret"]


def secret_facts(manifest: Mapping[str, Any]) -> SecretFacts:
    """The facts of a Secret as the apiserver or a file gives it; its values end here."""
    content = {**(manifest.get("data") or {}), **(manifest.get("stringData") or {})}
    digest = hashlib.sha256()
    for key in sorted(content):
        for part in (key.encode(), str(content[key]).encode()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return SecretFacts(
        namespace=_namespace(manifest), name=_name(manifest), keys=tuple(sorted(content)), digest=digest.hexdigest()
    )


def _autoscalers(documents: list[Mapping[str, Any]]) -> list[AutoscalerFacts]:
    found = []
    for manifest in documents:
        if manifest["kind"] != "HorizontalPodAutoscaler":
            continue
        target = (manifest.get("spec") or {}).get("scaleTargetRef") or {}
        found.append(
            AutoscalerFacts(
                namespace=_namespace(manifest),
                name=_name(manifest),
                api_version=str(target.get("apiVersion", "")),
                kind=str(target.get("kind", "")),
                target=str(target.get("name", "")),
                ours=_labels(manifest).get(OWNED_BY[0]) == OWNED_BY[1],
            )
        )
    return found

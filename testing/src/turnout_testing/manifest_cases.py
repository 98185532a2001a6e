"""Cases about manifests, one file each, named by a sentence: a base and what is changed in it, or a whole manifest.

    from: the smallest route             # another case of the same folder
    change: {spec.attempts.max: 0}       # field path to value; an index one past the end appends
    remove: [spec.owner]
    update: true                         # the base is there already and is replaced by the result
    refused:                             # absent: the object is accepted
    - {path: spec.owner, message: "..."}

The same cases run through `turnout check` and through a real apiserver.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from turnout_operator.api.documents import location_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case; `old` is the object that `manifest` replaces, and `refused` holds pairs of field path and message."""

    name: str
    manifest: dict[str, Any]
    old: dict[str, Any] | None
    refused: tuple[tuple[str, str], ...]


def read(folder: Path) -> Iterator[Case]:
    """Every case below `folder`, sorted by file; each folder is one kind's."""
    for path in sorted(folder.glob("*/*.yaml")):
        yield _case(path)


def _case(path: Path) -> Case:
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "apiVersion" in written:
        return Case(name=path.stem, manifest=written, old=None, refused=())
    unknown = set(written) - {"from", "change", "remove", "update", "refused"}
    assert not unknown, f"{path}: no such keys in a case: {unknown}"
    base = _case(path.with_name(f"{written['from']}.yaml")).manifest
    return Case(
        name=path.stem,
        manifest=changed(base, written.get("change", {}), written.get("remove", [])),
        old=base if written.get("update") else None,
        refused=tuple((each["path"], each["message"]) for each in written.get("refused", [])),
    )


def changed(base: dict[str, Any], changes: Mapping[str, Any], removals: Sequence[str] = ()) -> dict[str, Any]:
    """A copy of `base` with values put at field paths and others taken away."""
    manifest = copy.deepcopy(base)
    for path, value in changes.items():
        parent, last = _parent(manifest, path)
        if isinstance(parent, list) and last == len(parent):
            parent.append(value)
        else:
            parent[last] = value
    for path in removals:
        parent, last = _parent(manifest, path)
        del parent[last]
    return manifest


def _parent(manifest: dict[str, Any], path: str) -> tuple[Any, str | int]:
    *above, last = location_of(path)
    parent: Any = manifest
    for part in above:
        parent = parent.setdefault(part, {}) if isinstance(parent, dict) else parent[part]
    return parent, last

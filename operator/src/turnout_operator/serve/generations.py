"""Files have no generation; these count one up whenever an object's spec changes, as the apiserver does. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """The digest of a spec and the generation it has."""

    digest: str
    generation: int


Generations = Mapping[str, Counted]
"""By ``Kind namespace/name``. Objects that went away keep their count, so that one that returns is not mistaken for what it was."""


def stamp(
    manifests: Iterable[Mapping[str, Any]], before: Generations
) -> tuple[tuple[Mapping[str, Any], ...], dict[str, Counted]]:
    """The manifests with `metadata.generation` filled in, and the counts to remember."""
    after = dict(before)
    stamped: list[Mapping[str, Any]] = []
    for manifest in manifests:
        metadata = manifest.get("metadata")
        metadata = metadata if isinstance(metadata, Mapping) else {}
        name = f"{manifest.get('kind')} {metadata.get('namespace') or 'default'}/{metadata.get('name')}"
        after[name] = _count(after.get(name), manifest.get("spec"))
        generation = {"generation": after[name].generation}
        stamped.append({**manifest, "metadata": {**metadata, **generation}} if "spec" in manifest else manifest)
    return tuple(stamped), after


def _count(known: Counted | None, spec: object) -> Counted:
    digest = hashlib.sha256(msgspec.json.encode(spec, order="deterministic", enc_hook=str)).hexdigest()[:16]
    if known is None:
        return Counted(digest=digest, generation=1)
    return known if known.digest == digest else Counted(digest=digest, generation=known.generation + 1)

"""Provider keys for `serve`: from Secret manifests of the folder, or from the environment and files by ``--secret``.

Values live in `Redacted` from the moment they are read and leave it in the discovery server's response alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from turnout_operator.clusters import SecretKey
from turnout_operator.redacted import Redacted
from turnout_operator.snapshot import SecretFacts

Keys = Mapping[SecretKey, Redacted]


class KeyRefused(Exception):  # noqa: N818 - said to a person
    """A ``--secret`` that cannot be used; the message says how to write it and never holds a value."""


class Source(StrEnum):
    """Where a ``--secret`` takes its value from."""

    ENV = "env"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOption:
    """One ``--secret namespace/name/key=env:VARIABLE`` or ``…=file:PATH``. There is no way to write a value: arguments are public."""

    key: SecretKey
    source: Source
    place: str

    @property
    def is_file(self) -> bool:
        """It may change while `serve` runs; the environment cannot."""
        return self.source is Source.FILE


_OPTION = re.compile(r"(?P<namespace>[^/=]+)/(?P<name>[^/=]+)/(?P<key>[^/=]+)=(?P<source>env|file):(?P<place>.+)")


def parse(text: str) -> KeyOption:
    """Raises `KeyRefused`; its words leave out what was written after the equals sign, which may be a key."""
    found = _OPTION.fullmatch(text)
    if found is None:
        name = text.partition("=")[0]
        raise KeyRefused(f"--secret {name}=…: write namespace/name/key=env:VARIABLE or namespace/name/key=file:PATH")
    key = SecretKey(namespace=found["namespace"], name=found["name"], key=found["key"])
    return KeyOption(key=key, source=Source(found["source"]), place=found["place"])


def read(options: Iterable[KeyOption], environment: Mapping[str, str]) -> Keys:
    """The values. Raises `KeyRefused` where one is not there or empty."""
    return {option.key: _value(option, environment) for option in options}


def _value(option: KeyOption, environment: Mapping[str, str]) -> Redacted:
    if option.source is Source.ENV:
        value = environment.get(option.place, "").encode()
    else:
        try:
            value = Path(option.place).expanduser().read_bytes()
        except OSError as error:
            raise KeyRefused(f"--secret {option.key.sds_name}: {option.place}: {error.strerror or error}") from error
    if not value.strip():
        what = "variable" if option.source is Source.ENV else "file"
        raise KeyRefused(f"--secret {option.key.sds_name}: the {what} {option.place} is empty or not there")
    return Redacted(value)


def of_manifests(manifests: Iterable[Mapping[str, Any]]) -> Keys:
    """The values of Secret manifests. A value that is not base64 is left out, so its pool says that the key is missing."""
    return {
        key: value for manifest in manifests if manifest.get("kind") == "Secret" for key, value in _secret(manifest)
    }


def _secret(manifest: Mapping[str, Any]) -> Iterator[tuple[SecretKey, Redacted]]:
    metadata = manifest.get("metadata") or {}
    namespace, name = str(metadata.get("namespace") or "default"), str(metadata.get("name") or "")
    data, plain = manifest.get("data") or {}, manifest.get("stringData") or {}
    for key in sorted({*data, *plain}):  # stringData wins, as in the apiserver
        value = str(plain[key]).encode() if key in plain else _decoded(str(data[key]))
        if value is not None and value.strip():
            yield SecretKey(namespace=namespace, name=name, key=str(key)), Redacted(value)


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def facts(keys: Keys) -> tuple[SecretFacts, ...]:
    """What the compiler may know of them."""
    grouped: dict[tuple[str, str], dict[str, Redacted]] = {}
    for key, value in keys.items():
        grouped.setdefault((key.namespace, key.name), {})[key.key] = value
    return tuple(_facts(namespace, name, values) for (namespace, name), values in sorted(grouped.items()))


def _facts(namespace: str, name: str, values: Mapping[str, Redacted]) -> SecretFacts:
    digest = hashlib.sha256()
    for key in sorted(values):
        for part in (key.encode(), values[key].reveal()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return SecretFacts(namespace=namespace, name=name, keys=tuple(sorted(values)), digest=digest.hexdigest())

"""Provider keys: read by name where a pool names them, polled for rotation, never listed, never printed.

`get` on named Secrets is all that the operator may do (see the chart's `secretNamespaces`), so there is no watch; a key
that was rotated is seen within one poll.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable

from turnout_operator.kube.client import ApiError, Client, Forbidden, Unreachable
from turnout_operator.kube.resources import SECRETS
from turnout_operator.snapshot import SecretFacts


class SecretReader:
    """Blocking. Keeps the values of the last read for `value`; an unreachable API server keeps what was known."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._values: dict[tuple[str, str], dict[str, bytes]] = {}
        self._facts: dict[tuple[str, str], SecretFacts] = {}

    def read(self, names: Iterable[tuple[str, str]]) -> tuple[SecretFacts, ...]:
        """Facts of these Secrets ((namespace, name)), sorted; those that do not exist are left out."""
        wanted = sorted(set(names))
        for gone in set(self._facts) - set(wanted):
            self._forget(gone)
        for key in wanted:
            self._read_one(key)
        return tuple(self._facts[key] for key in wanted if key in self._facts)

    def value(self, namespace: str, name: str, key: str) -> bytes | None:
        """The key's bytes as last read. Goes into SDS and nowhere else."""
        return self._values.get((namespace, name), {}).get(key)

    def _read_one(self, key: tuple[str, str]) -> None:
        namespace, name = key
        try:
            secret = self._client.find(SECRETS, namespace, name)
        except Forbidden:
            self._forget(key)
            words = f"the operator may not read Secrets in {namespace}: add it to the chart's secretNamespaces"
            self._facts[key] = SecretFacts(namespace=namespace, name=name, keys=(), digest="", problem=words)
            return
        except (ApiError, Unreachable) as e:
            if key not in self._facts:
                words = f"not readable now: {e}"
                self._facts[key] = SecretFacts(namespace=namespace, name=name, keys=(), digest="", problem=words)
            return
        if secret is None:
            self._forget(key)
            return
        values = {k: _decoded(v) for k, v in (secret.get("data") or {}).items()}
        self._values[key] = values
        self._facts[key] = SecretFacts(
            namespace=namespace,
            name=name,
            keys=tuple(sorted(values)),
            digest=_digest(values),
        )

    def _forget(self, key: tuple[str, str]) -> None:
        self._values.pop(key, None)
        self._facts.pop(key, None)


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _digest(values: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(values.items()):
        digest.update(len(key).to_bytes(4) + key.encode() + len(value).to_bytes(4) + value)
    return digest.hexdigest()[:16]

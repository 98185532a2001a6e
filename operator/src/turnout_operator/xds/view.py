"""What the sidecars of one namespace are to have now: the rendered resources, and the keys that only this package holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from turnout_operator.clusters import SecretKey
from turnout_operator.redacted import Redacted
from turnout_operator.render.envoy import Resource, Resources, message
from turnout_operator.render.envoy.header_secret import HeaderSecret
from turnout_operator.xds.kind import Kind
from turnout_sidecar.policy.units import Millis

Values = Callable[[SecretKey], bytes | None]
"""The bytes of one key of one Secret, or None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One resource on the wire; `version` is its content hash."""

    name: str
    body: bytes | Redacted
    version: str

    @property
    def bytes(self) -> bytes:
        """What is sent."""
        return self.body.reveal() if isinstance(self.body, Redacted) else self.body


Items = Mapping[str, Item]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All items by kind and name, and the policy that they carry."""

    items: Mapping[Kind, Items]
    policy_version: str
    longest: Millis
    """How long a stream under this policy may outlive it."""


def view(resources: Resources, values: Values, salt: bytes) -> View:
    """The view of these resources with the keys filled in. A key without a value is left out: its cluster waits, nothing else does.

    `salt` keys the versions of secrets, which anybody may read in Envoy's dump: a bare hash of a weak key could be guessed.
    """
    secrets = (_secret(secret, values(secret.key), salt) for secret in resources.secrets)
    kinds = {
        Kind.CLUSTER: _items(resources.clusters),
        Kind.SECRET: MappingProxyType({item.name: item for item in secrets if item is not None}),
        Kind.LISTENER: _items(resources.listeners),
        Kind.EXTENSION: _items(resources.extensions),
    }
    return View(items=MappingProxyType(kinds), policy_version=resources.policy_version, longest=resources.longest)


def version(items: Iterable[Item]) -> str:
    """The version of a response: equal items, equal version, so that an unchanged push is no push."""
    digest = hashlib.sha256()
    for item in sorted(items, key=lambda i: i.name):
        digest.update(f"{item.name}\0{item.version}\0".encode())
    return digest.hexdigest()[:16]


def _items(resources: tuple[Resource, ...]) -> Items:
    made = (Item(name=r.name, body=r.body, version=hashlib.sha256(r.body).hexdigest()[:16]) for r in resources)
    return MappingProxyType({item.name: item for item in made})


def _secret(secret: HeaderSecret, value: bytes | None, salt: bytes) -> Item | None:
    """The header's whole value. White space around a key is an editor's newline, which no header may hold."""
    if value is None or not value.strip():
        return None
    header = secret.prefix.encode() + value.strip()
    body = message.secret(secret.name, header)
    tag = hashlib.blake2b(header, key=salt, digest_size=8).hexdigest()
    return Item(name=secret.name, body=Redacted(body), version=tag)

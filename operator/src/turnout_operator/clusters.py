"""Where a pool's endpoint is, as Envoy needs to know it, and the name that those facts alone decide.

A cluster that changes resets every stream the engine opened on it, so a cluster never changes: its name holds the hash of everything
that Envoy is told about it, a new fact is a new cluster, and the old one is dropped after the longest stream. The Secret's *content* is
no part of the name: a rotated key reaches the running cluster by SDS and breaks no stream.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from urllib.parse import urlsplit

import msgspec

CLUSTER_DOMAIN = "cluster.local"

SHAPE = 1
"""Of the Envoy cluster that `render.envoy` makes of these facts. Raise it with every change there, or an operator upgrade cuts streams."""


class SecretKey(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One key of one Secret, by name only: its value never enters a Python value of the operator's compiler."""

    namespace: str
    name: str
    key: str

    @property
    def sds_name(self) -> str:
        """The name under which SDS serves it."""
        return f"secret/{self.namespace}/{self.name}/{self.key}"


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """The header that carries the key: `header: <prefix><value of the Secret's key>`."""

    secret: SecretKey
    header: str
    prefix: str


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint of one pool, all that makes it an Envoy cluster."""

    pool: str
    """``namespace/name``"""
    endpoint: str
    host: str
    port: int
    tls: bool
    sni: str
    """Empty without TLS."""
    credential: Credential | None
    cluster: str = ""
    """The content-hash name; what `policy.Endpoint.cluster` holds."""

    @property
    def authority(self) -> str:
        """What goes into `:authority`: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A url's parts: `base_path` starts with a slash or is empty, and never ends with one."""

    host: str
    port: int
    tls: bool
    base_path: str


def cluster_name(destination: Destination) -> str:
    """``pool/<namespace>/<name>/<endpoint>/<hash>``: equal facts, equal name; Envoy's statistics are told apart by its readable part."""
    facts = msgspec.structs.replace(destination, cluster="")
    digest = hashlib.sha256(msgspec.json.encode((SHAPE, facts), order="deterministic")).hexdigest()[:12]
    return f"pool/{destination.pool}/{destination.endpoint}/{digest}"


def named(destination: Destination) -> Destination:
    """The same destination with its name filled in."""
    return msgspec.structs.replace(destination, cluster=cluster_name(destination))


def service_address(name: str, namespace: str, port: int) -> Address:
    """A Service inside the cluster: plain HTTP at the API's usual base path is the caller's to add."""
    return Address(host=f"{name}.{namespace}.svc.{CLUSTER_DOMAIN}", port=port, tls=False, base_path="")


def parse_url(url: str) -> Address:
    """The parts of an http(s) url. Raises ValueError that says what is wrong with it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"found {url!r}, write an http or https url")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(f"found {parts.scheme}://{parts.hostname}, write a url without user info, query or fragment")
    host = (parts.hostname or "").rstrip(".")
    if not host:
        raise ValueError(f"found {url!r}, write a host name")
    tls = parts.scheme == "https"
    port = parts.port  # raises ValueError when it is no port
    return Address(host=host, port=port or (443 if tls else 80), tls=tls, base_path=parts.path.rstrip("/"))


_PRIVATE_SUFFIXES = (
    ".local",
    ".localhost",
    ".internal",
    ".lan",
    ".home.arpa",
    ".svc",
    ".intranet",
    ".corp",
    ".private",
)
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.IGNORECASE)


def not_public(host: str) -> str | None:
    """Why `host` is no public address, in words, or None.

    By its spelling alone: what a public name resolves to is not known here. Numbers that resolvers read as addresses (`127.1`,
    `0x7f000001`, `2130706433`) count as what they are not written as, so they are refused whatever they mean.
    """
    bare = host.strip("[]").rstrip(".").lower()
    literal = _literal(bare)
    if literal is not None:
        return None if _is_public(literal) else f"{host} is a {_kind(literal)} address"
    labels = bare.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return f"{host} is a number that resolvers read as an address"
    if len(labels) == 1:
        return f"{host} is a name without a domain, which only resolves locally"
    if f".{bare}".endswith(_PRIVATE_SUFFIXES):
        return f"{host} is a name of a private domain"
    return None


_Literal = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _literal(host: str) -> _Literal | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or address.sixtofour or _nat64(address) or address
    return address


def _nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _is_public(address: _Literal) -> bool:
    return address.is_global and not address.is_multicast


def _kind(address: _Literal) -> str:
    kinds = (
        ("loopback", address.is_loopback),
        ("link-local (where clouds serve metadata)", address.is_link_local),
        ("multicast", address.is_multicast),
        ("unspecified", address.is_unspecified),
        ("private", address.is_private),
    )
    return next((name for name, holds in kinds if holds), "reserved")

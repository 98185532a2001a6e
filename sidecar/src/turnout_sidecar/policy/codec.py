"""Policy <-> bytes. Routes are decoded one by one: a bad one is refused alone and named, the rest serve."""

import hashlib

import msgspec

from turnout_sidecar.policy.model import SCHEMA, SCHEMAS_READ, Policy, Pool, Route

_encoder = msgspec.json.Encoder(order="deterministic")


class PolicyRefused(Exception):  # noqa: N818 - the field's word for a NACK's cause
    """The whole document cannot be used; the last good one goes on serving."""


class RouteRefused(msgspec.Struct, frozen=True, kw_only=True):
    """One route of a document that otherwise serves. `route` is its key, or its index where even that is unreadable."""

    route: str
    generation: int
    reason: str
    """The decoder's words with the path inside the route."""


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    routes: tuple[Route, ...]
    pools: tuple[Pool, ...]
    refused: tuple[RouteRefused, ...]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    schema: int
    version: str
    routes: tuple[msgspec.Raw, ...]
    pools: tuple[Pool, ...]


class _Schema(msgspec.Struct):
    schema: int


class _RouteName(msgspec.Struct):
    class _Origin(msgspec.Struct):
        generation: int = 0

    key: str = ""
    origin: _Origin = msgspec.field(default_factory=_Origin)


def encode(routes: tuple[Route, ...], pools: tuple[Pool, ...]) -> bytes:
    """The document of these routes and pools, byte-stable, with the content hash as its version."""
    routes = tuple(sorted(routes, key=lambda r: r.key))
    pools = tuple(sorted(pools, key=lambda p: p.key))
    bare = Policy(schema=SCHEMA, version="", routes=routes, pools=pools)
    version = hashlib.sha256(_encoder.encode(bare)).hexdigest()[:16]
    return _encoder.encode(msgspec.structs.replace(bare, version=version))


def decode(document: bytes) -> Decoded:
    """What this sidecar will enforce. Raises `PolicyRefused` when the document as a whole is unusable."""
    try:
        schema = msgspec.json.decode(document, type=_Schema).schema
    except msgspec.MsgspecError as e:
        raise PolicyRefused(f"the policy document is unreadable: {e}") from e
    if schema not in SCHEMAS_READ:
        raise PolicyRefused(f"policy schema {schema} is not among those this sidecar reads: {SCHEMAS_READ}")
    try:
        raw = msgspec.json.decode(document, type=_Document)
    except msgspec.MsgspecError as e:
        raise PolicyRefused(f"the policy document is unreadable: {e}") from e
    routes: list[Route] = []
    refused: list[RouteRefused] = []
    pools = {pool.key: pool for pool in raw.pools}
    for index, item in enumerate(raw.routes):
        try:
            route = msgspec.json.decode(item, type=Route)
            _check(route, pools)
        except (msgspec.MsgspecError, ValueError) as e:
            refused.append(_refusal(index, item, str(e)))
        else:
            routes.append(route)
    return Decoded(version=raw.version, routes=tuple(routes), pools=raw.pools, refused=tuple(refused))


def _check(route: Route, pools: dict[str, Pool]) -> None:
    """References inside the document hold, so that nothing is looked up in vain while a request waits."""
    names = {c.name for c in route.candidates}
    for candidate in route.candidates:
        pool = pools.get(candidate.pool)
        if pool is None:
            raise ValueError(f"candidate {candidate.name}: no pool {candidate.pool} in this policy")
        if all(m.name != candidate.model for m in pool.models):
            raise ValueError(f"candidate {candidate.name}: pool {candidate.pool} has no model {candidate.model}")
    used = [*route.order, *(n for r in route.rules for n in r.use)]
    used += [s.candidate for p in route.degradation for s in p.steps if hasattr(s, "candidate")]
    for name in used:
        if name not in names:
            raise ValueError(f"{name} is not among the route's candidates")


def _refusal(index: int, item: msgspec.Raw, reason: str) -> RouteRefused:
    try:
        name = msgspec.json.decode(item, type=_RouteName)
    except msgspec.MsgspecError:
        name = _RouteName()
    return RouteRefused(route=name.key or f"routes[{index}]", generation=name.origin.generation, reason=reason)

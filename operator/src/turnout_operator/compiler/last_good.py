"""What stays in service when an edit is refused, and what takes it out of service all the same.

An edit is its author's; a revocation is somebody else's or the world's: the pool's owner withdraws the grant or an approval, a Secret or
a model goes, a provider's terms change, an older route takes the requests, the object is deleted. The last accepted generation survives
the first and never the second, so consent is asked of it again at every compilation, from the current pools.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from turnout_operator.api import ProviderPool
from turnout_operator.compiler import claims, consent, pools
from turnout_operator.compiler.candidates import PoolView
from turnout_operator.ir import CompiledPool, CompiledRoute
from turnout_operator.snapshot import Snapshot


def pool_in_service(last: CompiledPool | None, current: ProviderPool | None, snapshot: Snapshot) -> CompiledPool | None:
    """The last accepted generation of a pool whose edit was refused, as far as nothing of it was taken away.

    `current` is the refused object, None where it cannot be read. Its owner's grant, approvals and statements count at once, and models
    that it no longer lists are gone; only what it would *add* waits until it is accepted.
    """
    if last is None or not _secrets_there(last, snapshot):
        return None
    if current is None:
        return last
    listed = {m.name for m in current.spec.models}
    return msgspec.structs.replace(
        last,
        policy=msgspec.structs.replace(last.policy, models=tuple(m for m in last.policy.models if m.name in listed)),
        grant=pools.grant_of(current.spec.allowed_namespaces),
        approvals=pools.approvals_of(current),
        data=pools.data_of(current),
        scaling=last.scaling if current.spec.autoscaling is not None else None,
    )


def _secrets_there(pool: CompiledPool, snapshot: Snapshot) -> bool:
    for secret in pool.secrets:
        facts = snapshot.secrets.get((secret.namespace, secret.name))
        if facts is None or facts.problem or secret.key not in facts.keys:
            return False
    return True


def revocations(
    route: CompiledRoute, views: Mapping[str, PoolView], labels: Mapping[str, str], older: tuple[CompiledRoute, ...]
) -> Iterator[str]:
    """Why the last accepted generation of a route may not go on; nothing when it may."""
    for candidate in route.policy.candidates:
        yield from _candidate_revoked(route, candidate.pool, candidate.model, views.get(candidate.pool), labels)
    yield from (words for _, words in claims.conflicts(route, older))


def _candidate_revoked(
    route: CompiledRoute, key: str, model: str, view: PoolView | None, labels: Mapping[str, str]
) -> Iterator[str]:
    if view is None:
        yield f"ProviderPool {key} is gone"
    elif not consent.granted(view.grant, key.partition("/")[0], route.namespace, labels):
        yield f"ProviderPool {key} no longer allows namespace {route.namespace}"
    elif view.served is None:
        yield f"ProviderPool {key} is not in service"
    elif all(m.name != model for m in view.served.policy.models):
        yield f"ProviderPool {key} no longer has model {model}"
    else:
        unapproved = consent.not_approved(view.served, model, route.policy.risk)
        if unapproved is not None:
            yield unapproved
        yield from consent.breaks(view.served, route.data_policy)

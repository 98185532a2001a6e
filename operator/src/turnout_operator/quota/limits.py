"""Which accounts the sidecars of a namespace may lease, and how much there is in each: the compiler's facts, arranged for look-up."""

from collections.abc import Iterable, Mapping

from turnout_operator.ir import Compilation, QuotaLimit

EVERY_NAMESPACE = "*"
Limits = Mapping[str, Mapping[str, QuotaLimit]]
"""By namespace, then by account without its subject. Under `EVERY_NAMESPACE`: all of them."""


def of(compilation: Compilation) -> Limits:
    """A namespace may lease what its routes and the pools that they use declare."""
    namespaces = sorted({route.namespace for route in compilation.routes})
    found: dict[str, dict[str, QuotaLimit]] = {}
    for namespace in namespaces:
        quotas = [route.quota for route in compilation.routes_of(namespace)]
        quotas += [pool.quota for pool in compilation.pools_of(namespace)]
        found[namespace] = _by_account(limit for quota in quotas for limit in quota)
    found[EVERY_NAMESPACE] = _by_account(limit for limits in found.values() for limit in limits.values())
    return found


def everywhere(limits: Iterable[QuotaLimit]) -> Limits:
    """All of them for whoever asks under `EVERY_NAMESPACE`, and for each namespace its own."""
    everything = _by_account(limits)
    found: dict[str, dict[str, QuotaLimit]] = {EVERY_NAMESPACE: dict(everything)}
    for account, limit in everything.items():
        found.setdefault(account.partition("/")[0], {})[account] = limit
    return found


def _by_account(limits: Iterable[QuotaLimit]) -> dict[str, QuotaLimit]:
    """Where routes that share an account differ, the least amount holds."""
    found: dict[str, QuotaLimit] = {}
    for limit in limits:
        known = found.get(limit.account)
        if known is None or limit.amount < known.amount:
            found[limit.account] = limit
    return found

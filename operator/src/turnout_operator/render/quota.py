"""Compiled limits -> the accounts that the ledger keeps: one definition each, in one order."""

from __future__ import annotations

from turnout_operator.ir import Compilation, QuotaLimit


def definitions(compilation: Compilation) -> tuple[QuotaLimit, ...]:
    """Every limit that needs a ledger, sorted by account. Routes that share an account declare it alike: the compiler saw to that."""
    found: dict[str, QuotaLimit] = {}
    declared = [q for r in compilation.routes for q in r.quota] + [q for p in compilation.pools for q in p.quota]
    for limit in declared:
        known = found.setdefault(limit.account, limit)
        assert known == limit, f"{limit.account} has two definitions after claims were settled"
    return tuple(found[account] for account in sorted(found))

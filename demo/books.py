"""Three books of the same money: the limits as declared, the ledger's accounts, and the providers' own bills. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demo import workload
from turnout_operator.quota.account import Account
from turnout_operator.sim.bill import Line

NANO = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A windowed limit as its manifest declares it. Money in nano-USD; `tenant` is empty where it is not per tenant."""

    route: str
    name: str
    tenant: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """One limit in all three books."""

    limit: Limit
    spent: int
    held: int
    billed: int
    windows: int = 1
    """More where midnight fell into the demo: then there was this often as much to spend."""

    @property
    def allowed(self) -> int:
        return self.limit.amount * self.windows

    @property
    def is_settled(self) -> bool:
        """Whether the ledger knows of all that was billed."""
        return self.spent >= self.billed


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """What one provider charged, line by line."""

    provider: str
    lines: tuple[Line, ...]

    @property
    def total(self) -> int:
        return sum(line.cost_nano_usd for line in self.lines)


def declared(routes: Iterable[Mapping[str, Any]], tenants: Sequence[str]) -> tuple[Limit, ...]:
    """The windowed limits of LLMRoute manifests, one for each tenant where they are per tenant."""
    found: list[Limit] = []
    for route in routes:
        for limit in route["spec"]["budget"]["limits"]:
            if "window" not in limit:
                continue
            subjects = tenants if limit["scope"] == "Tenant" else ("",)
            found += [
                Limit(route=route["metadata"]["name"], name=limit["name"], tenant=t, amount=_amount(limit, t))
                for t in subjects
            ]
    return tuple(found)


def balances(
    limits: Iterable[Limit], accounts: Mapping[str, Account], charges: Iterable[Charges], namespace: str
) -> tuple[Balance, ...]:
    """`accounts` are the ledger's, by ``<account>/<subject>|<window>``; an account that is not there has spent nothing."""
    lines = [line for of_provider in charges for line in of_provider.lines]
    return tuple(_balance(limit, _accounts(limit, accounts, namespace), lines) for limit in limits)


def strangers(charges: Iterable[Charges]) -> int:
    """Nano-USD on bills that belong to no request of the replay: the drill's probes, which have an allowance of their own."""
    return sum(line.cost_nano_usd for c in charges for line in c.lines if workload.of_tag(line.tag) is None)


def models_of(tag: str, charges: Iterable[Charges]) -> frozenset[str]:
    """Which models were asked for this one request, in the words of those who served them."""
    return frozenset(line.model for c in charges for line in c.lines if line.tag == tag)


def nano(dollars: object) -> int:
    """Of a decimal string as manifests and status write it."""
    whole, _, part = str(dollars).partition(".")
    return int(whole) * NANO + int(part.ljust(9, "0") or 0)


def _balance(limit: Limit, accounts: Sequence[Account], lines: Iterable[Line]) -> Balance:
    return Balance(
        limit=limit,
        spent=sum(a.spent for a in accounts),
        held=sum(a.held for a in accounts),
        billed=sum(line.cost_nano_usd for line in lines if _pays(limit, line)),
        windows=max(1, len(accounts)),
    )


def _accounts(limit: Limit, accounts: Mapping[str, Account], namespace: str) -> list[Account]:
    name = f"{namespace}/route:{limit.route}/{limit.name}/{limit.tenant or '-'}"
    return [account for key, account in accounts.items() if key.partition("|")[0] == name]


def _pays(limit: Limit, line: Line) -> bool:
    found = workload.of_tag(line.tag)
    return found is not None and found[0] == limit.route and limit.tenant in ("", found[1])


def _amount(limit: Mapping[str, Any], tenant: str) -> int:
    for override in limit.get("overrides", ()):
        if tenant in override["subjects"]:
            return nano(override["cost"])
    return nano(limit["cost"])

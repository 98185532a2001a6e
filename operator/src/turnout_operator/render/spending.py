"""Limits and what the ledger knows of them, as status shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from turnout_operator.amounts import dollars
from turnout_operator.api.enums import LimitScope, Window
from turnout_operator.api.llmroute_status import BudgetStatus, SubjectSpend
from turnout_operator.ir import QuotaLimit
from turnout_operator.render.conditions import rfc3339
from turnout_sidecar.policy import model as policy

FULLEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """One account in its current window, in nano-USD: `spent` is settled, `held` is in leases and not settled yet."""

    account: str
    """Of the limit, without the subject."""
    subject: str
    """``-`` where the limit has none."""
    spent: int
    held: int
    resets_at: datetime


def budget_statuses(
    limits: tuple[policy.Limit, ...], quota: tuple[QuotaLimit, ...], spending: tuple[Spending, ...]
) -> tuple[BudgetStatus, ...]:
    """One entry a limit, in the order in which they are written."""
    by_account = {q.account: q for q in quota}
    return tuple(_one(limit, by_account.get(limit.account), spending) for limit in limits)


def _one(limit: policy.Limit, quota: QuotaLimit | None, spending: tuple[Spending, ...]) -> BudgetStatus:
    mine = [s for s in spending if limit.account and s.account == limit.account]
    named = sorted((s for s in mine if s.subject != "-"), key=lambda s: (-(s.spent + s.held), s.subject))
    return BudgetStatus(
        name=limit.name,
        scope=LimitScope(limit.scope.value),
        window=Window(quota.window.value) if quota is not None else None,
        limit=dollars(limit.amount),
        spent=dollars(sum(s.spent for s in mine)),
        held=dollars(sum(s.held for s in mine)),
        resets_at=rfc3339(max(s.resets_at for s in mine)) if mine else None,
        subjects=len(named),
        fullest=tuple(
            SubjectSpend(
                subject=s.subject,
                spent=dollars(s.spent),
                held=dollars(s.held),
                limit=dollars(quota.amount_of(s.subject) if quota is not None else limit.amount),
            )
            for s in named[:FULLEST]
        ),
    )

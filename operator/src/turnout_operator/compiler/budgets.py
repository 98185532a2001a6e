"""Limits as people write them -> what the sidecar admits against and what the ledger keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from turnout_operator.api.budget import Limit, PoolLimit
from turnout_operator.api.conditions import AcceptedReason
from turnout_operator.api.enums import Enforce, LimitScope
from turnout_operator.compiler.faults import Faults
from turnout_operator.ir import Override, QuotaLimit, Window
from turnout_sidecar.policy import model as policy
from turnout_sidecar.policy.origin import Origin
from turnout_sidecar.policy.units import NanoUSD

UTC = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one object; `quota` has those that need a ledger."""

    policy: tuple[policy.Limit, ...] = ()
    quota: tuple[QuotaLimit, ...] = ()


def limits_of(declared: Sequence[Limit | PoolLimit], owner: Origin, faults: Faults) -> Limits:
    """The hard cost limits of `declared`. All others are told of by `enforceable`: a Shadow limit must not refuse, so it is left out."""
    promised: list[policy.Limit] = []
    quota: list[QuotaLimit] = []
    for index, limit in enumerate(declared):
        field = f"spec.budget.limits[{index}]"
        scope = _scope(limit.scope)
        _examine_zone(limit, field, faults)
        _examine_subjects(limit, field, faults)
        if limit.cost is None or scope is None or limit.enforce is not Enforce.HARD:
            continue
        account = account_of(limit, owner) if scope is not policy.Scope.REQUEST else ""
        amount = NanoUSD(limit.cost.nano_usd())
        origin = Origin(
            kind=owner.kind, namespace=owner.namespace, name=owner.name, generation=owner.generation, field=field
        )
        promised.append(policy.Limit(origin=origin, name=limit.name, scope=scope, account=account, amount=amount))
        if account and limit.window is not None:
            quota.append(_quota(limit, scope, account, amount, Window(limit.window)))
    return Limits(policy=tuple(promised), quota=tuple(quota))


def account_of(limit: Limit | PoolLimit, owner: Origin) -> str:
    """``<namespace>/<share:NAME | route:NAME | pool:NAME>/<limit name>``: no UID and no list index, so it outlives its object."""
    who = "pool" if owner.kind == "ProviderPool" else "route"
    holder = f"share:{limit.share}" if limit.share else f"{who}:{owner.name}"
    return f"{owner.namespace}/{holder}/{limit.name}"


def is_zone(name: str) -> bool:
    """Whether the time zone exists in the installed tz database."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return False
    return True


def _quota(limit: Limit | PoolLimit, scope: policy.Scope, account: str, amount: NanoUSD, window: Window) -> QuotaLimit:
    overrides = [
        Override(subject=subject, amount=NanoUSD(override.cost.nano_usd()))
        for override in limit.overrides
        if override.cost is not None
        for subject in override.subjects
    ]
    return QuotaLimit(
        account=account,
        name=limit.name,
        scope=scope,
        amount=amount,
        window=window,
        time_zone=limit.time_zone or UTC,
        overrides=tuple(sorted(overrides, key=lambda o: o.subject)),
    )


def _scope(scope: LimitScope) -> policy.Scope | None:
    """The sidecar's word for a scope; None where this version has none, which `api.enforcement` refuses."""
    return next((s for s in policy.Scope if s.value == scope.value), None)


def _examine_zone(limit: Limit | PoolLimit, field: str, faults: Faults) -> None:
    if limit.time_zone is not None and not is_zone(limit.time_zone):
        message = f"there is no time zone {limit.time_zone}: write an IANA name such as Europe/Berlin"
        faults.refuse(AcceptedReason.INVALID, f"{field}.timeZone", message)


def _examine_subjects(limit: Limit | PoolLimit, field: str, faults: Faults) -> None:
    """A subject with two amounts would have the one that happens to come first."""
    seen: dict[str, int] = {}
    for index, override in enumerate(limit.overrides):
        for subject in override.subjects:
            first = seen.setdefault(subject, index)
            if first != index:
                message = f"subject {subject} already stands in overrides[{first}]: keep one of them"
                faults.refuse(AcceptedReason.INVALID, f"{field}.overrides[{index}].subjects", message)

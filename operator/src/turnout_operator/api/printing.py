"""What `kubectl get` calls the kinds and shows of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """How a kind is asked for."""

    plural: str
    short: str


NAMES = {
    "LLMRoute": Names(plural="llmroutes", short="lr"),
    "ProviderPool": Names(plural="providerpools", short="pp"),
    "FallbackDrill": Names(plural="fallbackdrills", short="fd"),
}


def _column(name: str, path: str, kind: str = "string", *, wide: bool = False) -> dict[str, object]:
    shown: dict[str, object] = {"name": name, "type": kind, "jsonPath": path}
    return shown | {"priority": 1} if wide else shown


def _condition(kind: str, part: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{part}'


_READY = (_column("Ready", _condition("Ready", "status")), _column("Reason", _condition("Ready", "reason")))
_AGE = _column("Age", ".metadata.creationTimestamp", "date")

COLUMNS: dict[str, tuple[dict[str, object], ...]] = {
    "LLMRoute": (
        *_READY,
        _column("Active", ".status.activeStep"),
        _column("Worst case", ".status.worstCase.cost"),
        _column("Spent today", ".status.spentToday"),
        _column("Last drill", ".status.drills.lastVerdict"),
        _column("Owner", ".spec.owner", wide=True),
        _column("Sidecars", ".status.sidecars.connected", "integer", wide=True),
        _column("Rehearsed", _condition("Rehearsed", "status"), wide=True),
        _AGE,
    ),
    "ProviderPool": (
        *_READY,
        _column("Dialect", ".spec.dialect"),
        _column("Routes", ".status.routeCount", "integer"),
        _column("Owner", ".spec.owner", wide=True),
        _AGE,
    ),
    "FallbackDrill": (
        _column("Route", ".spec.routeRef.name"),
        _column("Faults", ".spec.faults[*].type"),
        _column("Phase", ".status.phase"),
        _column("Verdict", ".status.verdict"),
        _column("Fail step", ".status.failStep", wide=True),
        _column("Recovered in", ".status.timeToRecover", wide=True),
        _AGE,
    ),
}

"""What a drill must show, in the words of the evidence. `prediction` reads it from the route's own declaration."""

from __future__ import annotations

from dataclasses import dataclass

from turnout_sidecar.policy.units import Millis, NanoUSD


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One fault's declared way, for the request that probes send."""

    fault: str
    control: str
    """The candidate that answers while nothing is wrong."""
    tried: tuple[str, ...]
    """Candidates in the order in which they are tried under the fault, repeats left out."""
    candidate: str
    """Who answers in the end; empty where the route itself refuses."""
    status: int
    reason: str
    """``x-turnout-degraded``"""
    step: str
    """``x-turnout-step``"""
    latency: Millis
    """The route's total deadline."""
    cost: NanoUSD
    """The most one request may cost."""

    @property
    def path(self) -> tuple[str, ...]:
        """For people: `small fails`, `local answers`."""
        last = f"{self.candidate} answers" if self.candidate else f"the route answers {self.status}"
        failing = self.tried[:-1] if self.candidate else self.tried
        return (*(f"{name} meets {self.fault}" if name in failing[:1] else f"{name} fails" for name in failing), last)

"""A scripted sidecar for drills: the product's own runs and overlay, with answers that a test decides instead of a data plane."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from turnout_operator.identity import Identity
from turnout_sidecar.core.drills import Rehearsals
from turnout_sidecar.core.faults import Overlay
from turnout_sidecar.core.probe import MARK, Probe, ProbeAnswer
from turnout_sidecar.policy.report import WIRE, DrillOrder, EpochReport, Report
from turnout_sidecar.policy.units import Millis

Answers = Callable[[Probe, bool], ProbeAnswer]
"""What a client would get for a probe; the flag says whether it meets the fault."""

HEALTHY: Mapping[str, str] = {
    "x-turnout-candidate": "small",
    "x-turnout-attempts": "1",
    "x-turnout-cost": "0.000001",
    "x-turnout-path": "small:ok",
}
FALLEN_BACK: Mapping[str, str] = {
    "x-turnout-candidate": "local",
    "x-turnout-attempts": "2",
    "x-turnout-cost": "0.000001",
    "x-turnout-degraded": "Unavailable",
    "x-turnout-step": "candidate:local",
    "x-turnout-path": "small:Unavailable,local:ok",
}


def honest(_probe: Probe, faulted: bool) -> ProbeAnswer:
    """As a route from `small` to `local` answers under Unavailable."""
    if faulted:
        return ProbeAnswer(status=200, headers=FALLEN_BACK, body=b'{"turnout":{"degraded":"Unavailable"}}')
    return ProbeAnswer(status=200, headers=HEALTHY, body=b"{}")


class ScriptedSidecar:
    """Its clock is the test's: Unix milliseconds, also as monotonic time."""

    def __init__(
        self,
        namespace: str,
        pod: str,
        clock: Callable[[], int],
        *,
        answers: Answers = honest,
        policy_version: str = "",
    ) -> None:
        self.identity = Identity(namespace=namespace, service_account="default", pod=pod, pod_uid=f"uid-{pod}")
        self.answers = answers
        self.policy_version = policy_version
        self._clock = clock
        self._overlay = Overlay(random.Random(pod), clock)
        self.rehearsals = Rehearsals(self._overlay)
        self._sequence = 0
        self._routes: set[str] = set()

    @property
    def now(self) -> Millis:
        return Millis(self._clock())

    def work(self) -> None:
        """Sends what is due and has it answered at once."""
        for probe in self.rehearsals.due(self.now, self._clock()):
            self.rehearsals.answered(probe, self.answers(probe, self.faulted(probe)), self.now)

    def faulted(self, probe: Probe) -> bool:
        """Whether this request meets the fault now."""
        token = dict(probe.headers)[MARK.encode()].decode()
        parts = (self._overlay.find(token, route, self.now) for route in self._routes)
        return any(part is not None and part.kind is not None for part in parts)

    def any_fault(self) -> bool:
        """Whether any fault stands in this sidecar."""
        return any(e.fault_active for e in self.rehearsals.evidence(self.now, self._clock()))

    def report(self) -> Report:
        """What it would send now."""
        self._sequence += 1
        return Report(
            wire=WIRE,
            sequence=self._sequence,
            epoch=EpochReport(epoch=f"epoch-{self.identity.pod}", accounts=()),
            policy_version=self.policy_version,
            drills=self.rehearsals.evidence(self.now, self._clock()),
        )

    def obey(self, orders: tuple[DrillOrder, ...]) -> None:
        """Takes the answer to a report."""
        self._routes |= {order.route for order in orders}
        self.rehearsals.order(orders, self.now, self._clock())

"""Which sidecars report, and the drills under way among them. Memory of one leader's life: nothing here survives it, on purpose.

Called from the loop that answers reports and from reconcile workers, so everything is under one lock and nothing blocks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from turnout_operator.api.fallbackdrill import Guard
from turnout_operator.api.fallbackdrill_status import DrillPhase
from turnout_operator.drills import progress
from turnout_operator.drills.expected import Expected
from turnout_operator.drills.verdict import Demands, Interruption
from turnout_operator.identity import Identity
from turnout_sidecar.policy.report import DrillEvidence, DrillOrder, Report
from turnout_sidecar.policy.units import Millis

LIVING = 10_000
"""Milliseconds after its last report that a sidecar counts as reporting; it reports each second, each five when we were away."""
Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """One life of a sidecar's process, as of its last report."""

    name: str
    """For people: its pod, or its account, and the end of its epoch."""
    identity: str
    namespace: str
    policy_version: str
    seen: int


@dataclass(slots=True, kw_only=True)
class Running:
    """A drill that this leader drives."""

    key: Key
    uid: str
    route: Key
    pools: frozenset[str]
    phase: DrillPhase
    """As this leader last wrote it."""
    order: DrillOrder
    identities: frozenset[str]
    run: progress.Run
    expected: Expected
    demands: Demands
    guards: tuple[Guard, ...]
    route_generation: int
    policy_version: str
    injected: int
    ordered: bool = False
    """Sidecars are told to inject. Only ever True after the phase Injecting is written."""
    evidence: dict[str, DrillEvidence] = field(default_factory=dict)
    stop: Interruption | None = None
    stopped: int | None = None
    abort_latency: Millis | None = None
    reverting_since: int | None = None


class Rehearsing:
    """All of it. Times are Unix milliseconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sidecars: dict[str, Sidecar] = {}
        self._crowd = 64
        self._running: dict[Key, Running] = {}
        self._foreign: dict[Key, frozenset[str]] = {}

    # From reports

    def heard(self, identity: Identity, report: Report, now: int) -> tuple[Key, ...]:
        """Takes up a report; the drills that it tells of."""
        epoch = report.epoch.epoch
        name = f"{identity.pod or identity.service_account}/{epoch[-6:]}"
        with self._lock:
            if report.epoch.final:
                self._sidecars.pop(epoch, None)
            else:
                self._sidecars[epoch] = Sidecar(
                    name=name,
                    identity=identity.key,
                    namespace=identity.namespace,
                    policy_version=report.policy_version,
                    seen=now,
                )
            if len(self._sidecars) > self._crowd:  # pods come and go, and nobody may ask for the living for months
                self._bury(now)
                self._crowd = 2 * len(self._sidecars) + 64
            told = {evidence.run: evidence for evidence in report.drills}
            drills = [d for d in self._running.values() if d.uid in told and identity.key in d.identities]
            for drill in drills:
                self._note(drill, name, told[drill.uid], now)
            return tuple(d.key for d in drills)

    def _note(self, drill: Running, sidecar: str, evidence: DrillEvidence, now: int) -> None:
        drill.evidence[sidecar] = evidence
        if drill.stopped is None or drill.ordered or drill.abort_latency is not None:
            return
        if progress.fault_gone(drill.run, drill.evidence):
            drill.abort_latency = Millis(now - drill.stopped)

    def orders(self, identity: Identity, now: int) -> tuple[DrillOrder, ...]:
        """What this sidecar is to inject, with what is left of each fault's time."""
        with self._lock:
            return tuple(
                msgspec.structs.replace(d.order, remaining=Millis(d.run.fault_ends - now))
                for d in self._running.values()
                if d.ordered and identity.key in d.identities and now < d.run.fault_ends
            )

    def living(self, namespace: str, now: int) -> tuple[Sidecar, ...]:
        """The namespace's sidecars, by name."""
        with self._lock:
            self._bury(now)
            return tuple(sorted((s for s in self._sidecars.values() if s.namespace == namespace), key=lambda s: s.name))

    def _bury(self, now: int) -> None:
        for epoch in [e for e, s in self._sidecars.items() if now - s.seen > LIVING]:
            del self._sidecars[epoch]

    # From reconciles

    def get(self, key: Key) -> Running | None:
        with self._lock:
            return self._running.get(key)

    def claim(self, drill: Running) -> str:
        """Registers a drill unless another one is under way on one of its pools; the other's name, or empty."""
        with self._lock:
            busy = self._busy(drill.key, drill.pools)
            if not busy:
                self._running[drill.key] = drill
            return busy

    def busy(self, key: Key, pools: frozenset[str]) -> str:
        """A drill other than `key` that is under way on one of these pools, as namespace/name; empty where none is."""
        with self._lock:
            return self._busy(key, pools)

    def _busy(self, key: Key, pools: frozenset[str]) -> str:
        taken = {**self._foreign, **{k: d.pools for k, d in self._running.items()}}
        return next(("/".join(other) for other in sorted(taken) if other != key and taken[other] & pools), "")

    def change(self, key: Key, do: Callable[[Running], None]) -> None:
        """Changes a running drill under the lock; nothing where it is gone."""
        with self._lock:
            if key in self._running:
                do(self._running[key])

    def evidence(self, key: Key) -> dict[str, DrillEvidence]:
        """A copy of what was told so far."""
        with self._lock:
            return dict(self._running[key].evidence) if key in self._running else {}

    def foreign(self, key: Key, pools: frozenset[str]) -> None:
        """A drill of an earlier leader whose fault may still stand on these pools."""
        with self._lock:
            self._foreign[key] = pools

    def forget(self, key: Key) -> None:
        with self._lock:
            self._running.pop(key, None)
            self._foreign.pop(key, None)

    def clear(self) -> None:
        """No drill is ordered any more: whoever leads next reverts what was running."""
        with self._lock:
            self._running.clear()
            self._foreign.clear()

    @property
    def count(self) -> int:
        with self._lock:
            return len(self._running)

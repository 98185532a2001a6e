"""The breaker of one pool's model: open means traffic stopped, half-open means probing.

It outlives policies, so that a push does not send a herd at a sick provider. Envoy's outlier detection ignores what a
body says, has no half-open and panics on a cluster of one host, so health is judged here.
"""

from enum import StrEnum

from turnout_sidecar.policy.model import Health
from turnout_sidecar.policy.units import Millis


class State(StrEnum):
    CLOSED = "Closed"
    OPEN = "Open"
    HALF_OPEN = "HalfOpen"


class Breaker:
    __slots__ = ("_failures", "_health", "_open_for", "_opened", "_passed", "_probing", "state")

    def __init__(self, health: Health) -> None:
        self._health = health
        self.state = State.CLOSED
        self._failures = 0
        self._open_for = health.open_for
        self._opened = Millis(0)
        self._probing = 0
        self._passed = 0

    def configure(self, health: Health) -> None:
        """Takes new numbers; the state stays."""
        self._health = health
        self._open_for = Millis(max(health.open_for, min(self._open_for, health.max_open_for)))

    def would_admit(self, now: Millis) -> bool:
        """Whether `admit` would say yes; changes nothing."""
        if self.state is State.CLOSED:
            return True
        if self.state is State.OPEN:
            return now - self._opened >= self._open_for
        return self._probing < self._health.half_open_probes

    def admit(self, now: Millis) -> bool:
        """Whether an attempt may start. Each yes is answered by exactly one `succeeded`, `failed` or
        `left`, with `probe` as `half_open` was right after the yes."""
        if self.state is State.CLOSED:
            return True
        if not self.would_admit(now):
            return False
        if self.state is State.OPEN:
            self.state = State.HALF_OPEN
            self._probing = self._passed = 0
        self._probing += 1
        return True

    @property
    def half_open(self) -> bool:
        return self.state is State.HALF_OPEN

    def succeeded(self, *, probe: bool) -> None:
        self._failures = 0
        if probe and self.state is State.HALF_OPEN:
            self._probing -= 1
            self._passed += 1
            if self._passed >= self._health.half_open_probes:
                self.state = State.CLOSED
                self._open_for = self._health.open_for

    def failed(self, now: Millis, *, probe: bool) -> None:
        if probe and self.state is State.HALF_OPEN:
            self._open_for = Millis(min(self._open_for * 2, self._health.max_open_for))
            self._open(now)
        elif self.state is State.CLOSED:
            self._failures += 1
            if self._failures >= self._health.consecutive_failures:
                self._open(now)
        # else a straggler that started before the breaker opened: it says nothing new

    def left(self, *, probe: bool) -> None:
        """The attempt ended without a word on health: the client went, or the provider only asked for patience."""
        if probe and self.state is State.HALF_OPEN:
            self._probing -= 1

    def _open(self, now: Millis) -> None:
        self.state = State.OPEN
        self._opened = now
        self._failures = 0

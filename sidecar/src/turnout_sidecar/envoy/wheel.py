"""A timer wheel of 20 ms ticks: arming is a list append, and nothing wakes for a request that ends before its deadline.

The worker arms, Envoy's main thread turns. A heap with a condition variable cost a third of the throughput, because its thread woke
for every request. An alarm that moves on (a stall deadline does with each chunk) stays where it lies and is looked at when its tick
comes.
"""

import threading
from typing import Protocol

from turnout_sidecar.policy.units import Millis

TICK = 20
"""Milliseconds; an alarm comes up to so much late, never early."""

HORIZON = 50
"""Ticks. What is due later is looked at by then and put further on: at thousands of requests a second, those that have ended would
else lie in the wheel until deadlines far behind them."""


class Alarmed(Protocol):
    due: Millis | None
    """When to ring; None for never. Written by the worker."""
    slot: int | None
    """The tick at which the wheel will look at it. Written by the wheel."""


class Wheel:
    """Thread-safe. `asleep` tells the shell whether somebody must start turning it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[int, list[Alarmed]] = {}
        self._position = 0
        self._asleep = True

    def arm(self, one: Alarmed, at: Millis) -> bool:
        """`one` will be looked at no later than the tick after `at`. True: the wheel slept and must be turned again."""
        one.due = at
        slot = at // TICK + 1
        seen = one.slot
        if seen is not None and seen <= slot:
            return False
        with self._lock:
            self._put(one, slot)
            asleep, self._asleep = self._asleep, False
        return asleep

    def disarm(self, one: Alarmed) -> None:
        """It rings no more. The wheel lets go of it when its tick comes, which `HORIZON` keeps near."""
        one.due = None

    def _put(self, one: Alarmed, slot: int) -> None:
        slot = min(max(slot, self._position + 1), self._position + HORIZON)
        one.slot = slot
        lying = self._slots.get(slot)
        if lying is None:
            self._slots[slot] = [one]
        else:
            lying.append(one)

    def turn(self, now: Millis) -> list[Alarmed]:
        """Those whose alarm rings. They are out of the wheel then; who was armed for later meanwhile is put back."""
        to = now // TICK
        ringing: list[Alarmed] = []
        with self._lock:
            for slot in sorted(s for s in self._slots if s <= to):
                for one in self._slots.pop(slot):
                    if one.slot == slot:  # else it was armed for an earlier tick since
                        self._look(one, now, ringing)
            self._position = max(self._position, to)
        return ringing

    def sleep_if_empty(self) -> bool:
        """True: nothing is armed, and `arm` will say so when that changes."""
        with self._lock:
            self._asleep = not self._slots
            return self._asleep

    def _look(self, one: Alarmed, now: Millis, ringing: list[Alarmed]) -> None:
        one.slot = None
        due = one.due
        if due is None:
            return
        if due <= now:
            ringing.append(one)
            return
        self._put(one, due // TICK + 1)

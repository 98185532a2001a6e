"""When to report: each second, at need at once, one call at a time, and less often while the control plane does not answer.

Pure: the shell asks, sends, and tells what came of it. Times are monotonic milliseconds.
"""

import random

from turnout_sidecar.policy.units import Millis

SLOWEST = 5_000
"""Reports go on while the control plane is away: that is how its return is noticed. It has all sidecars to answer then."""
CLOSEST = 5
"""Milliseconds between two calls at need, so that a burst of empty accounts is one report."""
WAITED_FOR = 100
"""Milliseconds to the next call while a request waits for money: others may have been asked to return some."""
TIMEOUT = 2_000


class Reporting:
    def __init__(self, interval: Millis, rng: random.Random) -> None:
        self._interval = interval
        self._rng = rng
        self._in_flight = False
        self._needed = False
        self._failures = 0

    def timer(self) -> bool:
        """The timer fired: is a report to be sent? Not while one is on its way; its end asks again."""
        return not self._in_flight

    def need(self) -> Millis | None:
        """Somebody lacks money: the delay until the timer is to fire, or None when a call on its way comes first."""
        if self._in_flight:
            self._needed = True
            return None
        return Millis(CLOSEST)

    def sent(self) -> None:
        self._in_flight = True
        self._needed = False

    def done(self, *, answered: bool, waited_for: bool = False) -> Millis:
        """The call ended: the delay until the next one. `waited_for`: and a request still waits for money."""
        self._in_flight = False
        if answered:
            self._failures = 0
            usual = Millis(min(self._interval, WAITED_FOR)) if waited_for else self._interval
            return Millis(CLOSEST) if self._needed else usual
        self._failures += 1
        pause = min(SLOWEST, self._interval * 2 ** min(self._failures - 1, 10))
        return Millis(round(pause * self._rng.uniform(0.75, 1.0)))

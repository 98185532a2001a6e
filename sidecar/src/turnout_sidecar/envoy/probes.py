"""Sends a drill's probes to the sidecar's own internal listener: they take the whole way that a client's request takes.

Pure but for what it is handed: a way to start a call, a way to be called again, two clocks. Main thread only.
"""

from collections.abc import Callable

from turnout_sidecar.core.drills import Rehearsals
from turnout_sidecar.core.host import Headers
from turnout_sidecar.core.probe import Probe, ProbeAnswer
from turnout_sidecar.policy.units import Millis

AUTHORITY = b"turnout-self"
SOONEST = 1

Dial = Callable[[Headers, bytes, Millis], int | None]
"""Starts a call with these headers, body and timeout; its id, or None where it could not be started."""


class Probes:
    def __init__(
        self,
        rehearsals: Rehearsals,
        *,
        dial: Dial,
        arm: Callable[[int], None],
        now: Callable[[], Millis],
        wall: Callable[[], int],
    ) -> None:
        """`arm` has `turn` called after so many milliseconds, replacing what was armed before."""
        self._rehearsals = rehearsals
        self._dial = dial
        self._arm = arm
        self._now = now
        self._wall = wall
        self._open: dict[int, Probe] = {}
        self._dialling = False
        self._early: dict[int, ProbeAnswer] = {}

    def turn(self) -> None:
        """Sends what is due and says when to be called again. Call it as well whenever orders may have changed."""
        for probe in self._rehearsals.due(self._now(), self._wall()):
            self._send(probe)
        now = self._now()
        at = self._rehearsals.next_at(now)
        if at is not None:
            self._arm(max(SOONEST, at - now))

    def called(self, call: int, status: int, head: bytes, body: bytes) -> bool:
        """A call ended; True when it was a probe's. `status` 0: no answer came. `head` is packed: key NUL value NUL."""
        answer = _answer(status, head, body)
        probe = self._open.pop(call, None)
        if probe is not None:
            self._rehearsals.answered(probe, answer, self._now())
            self.turn()
            return True
        if self._dialling:  # Envoy may end a call inside the one that starts it
            self._early[call] = answer
        return self._dialling

    def _send(self, probe: Probe) -> None:
        head: Headers = (
            (b":method", b"POST"),
            (b":path", probe.path),
            (b"host", AUTHORITY),
            (b"content-length", b"%d" % len(probe.body)),
            *probe.headers,
        )
        self._dialling = True
        try:
            call = self._dial(head, probe.body, probe.timeout)
        finally:
            self._dialling = False
        early = self._early.pop(call, None) if call is not None else None
        self._early.clear()
        if call is None:
            unsent = ProbeAnswer(failure="the sidecar could not call its own listener", sent=False)
            self._rehearsals.answered(probe, unsent, self._now())
        elif early is not None:
            self._rehearsals.answered(probe, early, self._now())
        else:
            self._open[call] = probe


def _answer(status: int, head: bytes, body: bytes) -> ProbeAnswer:
    if not status:
        return ProbeAnswer(failure="reset, or not in time")
    parts = head.decode("latin-1").split("\0")[:-1]
    return ProbeAnswer(status=status, headers=dict(zip(parts[::2], parts[1::2], strict=True)), body=body)

"""The runs of drills in one sidecar: orders in, probes out, answers in, evidence out.

Rules
- A run begins at the first order that names it and never again: a re-sent order neither extends a fault nor revives one.
- A fault ends when an answer no longer orders it, or at its deadline, whichever comes first. The deadline is counted from the first
  order by the monotonic clock, and by the wall clock too, so that it also ends in time where one of them stands still.
  The overlay keeps the same deadline for itself: a fault is gone on time even when nobody calls in here.
- No answer at all (the operator is away) ends nothing before its deadline and begins nothing.
- Evidence is cumulative and bounded. It is told until the operator has had time to read it.

Pure: the clocks and the source of tokens are handed in. This file does not know how a fault acts, nor how a probe travels.
"""

from enum import StrEnum
from typing import Protocol

from turnout_sidecar.core import probe as probes
from turnout_sidecar.core.probe import Probe, ProbeAnswer
from turnout_sidecar.policy.report import DrillEvidence, DrillOrder, ProbeResult
from turnout_sidecar.policy.units import Millis, NanoUSD

LONGEST = Millis(15 * 60_000)
"""No fault outlasts this, whatever an order says."""
MOST_RUNS = 4
MOST_PROBES = 100
"""Faulted probes of one run in one sidecar, and as many controls: evidence rides in every report."""
SHORTEST_INTERVAL = Millis(20)
TELL = Millis(60_000)
"""How long the evidence of a finished run is repeated."""
REMEMBER = 256
"""Runs that are over and must not begin again."""


class Tokens(Protocol):
    """The two secrets of one run. They are made here, leave the sidecar never, and are worth nothing after the run."""

    @property
    def fault(self) -> str: ...

    @property
    def control(self) -> str: ...


class Overlay(Protocol):
    """Where faults act: `core.faults`. Everything is by the run's UID and survives a push of policies."""

    def begin(self, order: DrillOrder, deadline: Millis, now: Millis) -> Tokens | str:
        """Afterwards requests with the fault token meet the fault until `deadline` (monotonic) or `order.ends` (wall clock), and
        requests with either token are charged to `order.max_cost`. A string: why not, and nothing has changed."""
        ...

    def active(self, run: str, now: Millis) -> bool:
        """Whether a request with the fault token would meet the fault."""
        ...

    def lift(self, run: str) -> None:
        """No request meets the fault any more; the control token still leads to the run's allowance."""
        ...

    def end(self, run: str) -> None:
        """Both tokens are void."""
        ...

    def spent(self, run: str) -> NanoUSD: ...


class State(StrEnum):
    """What `DrillEvidence.state` may say."""

    INJECTING = "Injecting"
    OBSERVING = "Observing"
    """every probe is answered, the fault still stands"""
    REVERTED = "Reverted"
    REFUSED = "Refused"


class _Run:
    """One run while the sidecar knows it."""

    __slots__ = (
        "asked",
        "began",
        "deadline",
        "finished",
        "lifted",
        "next_at",
        "open",
        "order",
        "ordered",
        "recovered",
        "refused",
        "samples",
        "spent",
        "tokens",
    )

    def __init__(self, order: DrillOrder, now: Millis) -> None:
        self.order = order
        self.began = now
        self.deadline = Millis(now + min(order.remaining, LONGEST))
        self.next_at = now
        self.asked = 0
        self.open: dict[tuple[int, bool, bool], Millis] = {}
        self.samples: list[ProbeResult] = []
        self.tokens: Tokens | None = None
        self.refused = ""
        self.ordered = True
        self.lifted: Millis | None = None
        self.recovered: Millis | None = None
        self.finished: Millis | None = None
        self.spent = NanoUSD(0)

    @property
    def wanted(self) -> int:
        """Requests to send while the fault stands: a control and a faulted one for each number."""
        return 2 * min(max(self.order.probes, 0), MOST_PROBES)

    @property
    def pause(self) -> int:
        """Between two requests: the interval is from one faulted probe to the next, its control stands in the middle."""
        return max(self.order.interval, SHORTEST_INTERVAL) // 2

    @property
    def recovering(self) -> bool:
        """A probe for the recovery is on its way. Those with the fault may be too: a slow one does not delay the look for recovery."""
        return any(recovery for _, _, recovery in self.open)

    @property
    def recovery_ends(self) -> Millis:
        """Until when the run looks for its recovery."""
        assert self.lifted is not None, "a run recovers after its fault"
        return Millis(self.lifted + self.order.recovery)

    def since(self, now: int) -> Millis:
        return Millis(now - self.began)


class Rehearsals:
    """Every run of this sidecar. One thread calls in here; `now` is monotonic and `wall` Unix milliseconds."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay
        self._runs: dict[str, _Run] = {}
        self._over: dict[str, None] = {}

    def order(self, orders: tuple[DrillOrder, ...], now: Millis, wall: int) -> None:
        """An answer has come: runs it names that are new begin, runs it does not name revert."""
        named = {order.run for order in orders}
        for uid, run in self._runs.items():
            run.ordered = uid in named
            if not run.ordered:
                self._lift(run, now)
        for order in orders:
            if order.run not in self._runs and order.run not in self._over:
                self._begin(order, now, wall)

    def due(self, now: Millis, wall: int) -> tuple[Probe, ...]:
        """What is to be sent now. Ends what is past its deadline first."""
        self._keep_deadlines(now, wall)
        return tuple(probe for run in self._runs.values() if (probe := self._next(run, now)) is not None)

    def answered(self, probe: Probe, answer: ProbeAnswer, now: Millis) -> None:
        """What became of a probe that `due` returned; each exactly once."""
        run = self._runs.get(probe.run)
        if run is None:
            return
        sent = run.open.pop((probe.index, probe.control, probe.recovery), None)
        assert sent is not None, "a probe is answered exactly once, and only after it was due"
        if probe.recovery:
            if probes.healthy(answer) and run.recovered is None:
                run.recovered = run.since(now)
        elif answer.sent:
            run.samples.append(probes.result(probe, answer, run.since(sent), Millis(now - sent)))
        self._finish_if_over(run, now)

    def evidence(self, now: Millis, wall: int) -> tuple[DrillEvidence, ...]:
        """For the next report."""
        self._keep_deadlines(now, wall)
        self._forget(now)
        return tuple(self._told(run, now) for run in self._runs.values())

    def next_at(self, now: Millis) -> Millis | None:
        """When `due` will have something to do or a deadline falls, None while there is no run."""
        times = [t for run in self._runs.values() if (t := self._turn(run, now)) is not None]
        return min(times, default=None)

    # One run

    def _begin(self, order: DrillOrder, now: Millis, wall: int) -> None:
        run = self._runs[order.run] = _Run(order, now)
        refusal = self._refusal(order, wall)
        if not refusal:
            tokens = self._overlay.begin(order, run.deadline, now)
            if isinstance(tokens, str):
                refusal = tokens
            else:
                run.tokens = tokens
        if refusal:
            run.refused = refusal
            run.finished = now

    def _refusal(self, order: DrillOrder, wall: int) -> str:
        if order.remaining <= 0 or order.ends <= wall:
            return "the fault's deadline had passed when the order came: the clocks of operator and sidecar may differ"
        if sum(1 for run in self._runs.values() if run.finished is None) > MOST_RUNS:
            return f"this sidecar rehearses {MOST_RUNS} runs at most at a time"
        return ""

    def _next(self, run: _Run, now: Millis) -> Probe | None:
        if run.tokens is None or run.finished is not None or now < run.next_at:
            return None
        if run.lifted is None:
            return self._faulted_or_control(run, now)
        if run.recovered is None and not run.recovering and now < run.recovery_ends:
            return self._recovery(run, now)
        return None

    def _faulted_or_control(self, run: _Run, now: Millis) -> Probe | None:
        if run.asked >= run.wanted:
            return None
        assert run.tokens is not None, "a refused run sends nothing"
        index, half = divmod(run.asked, 2)
        control = half == 0
        run.asked += 1
        run.next_at = Millis(now + run.pause)
        run.open[index, control, False] = now
        token = run.tokens.control if control else run.tokens.fault
        return probes.request(run.order, index, token, control=control)

    def _recovery(self, run: _Run, now: Millis) -> Probe:
        """As a client's request after the fault: it carries the control token for the allowance only."""
        assert run.tokens is not None, "a refused run sends nothing"
        index = run.asked
        run.asked += 1
        run.next_at = Millis(now + run.pause)
        run.open[index, True, True] = now
        return probes.request(run.order, index, run.tokens.control, control=True, recovery=True)

    def _keep_deadlines(self, now: Millis, wall: int) -> None:
        for run in self._runs.values():
            if run.lifted is None and run.tokens is not None and (now >= run.deadline or wall >= run.order.ends):
                self._lift(run, now)
            self._finish_if_over(run, now)

    def _lift(self, run: _Run, now: Millis) -> None:
        if run.tokens is None or run.lifted is not None:
            return
        self._overlay.lift(run.order.run)
        run.lifted = now
        run.next_at = now
        self._finish_if_over(run, now)

    def _finish_if_over(self, run: _Run, now: Millis) -> None:
        if run.finished is not None or run.lifted is None or run.open:
            return
        if run.recovered is not None or now >= run.recovery_ends:
            run.finished = now
            run.spent = self._overlay.spent(run.order.run)
            self._overlay.end(run.order.run)

    def _turn(self, run: _Run, now: Millis) -> Millis | None:
        if run.finished is not None:
            return None
        if run.lifted is None:
            return min(run.next_at, run.deadline) if run.asked < run.wanted else run.deadline
        if run.recovered is not None or now >= run.recovery_ends:
            return None  # only answers are waited for
        return run.recovery_ends if run.recovering else min(run.next_at, run.recovery_ends)

    def _told(self, run: _Run, now: Millis) -> DrillEvidence:
        uid = run.order.run
        return DrillEvidence(
            run=uid,
            state=self._state(run),
            fault_active=run.tokens is not None and run.finished is None and self._overlay.active(uid, now),
            samples=tuple(run.samples),
            words=run.refused,
            finished=run.finished is not None,
            fault_ended=None if run.lifted is None else run.since(run.lifted),
            recovered_at=run.recovered,
            spent=run.spent if run.finished is not None else self._overlay.spent(uid),
        )

    def _state(self, run: _Run) -> State:
        if run.tokens is None:
            return State.REFUSED
        if run.lifted is not None:
            return State.REVERTED
        return State.OBSERVING if run.asked >= run.wanted and not run.open else State.INJECTING

    def _forget(self, now: Millis) -> None:
        """A finished run is forgotten once it is neither ordered nor news; that it ran is remembered."""
        told = [
            u for u, r in self._runs.items() if r.finished is not None and not r.ordered and now - r.finished >= TELL
        ]
        for uid in told:
            del self._runs[uid]
            self._over[uid] = None
        while len(self._over) > REMEMBER:
            del self._over[next(iter(self._over))]

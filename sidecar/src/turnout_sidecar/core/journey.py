"""Where one request stands on its route: who was asked, who is next, and how the answer will say so.

The rules are `core.plan`'s; here they meet the state of one request. Nothing here is sent, held or timed.
"""

from collections.abc import Callable

from turnout_sidecar.core import plan, signals
from turnout_sidecar.core.failures import Consequence
from turnout_sidecar.core.runtime import Lane, ServedRoute
from turnout_sidecar.messages import Headers
from turnout_sidecar.policy.model import FaultClass, RespondStep, Step
from turnout_sidecar.policy.units import Millis


class Journey:
    __slots__ = (
        "_at",
        "_steps",
        "_tried",
        "attempts",
        "fault",
        "first",
        "lane",
        "path",
        "reason",
        "route",
        "step",
        "tries",
    )

    def __init__(self, route: ServedRoute, first: Lane) -> None:
        self.route = route
        self.first = first
        self.lane = first
        self.attempts = 0
        self.tries = 0  # of the present candidate
        self.fault: FaultClass | None = None  # why the first choice was left: its path governs
        self.reason = ""  # the fault class that the answer names; empty while the first choice serves
        self.step = ""
        self.path: list[str] = []
        self._steps: tuple[Step, ...] | None = None
        self._at = 0
        self._tried: set[str] = set()

    def begin(self, choices: tuple[Lane, ...], now: Millis) -> Lane | None:
        """The first of these that can be asked now; None where all their breakers are open."""
        for lane in choices:
            if lane.breaker.would_admit(now):
                return self._to(lane)
            self.lane = lane
            self._tried.add(lane.name)
            self.path.append(f"{lane.name}:{FaultClass.UNAVAILABLE}")
            self.reason = FaultClass.UNAVAILABLE
        self.path.pop()  # the last of them is left like any other
        return None

    def leave(self, fault: FaultClass, now: Millis, *, in_time: bool) -> Lane | None:
        """The present candidate cannot serve, for this reason. The next one of the path; None where its last word is due."""
        self.path.append(f"{self.lane.name}:{fault}")
        self.reason = self.reason or fault
        if self._steps is None:
            self.fault = fault
            self._steps = self.route.steps[fault]
        if not in_time or self.attempts >= self.route.policy.attempts.max:
            return None
        found = plan.next_candidate(self._steps, self._at, self._usable(now))
        if found is None:
            return None
        self._at = found[0] + 1
        return self._to(self.route.lanes[found[1]])

    def may_retry(self, what: Consequence, now: Millis) -> bool:
        """Whether the plan lets the present candidate be asked again."""
        steps = self.route.steps[what.fault] if self._steps is None else self._steps
        ahead = plan.candidates_ahead(steps, self._at, self._usable(now))
        return plan.may_retry(self.route.policy.attempts, what.retry, self.tries, self.attempts, ahead)

    def end(self) -> tuple[FaultClass, RespondStep]:
        """The declared last word of the path, and the fault that led onto it."""
        assert self._steps is not None, "a path was taken"
        assert self.fault is not None, "a path was taken for a reason"
        self.step = plan.RESPOND
        last = plan.last_word(self._steps)
        self.path.append(f"{plan.RESPOND}:{last.status}")
        return self.fault, last

    def forget(self) -> None:
        """The answer is no degradation after all: the client has to mend its request."""
        self.reason = self.step = ""

    def signal(self) -> bytes:
        """The JSON of the `turnout` field; empty while the first choice serves."""
        if not self.reason:
            return b""
        served = "" if self.step == plan.RESPOND else self.lane.name
        return signals.field(self.reason, self.step, self.first.name, served)

    def broken(self, fault: FaultClass) -> bytes:
        """The `turnout` field of the event that ends a broken stream."""
        return signals.field(fault, "error", self.first.name, self.lane.name)

    def headers(self) -> Headers:
        return signals.degraded(self.reason, self.step) if self.reason else ()

    def _to(self, lane: Lane) -> Lane:
        self.lane = lane
        self.tries = 0
        self._tried.add(lane.name)
        if self.reason:
            self.step = lane.step
        return lane

    def _usable(self, now: Millis) -> Callable[[str], bool]:
        tried, lanes = self._tried, self.route.lanes
        return lambda name: name not in tried and lanes[name].breaker.would_admit(now)

"""Where drill faults act: an overlay beside the policy, in this process only, that ends by itself.

Rules
- Keyed by the run's UID, whose deadline `core.drills` sets once; the overlay keeps it for itself, by two clocks, so that a fault is
  gone on time even when nobody calls in here.
- Only requests with a token of the run take part: the fault token meets the fault, the control token does not. Tokens are drawn here,
  leave this process only in a probe to itself, and are never sent on: requests upstream are built anew.
- What probes cost comes out of the run's own allowance, no account of the users' pays for a rehearsal.
- A fault acts where the attempt would be made, so everything after it is the real path. It touches no breaker.

Orders come on Envoy's main thread, requests are served on the worker: single dict operations and integers only.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

from turnout_sidecar.policy.model import FaultClass
from turnout_sidecar.policy.report import DrillOrder
from turnout_sidecar.policy.units import Millis, NanoUSD


class Tokens(NamedTuple):
    fault: str
    control: str


class Run:
    """One run while its tokens are worth something."""

    __slots__ = ("allowance", "candidates", "deadline", "ends", "held", "kind", "lifted", "route", "spent", "tokens")

    def __init__(self, order: DrillOrder, kind: FaultClass, tokens: Tokens, deadline: Millis) -> None:
        self.route = order.route
        self.kind = kind
        self.candidates = frozenset(order.candidates)  # empty: the request's first choice
        self.tokens = tokens
        self.deadline = deadline
        self.ends = order.ends
        self.allowance = order.max_cost
        self.lifted = False
        self.spent = 0
        self.held = 0

    def hold(self, amount: NanoUSD) -> bool:
        if self.spent + self.held + amount > self.allowance:
            return False
        self.held += amount
        return True

    def settle(self, held: NanoUSD, charge: NanoUSD) -> None:
        self.held -= held
        self.spent += charge


class Rehearsal(NamedTuple):
    """A request's part in a run. `kind` is None for a control, and once the fault has ended."""

    run: Run
    kind: FaultClass | None

    def meets(self, candidate: str, first: str) -> FaultClass | None:
        """The fault that an attempt at `candidate` meets; `first` is the request's first choice."""
        wanted = self.run.candidates
        met = candidate in wanted if wanted else candidate == first
        return self.kind if met else None


class Overlay:
    """`core.drills.Overlay`."""

    def __init__(self, rng: random.Random, wall: Callable[[], int]) -> None:
        self._rng = rng
        self._wall = wall
        self._runs: dict[str, Run] = {}
        self._tokens: dict[str, Run] = {}

    def __bool__(self) -> bool:
        """Whether a request may carry a token that is worth anything."""
        return bool(self._tokens)

    def begin(self, order: DrillOrder, deadline: Millis, now: Millis) -> Tokens | str:
        try:
            kind = FaultClass(order.fault)
        except ValueError:
            return f"this sidecar cannot inject the fault {order.fault}"
        if order.run in self._runs or now >= deadline:
            return "the run has begun already, or is over"
        tokens = Tokens(self._draw(), self._draw())
        run = self._runs[order.run] = Run(order, kind, tokens, deadline)
        self._tokens[tokens.fault] = self._tokens[tokens.control] = run
        return tokens

    def active(self, run: str, now: Millis) -> bool:
        found = self._runs.get(run)
        return found is not None and self._stands(found, now)

    def lift(self, run: str) -> None:
        if (found := self._runs.get(run)) is not None:
            found.lifted = True

    def end(self, run: str) -> None:
        found = self._runs.pop(run, None)
        if found is not None:
            for token in found.tokens:
                self._tokens.pop(token, None)

    def spent(self, run: str) -> NanoUSD:
        found = self._runs.get(run)
        return NanoUSD(0 if found is None else found.spent + found.held)

    def find(self, token: str, route: str, now: Millis) -> Rehearsal | None:
        """The part of a request that carries `token`; a token that is unknown, void or another route's is like none."""
        run = self._tokens.get(token)
        if run is None or run.route != route:
            return None
        faulted = token == run.tokens.fault and self._stands(run, now)
        return Rehearsal(run, run.kind if faulted else None)

    def _stands(self, run: Run, now: Millis) -> bool:
        return not run.lifted and now < run.deadline and self._wall() < run.ends

    def _draw(self) -> str:
        return f"{self._rng.getrandbits(128):032x}"

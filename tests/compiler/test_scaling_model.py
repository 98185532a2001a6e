"""The autoscaler that is rendered, run by Kubernetes' own algorithm against a pool whose replicas start slowly.

The algorithm is the horizontal controller's for one External metric: the wanted number from the metric, a tolerance of a tenth, then the
longest look back of each direction's window, then the policies; one decision every 15 seconds. What it scales is a queue: every replica
serves `inFlightPerReplica` requests at once, everything else waits until its route's deadline, and what is seen is in flight plus waiting.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout_operator.ir import CompiledPool, ScalingFacts
from turnout_operator.render import hpa
from turnout_sidecar.policy import model as policy
from turnout_sidecar.policy.origin import Origin
from turnout_sidecar.policy.units import Millis

SYNC = 15
TOLERANCE = 0.1
SLOTS = 32
SERVICE = 4.0
"""Seconds a request holds its slot."""
PATIENCE = 15.0
"""Seconds until a route's total deadline takes a waiting request away."""

Want = Callable[[float, int], int]


def by_average(in_flight: float, _: int) -> int:
    """AverageValue: what is there, divided by what each may have."""
    return math.ceil(in_flight / SLOTS)


def by_value(in_flight: float, replicas: int) -> int:
    """Value: the ratio to the target, times what there is already, started or not."""
    return math.ceil(replicas * in_flight / SLOTS)


@dataclass
class World:
    """A pool under its autoscaler; `history` has the wanted and the ordered number of replicas at each decision."""

    spec: dict[str, Any]
    startup: int
    want: Want = by_average
    waiting: float = 0.0
    replicas: int = 1
    ready_at: list[int] = field(default_factory=lambda: [0])
    history: list[tuple[int, int, int]] = field(default_factory=list)

    def run(self, seconds: int, arrivals: Callable[[int], float]) -> None:
        """Lives that long from where it is; `arrivals` are requests a second."""
        begin = self.history[-1][0] + SYNC if self.history else 0
        for now in range(begin, begin + seconds):
            ready = sum(1 for at in self.ready_at if at <= now)
            served = min(self.waiting, ready * SLOTS) / SERVICE
            self.waiting = max(0.0, self.waiting + arrivals(now - begin) - served)
            self.waiting = min(self.waiting, self._recent(arrivals, now - begin))
            if now % SYNC == 0:
                self._decide(now)

    @staticmethod
    def _recent(arrivals: Callable[[int], float], now: int) -> float:
        """All that came within a deadline from now: nothing older is there."""
        return sum(arrivals(now - age) for age in range(int(PATIENCE)))

    def _decide(self, now: int) -> None:
        ratio = self.waiting / (SLOTS * self.replicas)
        wanted = self.replicas if abs(ratio - 1) <= TOLERANCE else self.want(self.waiting, self.replicas)
        wanted = min(max(wanted, self.spec["minReplicas"]), self.spec["maxReplicas"])
        self.history.append((now, wanted, self.replicas))
        up, down = self.spec["behavior"]["scaleUp"], self.spec["behavior"]["scaleDown"]
        lowest = min(self._wanted_since(now - up["stabilizationWindowSeconds"]))
        highest = max(self._wanted_since(now - down["stabilizationWindowSeconds"]))
        if lowest > self.replicas:
            self._scale(now, min(lowest, self._allowed(now, up, 1)))
        elif highest < self.replicas:
            self._scale(now, max(highest, self._allowed(now, down, -1)))

    def _wanted_since(self, moment: int) -> list[int]:
        return [wanted for at, wanted, _ in self.history if at >= moment]

    def _allowed(self, now: int, rules: dict[str, Any], sign: int) -> int:
        (limit,) = rules["policies"]
        before = next(n for at, _, n in self.history if at > now - limit["periodSeconds"])
        return int(before + sign * limit["value"])

    def _scale(self, now: int, replicas: int) -> None:
        self.ready_at = sorted(self.ready_at)[:replicas]
        self.ready_at += [now + self.startup] * (replicas - len(self.ready_at))
        self.replicas = replicas

    @property
    def peak(self) -> int:
        return max(n for _, _, n in self.history)


def _world(startup: int, most: int, want: Want = by_average) -> World:
    pool = CompiledPool(
        policy=policy.Pool(
            origin=Origin(kind="ProviderPool", namespace="llm", name="vllm"),
            key="llm/vllm",
            dialect=policy.Dialect.OPENAI,
            endpoints=(),
            models=(),
            health=policy.Health(
                consecutive_failures=5, open_for=Millis(1), half_open_probes=1, max_open_for=Millis(1)
            ),
            abort=policy.AbortBilling.STOPS,
        ),
        destinations=(),
        quota=(),
        scaling=ScalingFacts(
            api_version="apps/v1",
            kind="Deployment",
            name="vllm",
            min_replicas=1,
            max_replicas=most,
            in_flight_per_replica=SLOTS,
            startup=Millis(startup * 1000),
        ),
    )
    made = hpa.autoscaler(pool)
    assert made is not None
    return World(spec=made["spec"], startup=startup, want=want)


def _ideal(rate: float) -> int:
    return math.ceil(rate * SERVICE / SLOTS)


@settings(max_examples=12, deadline=None)
@given(startup=st.integers(10, 600), ideal=st.integers(1, 8))
def test_a_steady_load_is_met_and_then_left_alone(startup: int, ideal: int) -> None:
    rate = 0.95 * ideal * SLOTS / SERVICE
    world = _world(startup, most=10)
    world.run(8 * 3600, lambda _: rate)
    settled = [n for at, _, n in world.history if at > 6 * 3600]

    assert _ideal(rate) <= settled[-1] <= _ideal(rate) + 1
    assert len(set(settled)) == 1


@pytest.mark.parametrize("startup", [60, 120, 600])
def test_a_burst_that_is_over_before_a_replica_could_help_asks_for_none(startup: int) -> None:
    world = _world(startup, most=10)
    world.run(1800, lambda _: 4.0)
    world.run(1800, lambda second: 26 * 4.0 if second == 60 else 4.0)

    assert world.peak == 1


@pytest.mark.parametrize("startup", [120, 600])
def test_slow_replicas_do_not_compound_as_they_do_under_a_value_target(startup: int) -> None:
    def doubled(second: int) -> float:
        return 12.0 if second > 600 else 6.0

    ours, compounding = _world(startup, most=1000), _world(startup, most=1000, want=by_value)
    for world in (ours, compounding):
        world.run(3 * 3600, doubled)

    assert compounding.peak >= 100
    assert ours.peak <= 3 * _ideal(12.0)


def test_it_goes_down_one_replica_at_a_time_after_a_long_look_back() -> None:
    world = _world(120, most=10)
    world.run(2 * 3600, lambda _: 0.95 * 6 * SLOTS / SERVICE)
    high = world.replicas
    fell = world.history[-1][0]
    world.run(2 * 3600, lambda _: 1.0)
    after = [(at, n) for at, _, n in world.history if at > fell]

    assert high >= 6
    assert next(at for at, n in after if n < high) - fell >= 600
    assert all(earlier[1] - later[1] <= 1 for earlier, later in itertools.pairwise(after))
    assert after[-1][1] == 1

"""What every exchange shares: owned by the engine, handed to each exchange. Chance and the wall clock come in by here."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from turnout_sidecar.core.budget import Book
from turnout_sidecar.core.faults import Overlay
from turnout_sidecar.core.parking import Parking
from turnout_sidecar.messages import ClientDialect
from turnout_sidecar.metrics import Discard, MetricSink
from turnout_sidecar.policy.units import Millis

FRESH = Millis(60_000)
"""How long a cluster that could not be asked counts as failing: longer than a breaker stays open at first."""

if TYPE_CHECKING:
    from turnout_sidecar.core.exchange import Exchange


def _nobody(_exchange: "Exchange") -> None:
    """No shell: nobody is parked for long where nobody turns the clock."""


@dataclass(slots=True)
class Services:
    dialect: ClientDialect
    book: Book
    overlay: Overlay
    rng: random.Random
    wall: Callable[[], int]
    """Unix milliseconds"""
    metrics: MetricSink = field(default_factory=Discard)
    on_need: Callable[[], None] = lambda: None
    """a report to the lease service now would help somebody"""
    wake: "Callable[[Exchange], None]" = _nobody
    """have `on_alarm` of a parked exchange called soon; callable on any thread"""
    parking: "Parking[Exchange]" = field(default_factory=Parking)
    open: "set[Exchange]" = field(default_factory=set)
    failing: dict[str, Millis] = field(default_factory=dict)
    """clusters that could not even be asked, and when that was last so"""
    holds: int = 0
    """attempts whose money is neither settled nor released"""

    def clusters_failing(self, now: Millis) -> tuple[str, ...]:
        """Those that failed of late: one that nobody asks any more cannot prove that it is well again."""
        return tuple(sorted(c for c, at in list(self.failing.items()) if now - at < FRESH))

    def freed(self, accounts: tuple[str, ...]) -> None:
        """Money came back to these accounts: whoever waits for it tries again."""
        if self.parking:
            for exchange in self.parking.take(accounts):
                self.wake(exchange)

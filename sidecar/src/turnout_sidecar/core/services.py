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
    holds: int = 0
    """attempts whose money is neither settled nor released"""

    def freed(self, accounts: tuple[str, ...]) -> None:
        """Money came back to these accounts: whoever waits for it tries again."""
        if self.parking:
            for exchange in self.parking.take(accounts):
                self.wake(exchange)

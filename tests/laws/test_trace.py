"""A dollar on a real trace: several sidecars, late and lost messages, far more in flight than the budget holds. In simulated time.

Arrivals and token counts are Azure's (examples/traces), ten times as fast and again from the start until the money is gone. Whoever charges
after the answer spends $2.66 of this dollar.
"""

import asyncio
import csv
import heapq
import itertools
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from turnout_operator.identity import Identity
from turnout_operator.ir import QuotaLimit, Window
from turnout_operator.quota import limits
from turnout_operator.quota.lane import Pace
from turnout_operator.quota.memory import MemoryStore
from turnout_operator.quota.service import LeaseService
from turnout_sidecar.core.budget import Book, Hold, ShortfallKind
from turnout_sidecar.policy.model import Price, Scope
from turnout_sidecar.policy.pricing import attempt_bound
from turnout_sidecar.policy.report import WIRE, Answer, Report
from turnout_sidecar.policy.units import Millis, NanoUSD, PicoUSD, Tokens

TRACE = Path(__file__).parents[2] / "examples/traces/azure-llm-2023-chat.csv"
NOON = 1_795_262_400_000
DOLLAR = NanoUSD(10**9)
ACCOUNT = "shop/route:chat/tenant/acme"
PRICE = Price(
    input=PicoUSD(2_500_000),
    output=PicoUSD(10_000_000),
    cached_input=PicoUSD(2_500_000),
    cache_write_5m=PicoUSD(2_500_000),
    cache_write_1h=PicoUSD(2_500_000),
)
CAP = Tokens(1_024)
MILLIS_PER_TOKEN = 20
HOLD_WAIT = {ShortfallKind.HELD: 250, ShortfallKind.NO_LEASE: 500, ShortfallKind.EXHAUSTED: 0}


class Outcome(NamedTuple):
    charged: int
    charged_when_first_exhausted: int | None
    served: int
    held: int
    exhausted: int


class Bed:
    """Events in simulated milliseconds; the ledger answers at once, the way there and back takes its time."""

    def __init__(self, seed: int, *, sidecars: int = 2, speed: int = 10) -> None:
        self.rng = random.Random(seed)
        self.now = 0
        self.speed = speed
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.loop = asyncio.new_event_loop()
        self.service = LeaseService(MemoryStore(), pace=Pace(linger=0, spacing=0, backoff=0))
        limit = QuotaLimit(
            account="shop/route:chat/tenant",
            name="tenant",
            scope=Scope.TENANT,
            amount=DOLLAR,
            window=Window.DAY,
            time_zone="UTC",
        )
        self.service.set_limits(limits.everywhere([limit]))
        self.books = [Book(epoch=f"e{i}") for i in range(sidecars)]
        self.reporting = [False] * sidecars
        self.charged = self.served = self.held = self.exhausted = 0
        self.first_exhausted: int | None = None

    def run(self, seconds: int) -> Outcome:
        for index in range(len(self.books)):
            self._at(index * 137, partial(self._tick, index))
        self._arrivals(seconds * 1_000)
        while self.events and self.now < seconds * 1_000:
            self.now, _, event = heapq.heappop(self.events)
            event()
            assert self.charged <= DOLLAR, "the provider charged more than the limit"
        self.loop.close()
        return Outcome(self.charged, self.first_exhausted, self.served, self.held, self.exhausted)

    def _arrivals(self, until: int) -> None:
        rows = [
            (int(r["offset_ms"]), int(r["input_tokens"]), int(r["output_tokens"])) for r in csv.DictReader(TRACE.open())
        ]
        length = rows[-1][0] + 250
        for lap in itertools.count():
            for offset, tokens_in, tokens_out in rows:
                at = (lap * length + offset) // self.speed
                if at >= until:
                    return
                self._at(at, partial(self._request, tokens_in, tokens_out, at))

    def _request(self, tokens_in: int, tokens_out: int, since: int) -> None:
        index = self.rng.randrange(len(self.books))
        self._try(index, tokens_in, min(tokens_out, CAP), since)

    def _try(self, index: int, tokens_in: int, tokens_out: int, since: int) -> None:
        bound = attempt_bound(PRICE, Tokens(tokens_in), CAP)
        hold = self.books[index].hold(((ACCOUNT, bound),), Millis(self.now))
        if isinstance(hold, Hold):
            cost = attempt_bound(PRICE, Tokens(tokens_in), Tokens(tokens_out))
            self._at(self.now + 300 + tokens_out * MILLIS_PER_TOKEN, lambda: self._finish(index, hold, cost))
            return
        if self.now - since < HOLD_WAIT[hold.kind]:
            self._at(self.now + 25, lambda: self._try(index, tokens_in, tokens_out, since))
        elif hold.kind is ShortfallKind.EXHAUSTED:
            self.exhausted += 1
            self.first_exhausted = self.charged if self.first_exhausted is None else self.first_exhausted
        else:
            self.held += 1
        if self.books[index].urgent:
            self._report(index)

    def _finish(self, index: int, hold: Hold, cost: NanoUSD) -> None:
        self.charged += cost
        self.served += 1
        self.books[index].settle(hold, cost)

    def _tick(self, index: int) -> None:
        self._report(index)
        self._at(self.now + 1_000, lambda: self._tick(index))

    def _report(self, index: int) -> None:
        """One at a time, as the sidecar's shell does it; one in fifty is lost on its way."""
        if self.reporting[index]:
            return
        self.reporting[index] = True
        report = Report(wire=WIRE, sequence=self.now, epoch=self.books[index].report(Millis(self.now)))
        self._at(self.now + self.rng.randint(2, 20), lambda: self._arrive(index, report))

    def _arrive(self, index: int, report: Report) -> None:
        answer = None
        if self.rng.random() > 0.02:
            identity = Identity(namespace="shop", service_account="gateway", pod_uid=f"pod-{index}")
            answer = self.loop.run_until_complete(self.service.report(identity, report, NOON + self.now))
        self._at(self.now + self.rng.randint(12, 40), lambda: self._answered(index, answer))

    def _answered(self, index: int, answer: Answer | None) -> None:
        self.reporting[index] = False
        if answer is not None:
            self.books[index].apply(answer.grants, Millis(self.now))

    def _at(self, when: int, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), what))


@pytest.mark.parametrize(("sidecars", "seed"), [(2, 0), (2, 1), (2, 2), (4, 3), (16, 4)])
def test_a_dollar_is_never_overspent_and_nine_tenths_of_it_are_usable(sidecars: int, seed: int) -> None:
    outcome = Bed(seed, sidecars=sidecars).run(120)
    assert outcome.charged <= DOLLAR
    assert outcome.charged_when_first_exhausted is not None
    assert outcome.charged_when_first_exhausted >= 0.9 * DOLLAR

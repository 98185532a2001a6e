"""The promise on real parts: whatever is killed, frozen or cut off, no account's bill passes its limit.

Two sidecars and two operators under the chart's rights spend the money of several accounts at once while a seeded schedule takes them,
the API server and the network between them away. The judge is the stand-in provider's own bill, which shares no code with the product.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import pytest

from turnout_operator.sim import keys
from turnout_testing import waiting
from turnout_testing.installation import NotUpError, OperatorReplica, Sidecar
from turnout_testing.roads import Road, Roads
from turnout_testing.traffic import Mix, Traffic

from .conftest import DEEP, FAST, NANO, PATIENCE, POOLS, ROUTES, Bed, limit, pool, route

pytestmark = pytest.mark.apiserver

TENANTS = ("acme", "a/b", "a%2Fb", "-")
"""Two of them look alike once they are encoded, and one is called what nobody is called."""
LIMITS = {"chat": "0.40", "bulk": "0.05", "tenant": "0.15", "fast": "0.20", "left": "0.40", "calm": "0.15"}
"""Two are asked only when the chaos is over, so that what it overcharges hides nothing: `left` by clients that leave, and of `calm` is seen how
much of a limit can be used."""
CALM = f"{ROUTES}/route:calm/all/-"
FAULTS: list[tuple[float, list[dict[str, Any]]]] = [
    (0.03, [{"reset": {"at": "BeforeHead"}}]),
    (0.03, [{"reset": {"at": "AfterChunks", "chunks": 7}}]),
    (0.02, [{"hang": {"at": "BeforeHead"}}]),
    (0.02, [{"hang": {"at": "AfterChunks", "chunks": 5}}]),
    (0.03, [{"cut": {"chunks": 9, "ending": "Closed"}}]),
    (0.03, [{"cut": {"chunks": 3, "ending": "Clean"}}]),
    (0.03, [{"status": {"code": 503}}]),
    (0.02, [{"status": {"code": 429, "retryAfter": "1s"}}]),
    (0.03, [{"errorEvent": {"chunks": 4}}]),
    (0.03, [{"malformed": {"chunk": 3}}]),
    (0.05, [{"usage": "Missing"}]),
    (0.05, [{"usage": "Zero"}]),
    (0.05, [{"usage": "Contradictory"}]),
    (0.03, [{"missingDone": True}]),
]


def script(seed: int) -> dict[str, Any]:
    """Each fault for its share of the requests; rules are asked in order, so a later share is of what the earlier ones left."""
    return {"seed": seed, "rules": [{"match": {"share": share}, "effects": effects} for share, effects in FAULTS]}


@dataclass
class Judge:
    """Compares the bill with every account's limit, again and again, on a thread of its own."""

    bed: Bed
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    looks: int = 0
    verdict: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="judge", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()

    def limits(self) -> dict[str, int]:
        """Nano-USD by account, for as many windows as the test has seen begin."""
        windows = 1 + (datetime.now(UTC).month != self.begun.month)
        nano = {name: windows * int(float(dollars) * NANO) for name, dollars in LIMITS.items()}
        accounts = {
            f"{ROUTES}/route:chat/all/-": nano["chat"],
            f"{ROUTES}/route:bulk/all/-": nano["bulk"],
            f"{ROUTES}/route:left/all/-": nano["left"],
            CALM: nano["calm"],
            f"{POOLS}/pool:fast/all/-": nano["fast"],
        }
        return accounts | {f"{ROUTES}/route:chat/each/{subject}": nano["tenant"] for subject in SUBJECTS}

    def bills(self) -> dict[str, int]:
        """What the provider charged, by the account that has to pay."""
        bill = self.bed.sim.bill()
        by_model = dict.fromkeys(("chat", "bulk", "left", "calm"), 0)
        by_tenant = dict.fromkeys(TENANTS, 0)
        for line in bill.lines:
            model, _, tenant = line.tag.partition(".")
            by_model[model] += line.cost_nano_usd
            if model == "chat":
                by_tenant[tenant] += line.cost_nano_usd
        accounts = {f"{ROUTES}/route:{model}/all/-": cost for model, cost in by_model.items()}
        accounts[f"{POOLS}/pool:fast/all/-"] = bill.of(key=keys.name(FAST)).cost_nano_usd
        tenants = {f"{ROUTES}/route:chat/each/{SUBJECTS[TENANTS.index(t)]}": c for t, c in by_tenant.items()}
        assert bill.cost_nano_usd == sum(bill.of(key=keys.name(key)).cost_nano_usd for key in (FAST, DEEP))
        return accounts | tenants

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            bills, limits = self.bills(), self.limits()
            self.looks += 1
            over = {account: (cost, limits[account]) for account, cost in bills.items() if cost > limits[account]}
            if over and not self.verdict:
                self.verdict = f"billed above the limit: {over}"


SUBJECTS = ("acme", "a%2Fb", "a%252Fb", "%2D")


class Kubelet:
    """Starts operators that have ended, as a Deployment's pods are: who loses the lead ends itself. A context manager."""

    def __init__(self, replicas: list[OperatorReplica]) -> None:
        self._replicas = replicas
        self._stop = threading.Event()
        self._here = threading.Event()
        self._here.set()
        self._thread = threading.Thread(target=self._watch, name="kubelet", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._here.set()
        self._thread.join()

    @contextmanager
    def away(self) -> Iterator[None]:
        """What ends meanwhile stays down until after the block."""
        self._here.clear()
        try:
            yield
        finally:
            self._here.set()

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            for replica in self._replicas:
                if self._here.is_set() and replica.process.pid is None:
                    with suppress(NotUpError):  # it may be killed again before it is ready
                        replica.start()


@dataclass(frozen=True)
class World:
    bed: Bed
    kubelet: Kubelet
    sidecars: tuple[Sidecar, Sidecar]
    roads: dict[str, dict[int, Road]]
    """by sidecar, then by the operator's port"""
    traffic: Traffic
    rng: random.Random

    def served_meanwhile(self, requests: int) -> None:
        """Lets so many requests end, in whatever way: the schedule's clock is the load."""
        goal = self.traffic.ended + requests
        waiting.until(lambda: self.traffic.ended >= goal, what=f"{requests} more requests to end", within=PATIENCE)

    def rest(self) -> None:
        """Nothing is asked any more, and nothing is being answered."""
        self.traffic.pause()
        waiting.until(lambda: self.traffic.quiet, what="the load to end", within=PATIENCE)
        waiting.until(lambda: not self.bed.sim.state().in_flight, what="the provider to be left alone", within=PATIENCE)

    def leader(self) -> OperatorReplica:
        return waiting.until(lambda: self.bed.installation.leader, what="a leader", within=PATIENCE)

    def standby(self, leader: OperatorReplica) -> OperatorReplica:
        return next(r for r in self.bed.installation.replicas if r is not leader)


@pytest.fixture(scope="module")
def world(bed: Bed, seed: int) -> Iterator[World]:
    installation = bed.installation
    installation.apply(
        pool("fast", bed.sim, budget={"limits": [limit("all", "Pool", LIMITS["fast"])]}),
        pool("deep", bed.sim, abort="Stops"),
        route(
            "chat", ("fast", "deep"), [limit("all", "Route", LIMITS["chat"]), limit("each", "Tenant", LIMITS["tenant"])]
        ),
        route("bulk", ("fast",), [limit("all", "Route", LIMITS["bulk"])]),
        route("left", ("deep",), [limit("all", "Route", LIMITS["left"])]),
        route("calm", ("deep",), [limit("all", "Route", LIMITS["calm"])]),
    )
    with Roads() as roads:
        installation.start_operators()
        ways: dict[str, dict[int, Road]] = {"app-a": {}, "app-b": {}}

        def by_road(name: str) -> Callable[[int], int]:
            def port(target: int) -> int:
                if target not in ways[name]:
                    ways[name][target] = roads.to(target)
                return ways[name][target].port

            return port

        first, second = (installation.sidecar(ROUTES, name, by_road=by_road(name)) for name in ways)
        bed.await_programmed(2, "chat", "bulk", "left", "calm")
        mix = Mix(models=("chat", "chat", "bulk"), tenants=TENANTS)
        traffic = Traffic([lambda: first.url, lambda: second.url], mix, seed=seed, workers=5)
        try:
            with Kubelet(installation.replicas) as kubelet, traffic:
                yield World(bed, kubelet, (first, second), ways, traffic, random.Random(seed))
        finally:
            bed.done_with(first, second)


# What happens to them -----------------------------------------------------------------------------------------------------


def one_sidecar_dies(world: World) -> None:
    victim = world.rng.choice(world.sidecars)
    victim.process.kill()
    world.served_meanwhile(12)
    victim.start()


def both_sidecars_die(world: World) -> None:
    for victim in world.sidecars:
        victim.process.kill()
    for victim in world.sidecars:
        victim.start()


def the_leader_dies(world: World) -> None:
    leader = world.leader()
    leader.process.kill()
    world.served_meanwhile(20)


def the_leader_is_frozen_until_another_leads(world: World) -> None:
    leader = world.leader()
    standby = world.standby(leader)
    leader.process.freeze()
    try:
        waiting.until(lambda: standby.leads, what="the other operator to lead", within=PATIENCE)
        world.served_meanwhile(12)
    finally:
        leader.process.thaw()  # and still believes that it leads, for a moment


def every_operator_and_a_sidecar_die(world: World) -> None:
    victim = world.rng.choice(world.sidecars)
    with world.kubelet.away():
        for replica in world.bed.installation.replicas:
            replica.process.kill()
        world.served_meanwhile(12)
        victim.process.kill()
    victim.start()


def the_api_server_is_frozen(world: World) -> None:
    with world.bed.installation.plane.apiserver_frozen():
        world.served_meanwhile(25)


def a_sidecar_is_cut_off(world: World) -> None:
    roads = world.roads[world.rng.choice(world.sidecars).name].values()
    for road in roads:
        road.cut()
    world.served_meanwhile(25)
    for road in roads:
        road.open()


def a_sidecar_hears_everything_late(world: World) -> None:
    roads = world.roads[world.rng.choice(world.sidecars).name].values()
    for road in roads:
        road.silence()
    world.served_meanwhile(25)
    for road in roads:
        road.open()


def a_sidecar_dies_while_its_report_is_on_the_way(world: World) -> None:
    victim = world.rng.choice(world.sidecars)
    roads = world.roads[victim.name].values()
    for road in roads:
        road.silence()
    world.served_meanwhile(12)
    victim.process.kill()
    for road in roads:
        road.open()  # the dead one's last words arrive, perhaps after those of its next life
    victim.start()


BLOWS: list[Callable[[World], None]] = [
    one_sidecar_dies,
    both_sidecars_die,
    the_leader_dies,
    the_leader_is_frozen_until_another_leads,
    every_operator_and_a_sidecar_die,
    the_api_server_is_frozen,
    a_sidecar_is_cut_off,
    a_sidecar_hears_everything_late,
    a_sidecar_dies_while_its_report_is_on_the_way,
]


def test_no_account_is_billed_above_its_limit_whoever_dies(
    world: World, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    bed, traffic = world.bed, world.traffic
    judge = Judge(bed)
    bed.sim.set_script(script(seed))
    try:
        took: list[str] = []
        blows = [*BLOWS]
        world.rng.shuffle(blows)
        for blow in blows:
            world.served_meanwhile(10)
            began = time.monotonic()
            blow(world)
            took.append(f"{blow.__name__} {time.monotonic() - began:.1f} s")
        bed.sim.set_script(None)
        world.rest()
        _books_agree(bed, judge.bills())
        everybody = traffic.mix
        traffic.mix = everybody._replace(models=("left",), plain=0, stream=0, two_answers=0, leaves_in_stream=3)
        traffic.resume()
        world.served_meanwhile(60)
        world.rest()
        _books_agree(bed, judge.bills())
        traffic.mix = everybody._replace(models=("calm",), leaves_at_once=0, leaves_in_stream=0, two_answers=0)
        traffic.resume()
        waiting.until(Exhaustion(traffic), what="the money to run out", within=PATIENCE)
        world.rest()
        bills = judge.bills()
        _books_agree(bed, bills)
    except waiting.NeverHappenedError as e:
        pytest.fail(f"seed {seed}: {e}\n{bed.installation.story()}", pytrace=False)
    finally:
        judge.end()
    limits = judge.limits()
    spent = bed.charged()
    with capsys.disabled():
        print("", *took, sep="\n  ")
        print(f"seed {seed}; {judge.looks} looks at the bill; requests {dict(sorted(traffic.endings.items()))}")
        for account in sorted(limits):
            told = f"billed {bills[account] / NANO:.4f} charged {spent.get(account, 0) / NANO:.4f}"
            print(f"  {account:34} {told} of {limits[account] / NANO:.4f}")
        print(f"  {bills[CALM] / limits[CALM]:.1%} of {CALM} was billed by the provider when it was refused")
    assert not judge.verdict, f"seed {seed}: {judge.verdict}"
    for account, cost in bills.items():
        assert cost <= limits[account], f"seed {seed}: {account}"
    assert judge.looks > 50, "the bill was looked at all the while"
    assert bills[CALM] >= 0.9 * limits[CALM], f"seed {seed}: too little of {CALM} could be used"


def _books_agree(bed: Bed, bills: dict[str, int]) -> None:
    """Once the last reports are in: nothing is held, by the dead neither, and the ledger charged at least what the provider billed."""

    def agree() -> bool:
        accounts = bed.accounts()
        held = any(lease.held for windows in accounts.values() for a in windows for lease in a.open.values())
        stranded = any(len(a.open) > 2 for windows in accounts.values() for a in windows)  # two sidecars live
        short = [name for name, cost in bills.items() if sum(a.spent for a in accounts.get(name, ())) < cost]
        return not held and not stranded and not short

    waiting.until(agree, what=f"nothing held and at least {bills} charged", within=PATIENCE)


class Exhaustion:
    """Asked again and again: whether so many were refused for good since anybody was served."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._served = -1
        self._refused = 0

    def __call__(self) -> bool:
        endings = self._traffic.endings
        served, refused = endings["answered"] + endings["streamed"], endings["refused 429 budget_exhausted"]
        if served != self._served:
            self._served, self._refused = served, refused
        return refused - self._refused >= 150

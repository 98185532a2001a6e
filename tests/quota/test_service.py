"""The lease service over a store in memory: one behaviour a test. The laws are in tests/laws."""

import asyncio
import dataclasses
from collections.abc import Sequence

import pytest

from turnout_operator.identity import Identity
from turnout_operator.ir import Override, QuotaLimit, Window
from turnout_operator.quota import limits, service, shard
from turnout_operator.quota.lane import Pace
from turnout_operator.quota.memory import MemoryStore
from turnout_operator.quota.ports import Stored, StoreUnavailable
from turnout_operator.quota.service import LeaseService, ReportRefused
from turnout_sidecar.core.budget import Book, Hold, Shortfall, ShortfallKind
from turnout_sidecar.policy.model import Scope
from turnout_sidecar.policy.report import WIRE, AccountReport, Answer, EpochReport, Report
from turnout_sidecar.policy.units import Millis, NanoUSD

NOON = 1_795_262_400_000  # 2026-11-21 12:00 UTC
DAY = 86_400_000
ACCOUNT = "shop/route:chat/day/-"
PACE = Pace(linger=0, spacing=0, backoff=0, fresh_ms=0, flush_ms=0)
WALL = dataclasses.replace(PACE, fresh_ms=10**9)


def day(amount: int = 1_000_000, account: str = "shop/route:chat/day", **more: object) -> QuotaLimit:
    fields: dict[str, object] = {"scope": Scope.ROUTE, "window": Window.DAY, "time_zone": "UTC"} | more
    return QuotaLimit(account=account, name="day", amount=NanoUSD(amount), **fields)  # type: ignore[arg-type]


def pod(name: str, namespace: str = "shop") -> Identity:
    return Identity(namespace=namespace, service_account="gateway", pod=name, pod_uid=name)


class Sidecar:
    """A book and its report loop by hand."""

    def __init__(self, name: str, to: LeaseService, epoch: str = "", namespace: str = "shop") -> None:
        self.identity = pod(name, namespace)
        self.to = to
        self.book = Book(epoch=epoch or f"{name}-1")
        self.sequence = 0

    async def report(self, now: int = NOON, previous: tuple[EpochReport, ...] = ()) -> Answer:
        self.sequence += 1
        told = Report(wire=WIRE, sequence=self.sequence, epoch=self.book.report(Millis(now - NOON)), previous=previous)
        answer = await self.to.report(self.identity, told, now)
        self.book.apply(answer.grants, Millis(now - NOON))
        return answer

    def hold(self, amount: int, now: int = NOON, account: str = ACCOUNT) -> Hold | Shortfall:
        return self.book.hold(((account, NanoUSD(amount)),), Millis(now - NOON))

    async def spend(self, amount: int, now: int = NOON, account: str = ACCOUNT) -> bool:
        """Holds, asking the ledger as often as a patient client would, and settles in full."""
        for _ in range(4):
            hold = self.hold(amount, now, account)
            if isinstance(hold, Hold):
                self.book.settle(hold, NanoUSD(amount))
                return True
            await self.report(now)
        return False


def leasing(*given: QuotaLimit, store: MemoryStore | None = None, pace: Pace = PACE) -> LeaseService:
    made = LeaseService(store or MemoryStore(), pace=pace)
    made.set_limits(limits.everywhere(given or (day(),)))
    return made


async def facts(of: LeaseService, limit: QuotaLimit, now: int = NOON) -> service.BudgetFacts:
    (found,) = await of.budgets((limit,), now)
    return found


def test_a_refused_attempt_gets_a_lease_with_the_next_report() -> None:
    async def run() -> None:
        a = Sidecar("a", leasing())
        refused = a.hold(5_000)
        assert isinstance(refused, Shortfall)
        assert refused.kind is ShortfallKind.NO_LEASE
        assert a.book.urgent
        await a.report()
        assert isinstance(a.hold(5_000), Hold)

    asyncio.run(run())


def test_an_account_without_a_limit_is_granted_nothing() -> None:
    async def run() -> None:
        store = MemoryStore()
        a = Sidecar("a", leasing(store=store))
        a.hold(5, account="shop/route:gone/day/-")
        assert (await a.report()).grants == ()
        assert await store.prefixes() == ()

    asyncio.run(run())


def test_a_namespace_cannot_lease_anothers_accounts() -> None:
    async def run() -> None:
        stranger = Sidecar("x", leasing(), namespace="other")
        stranger.hold(5)
        assert (await stranger.report()).grants == ()

    asyncio.run(run())


def test_the_same_report_twice_grants_once() -> None:
    async def run() -> None:
        of = leasing()
        a = Sidecar("a", of)
        a.hold(5_000)
        told = Report(wire=WIRE, sequence=1, epoch=a.book.report(Millis(0)))
        first = await of.report(a.identity, told, NOON)
        again = await of.report(a.identity, told, NOON)
        assert first.grants == again.grants
        assert first.grants[0].granted == 5_000

    asyncio.run(run())


def test_foresight_takes_no_more_than_its_share_so_that_a_newcomer_finds_something() -> None:
    async def run() -> None:
        limit = day(1_000_000)
        of = leasing(limit)
        a, b = Sidecar("a", of), Sidecar("b", of)
        line = AccountReport(
            account=ACCOUNT,
            window="",
            granted=NanoUSD(0),
            spent=NanoUSD(0),
            held=NanoUSD(0),
            returned=NanoUSD(0),
            wants=NanoUSD(900_000),
            need=NanoUSD(10),
        )
        for sidecar, granted in ((a, 500_000), (b, 125_000)):
            told = Report(wire=WIRE, sequence=1, epoch=EpochReport(epoch=sidecar.book.epoch, accounts=(line,)))
            assert (await of.report(sidecar.identity, told, NOON)).grants[0].granted == granted

    asyncio.run(run())


def test_idle_money_of_one_sidecar_is_called_back_for_another() -> None:
    async def run() -> None:
        of = leasing(day(1_000))
        a, b = Sidecar("a", of), Sidecar("b", of)
        assert await a.spend(900)
        assert await a.spend(10)
        a.book.want(ACCOUNT, NanoUSD(90), Millis(0))
        await a.report()
        assert a.book.free(ACCOUNT) == 90
        assert not isinstance(b.hold(80), Hold)
        await b.report()  # asks, and the ledger writes down what it wants back
        await a.report()  # hears of it
        assert a.book.free(ACCOUNT) <= 10
        await a.report()  # has returned it
        await b.report()
        assert isinstance(b.hold(80), Hold)

    asyncio.run(run())


def test_a_final_report_gives_back_what_was_not_spent() -> None:
    async def run() -> None:
        limit = day(1_000)
        of = leasing(limit)
        a, b = Sidecar("a", of), Sidecar("b", of)
        assert await a.spend(400)
        hold = a.hold(100)
        while not isinstance(hold, Hold):
            await a.report()
            hold = a.hold(100)
        a.book.close()
        assert (await a.report()).closed_epochs == ("a-1",)
        assert await facts(of, limit) == service.BudgetFacts(
            "shop/route:chat/day",
            1_000,
            500,
            0,
            NOON + DAY // 2,
            1,
            (service.SubjectBudget("-", 500, 0, 1_000),),
        )
        assert await b.spend(500)

    asyncio.run(run())


def test_a_silent_epoch_keeps_its_lease_however_long() -> None:
    async def run() -> None:
        limit = day(1_000, window=Window.MONTH)
        of = leasing(limit)
        a, b = Sidecar("a", of), Sidecar("b", of)
        assert isinstance(a.hold(300), Shortfall)
        await a.report()
        later = NOON + 5 * DAY
        assert not await b.spend(701, later)
        assert await b.spend(700, later)
        refused = b.hold(1, later)
        assert isinstance(refused, Shortfall)
        await b.report(later)
        refused = b.hold(1, later)
        assert isinstance(refused, Shortfall)
        assert refused.kind is ShortfallKind.EXHAUSTED  # what is left is stranded

    asyncio.run(run())


def test_a_dead_epochs_record_brings_its_lease_back() -> None:
    async def run() -> None:
        limit = day(1_000)
        of = leasing(limit)
        a = Sidecar("a", of)
        assert await a.spend(100)
        epoch = a.book.report(Millis(0))
        lines = tuple(line for line in epoch.accounts)
        replayed = EpochReport(epoch="a-1", accounts=lines, final=True, complete=True)
        reborn = Sidecar("a", of, epoch="a-2")
        answer = await reborn.report(previous=(replayed,))
        assert answer.closed_epochs == ("a-1",)
        again = await reborn.report(previous=(replayed,))
        assert again.closed_epochs == ("a-1",)
        assert (await facts(of, limit))[2:4] == (100, 0)

    asyncio.run(run())


def test_a_record_that_is_not_complete_gives_back_only_what_it_shows() -> None:
    async def run() -> None:
        limits_of_two = (day(1_000), day(1_000, account="shop/route:chat/other"))
        of = leasing(*limits_of_two)
        a = Sidecar("a", of)
        for account in (ACCOUNT, "shop/route:chat/other/-"):
            a.hold(500, account=account)
        await a.report()
        lines = tuple(line for line in a.book.report(Millis(0)).accounts if line.account == ACCOUNT)
        replayed = EpochReport(epoch="a-1", accounts=lines, final=True, complete=False)
        await Sidecar("a", of, epoch="a-2").report(previous=(replayed,))
        assert [(await facts(of, limit)).held for limit in limits_of_two] == [0, 500]

    asyncio.run(run())


def test_a_new_window_is_a_new_account_and_the_old_lease_is_not_used_in_it() -> None:
    async def run() -> None:
        limit = day(1_000)
        of = leasing(limit)
        a = Sidecar("a", of)
        assert await a.spend(900)
        tomorrow = NOON + DAY
        refused = a.hold(50, tomorrow)
        assert isinstance(refused, Shortfall)
        assert refused.kind is ShortfallKind.NO_LEASE
        assert await a.spend(950, tomorrow)
        assert (await facts(of, limit, tomorrow)).spent + (await facts(of, limit, tomorrow)).held <= 1_000

    asyncio.run(run())


def test_a_clock_that_goes_back_opens_no_window_that_was_swept() -> None:
    async def run() -> None:
        of = leasing(day(1_000))
        a = Sidecar("a", of)
        assert await a.spend(1_000)
        await of.tidy(NOON + 3 * DAY)
        b = Sidecar("b", of)
        assert not await b.spend(10, NOON)

    asyncio.run(run())


def test_a_lowered_limit_calls_free_money_back_and_grants_no_more() -> None:
    async def run() -> None:
        of = leasing(day(1_000))
        a = Sidecar("a", of)
        a.book.want(ACCOUNT, NanoUSD(800), Millis(0))
        await a.report()
        of.set_limits(limits.everywhere((day(300),)))
        a.book.want(ACCOUNT, NanoUSD(1), Millis(0))
        await a.report()
        await a.report()
        assert a.book.free(ACCOUNT) == 300

    asyncio.run(run())


def test_a_raised_limit_can_be_leased_at_once() -> None:
    async def run() -> None:
        of = leasing(day(1_000))
        a = Sidecar("a", of)
        assert await a.spend(1_000)
        assert not await a.spend(500)
        of.set_limits(limits.everywhere((day(2_000),)))
        assert await a.spend(500)

    asyncio.run(run())


def test_a_deleted_and_reapplied_route_finds_its_account_as_it_was() -> None:
    async def run() -> None:
        limit = day(1_000)
        of = leasing(limit)
        a = Sidecar("a", of)
        assert await a.spend(700)
        await a.report()
        of.set_limits({})
        await a.report()
        of.set_limits(limits.everywhere((limit,)))
        assert not await Sidecar("b", of).spend(400)

    asyncio.run(run())


def test_a_subject_with_an_override_has_its_own_limit() -> None:
    async def run() -> None:
        tenants = day(
            100,
            account="shop/route:chat/tenant",
            scope=Scope.TENANT,
            overrides=(Override(subject="big", amount=NanoUSD(5_000)),),
        )
        of = leasing(tenants)
        a = Sidecar("a", of)
        assert await a.spend(4_000, account="shop/route:chat/tenant/big")
        assert not await a.spend(4_000, account="shop/route:chat/tenant/small")

    asyncio.run(run())


def test_another_identity_cannot_speak_for_an_epoch() -> None:
    async def run(restarted: bool) -> None:
        store = MemoryStore()
        of = leasing(store=store)
        heard: list[tuple[str, Sequence[str]]] = []
        a = Sidecar("a", of)
        assert isinstance(a.hold(10), Shortfall)
        await a.report()
        if restarted:
            of = leasing(store=store)
        of.anomalies = lambda kind, what: heard.append((kind, what))
        forged = EpochReport(epoch="a-1", accounts=a.book.report(Millis(0)).accounts, final=True, complete=True)
        for previous in ((), (forged,)):
            told = Report(
                wire=WIRE, sequence=1, epoch=forged if not previous else a.book.report(Millis(0)), previous=previous
            )
            with pytest.raises(ReportRefused, match="belongs to another identity") as refused:
                await of.report(pod("thief"), told, NOON)
            assert refused.value.status == 403
        assert heard[0] == ("foreign-epoch", ("a-1",))

    asyncio.run(run(restarted=False))
    asyncio.run(run(restarted=True))


def test_a_store_restored_from_a_backup_is_noticed_and_grants_freeze() -> None:
    async def run() -> None:
        store = MemoryStore()
        of = leasing(store=store)
        a, b = Sidecar("a", of), Sidecar("b", of)
        assert await a.spend(100)
        backup = dict(store._shards)
        a.book.want(ACCOUNT, NanoUSD(300_000), Millis(0))
        await a.report()
        store._shards = {name: Stored(s.content, f"restored-{s.version}") for name, s in backup.items()}
        restarted = leasing(store=store)
        heard: list[tuple[str, Sequence[str]]] = []
        restarted.anomalies = lambda kind, what: heard.append((kind, what))
        a.to = b.to = restarted
        for _ in range(10):
            await a.report()
        assert heard == [("restored", (ACCOUNT,))]
        assert restarted.frozen(NOON)
        assert restarted.counts.surprises == 1
        assert not await b.spend(10)
        later = NOON + service.HORIZON_MS
        assert await b.spend(10, later)
        found = await facts(restarted, day(), later)
        assert found.spent + found.held >= 300_000

    asyncio.run(run())


class Flaky(MemoryStore):
    """Fails, where told so, before or after the write."""

    def __init__(self) -> None:
        super().__init__()
        self.fail = ""

    async def swap(self, prefix: str, content: bytes, expected: str | None) -> str:
        if self.fail == "before":
            raise StoreUnavailable("refused")
        version = await super().swap(prefix, content, expected)
        if self.fail == "after":
            raise StoreUnavailable("timed out")
        return version


@pytest.mark.parametrize("when", ["before", "after"])
def test_while_the_store_is_away_nothing_is_granted_and_afterwards_nothing_twice(when: str) -> None:
    async def run() -> None:
        store = Flaky()
        of = leasing(store=store)
        a = Sidecar("a", of)
        store.fail = when
        a.hold(5_000)
        assert (await a.report()).grants == ()
        store.fail = ""
        a.hold(5_000)
        (grant,) = (await a.report()).grants
        assert grant.granted == 5_000

    asyncio.run(run())


def test_two_services_over_one_store_share_every_account() -> None:
    async def run() -> None:
        store = MemoryStore()
        limit = day(1_000)
        first, second = leasing(limit, store=store, pace=WALL), leasing(limit, store=store, pace=WALL)
        a, b = Sidecar("a", first), Sidecar("b", second)
        spent = [await side.spend(100) for _ in range(8) for side in (a, b)]
        assert sum(spent) * 100 <= 1_000
        assert sum(spent) >= 9
        assert first.counts.conflicts + second.counts.conflicts > 0

    asyncio.run(run())


def test_reports_that_come_together_share_one_write() -> None:
    async def run() -> None:
        of = leasing(pace=Pace(linger=0.01, spacing=0, backoff=0, fresh_ms=10**9))
        sidecars = [Sidecar(f"s{i}", of) for i in range(20)]
        for sidecar in sidecars:
            sidecar.hold(10)
        await asyncio.gather(*(sidecar.report() for sidecar in sidecars))
        assert all(isinstance(sidecar.hold(10), Hold) for sidecar in sidecars)
        assert of.counts.writes <= 2

    asyncio.run(run())


SMALL = dataclasses.replace(PACE, bytes=2_000)


def tenants(amount: int) -> QuotaLimit:
    return day(amount, account="shop/route:chat/tenant", scope=Scope.TENANT)


def test_shards_that_outgrow_their_object_split_and_lose_nothing() -> None:
    async def run() -> None:
        store = MemoryStore()
        of = leasing(tenants(1_000), store=store, pace=SMALL)
        a = Sidecar("a", of)
        names = [f"shop/route:chat/tenant/t{i}" for i in range(300)]
        for name in names:
            a.hold(300, account=name)
        await a.report()
        b = Sidecar("b", leasing(tenants(1_000), store=store, pace=SMALL))
        for name in names:
            b.hold(300, account=name)
        await b.report()
        assert of.counts.splits > 0
        assert all(len(stored.content) <= 2_000 for stored in store._shards.values())
        held = [side.book.free(name) for name in names for side in (a, b)]
        assert held == [300] * 600
        assert (await facts(of, tenants(1_000))).subjects == 300
        a.book.close()
        assert (await a.report()).closed_epochs == ("a-1",)
        for name in names[:20]:
            assert await b.spend(1_000, account=name)
            assert not await b.spend(1, account=name)

    asyncio.run(run())


class Stopping(MemoryStore):
    """Ends the process, as far as a test can, before or after the n-th write."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None
        self.after = False

    async def swap(self, prefix: str, content: bytes, expected: str | None) -> str:
        if self.left is not None:
            self.left -= 1
            if self.left <= 0 and not self.after:
                raise StoreUnavailable("the process is gone")
        version = await super().swap(prefix, content, expected)
        if self.left is not None and self.left <= 0:
            raise StoreUnavailable("the process is gone")
        return version


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", [1, 2, 3, 9, 17, 18, 19])
def test_a_split_that_stops_half_way_is_finished_by_whoever_comes_next(write: int, after: bool) -> None:
    async def run() -> None:
        store = Stopping()
        store.after = after
        limit = tenants(1_000)
        pace = dataclasses.replace(PACE, bytes=1_000)
        first = Sidecar("a", leasing(limit, store=store, pace=pace))
        names = [n for n in (f"shop/route:chat/tenant/t{i}" for i in range(400)) if shard.digits(n)[0] == "7"][:12]
        for name in names[:3]:
            assert await first.spend(300, account=name)
        store.left = write
        for name in names[3:]:
            first.hold(300, account=name)
            await first.report()
        store.left = None
        of = leasing(limit, store=store, pace=pace)
        second = Sidecar("b", of)
        for name in names:
            assert name not in names[:3] or not await second.spend(801, account=name)
        for name in names[:3]:
            assert await second.spend(350, account=name)
        found = await facts(of, limit)
        assert found.subjects >= 3
        assert all(s.spent + s.held <= s.limit for s in found.fullest)

    asyncio.run(run())

"""A world of sidecars, lease services, a network and a store, in which anything may be lost, doubled, late or killed.

Every moving part is the product's own class: `Book`, `WriteAheadRecord`, `LeaseService`, `Lane`, the shard step. Only the network, the store and
the clock are ours, and a provider who keeps its own bill. Laws are checked after every step; breaking one raises `LawBroken`.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from turnout_operator.identity import Identity
from turnout_operator.ir import QuotaLimit, Window
from turnout_operator.quota import limits as quota_limits
from turnout_operator.quota import service as quota_service
from turnout_operator.quota import shard as shards
from turnout_operator.quota import windows
from turnout_operator.quota.account import Account
from turnout_operator.quota.lane import Pace
from turnout_operator.quota.memory import MemoryStore
from turnout_operator.quota.ports import StoreUnavailable
from turnout_operator.quota.service import LeaseService
from turnout_sidecar.core import account as charges
from turnout_sidecar.core import wal
from turnout_sidecar.core.budget import Book, Hold
from turnout_sidecar.policy.model import AbortBilling, Price, Scope
from turnout_sidecar.policy.report import (
    WIRE,
    Answer,
    EpochReport,
    Report,
    decode_answer,
    decode_report,
    encode_answer,
    encode_report,
)
from turnout_sidecar.policy.units import Millis, NanoUSD, PicoUSD, Tokens

START = 1_795_262_400_000  # 2026-11-21 12:00 UTC
ROUTE = "shop/route:chat/minute"
TENANT = "shop/route:chat/tenant"
_UNIT = PicoUSD(1_000)
_PRICE = Price(input=_UNIT, output=_UNIT, cached_input=_UNIT, cache_write_5m=_UNIT, cache_write_1h=_UNIT)


class LawBroken(AssertionError):  # noqa: N818 - what happened
    """A law of the budget does not hold in this world."""


class HostileStore(MemoryStore):
    """Fails before or after the next write, as it is told. Linearizable all the same: that is what the theorem assumes of it (A2);
    what is stale is what the services remember."""

    def __init__(self) -> None:
        super().__init__()
        self.fail = ""

    async def swap(self, prefix: str, content: bytes, expected: str | None) -> str:
        fail, self.fail = self.fail, ""
        if fail == "before":
            raise StoreUnavailable("refused")
        version = await super().swap(prefix, content, expected)
        if fail == "after":
            raise StoreUnavailable("timed out")
        return version


@dataclass(slots=True, kw_only=True)
class Attempt:
    """Sent to the provider, who may charge any part of the bound until the end, whatever becomes of the sidecar."""

    sidecar: int
    hold: Hold
    bound: int
    pays: tuple[tuple[str, str], ...]
    """account and window of each hold, as they were granted"""


@dataclass(slots=True)
class Sidecar:
    """One pod: a volume that outlives its processes, and the process of the moment."""

    index: int
    directory: Path
    life: int = 0
    sequence: int = 0
    book: Book = field(init=False)
    record: wal.WriteAheadRecord | None = None
    previous: tuple[EpochReport, ...] = ()

    @property
    def identity(self) -> Identity:
        """The pod's, over all its processes."""
        return Identity(namespace="shop", service_account="gateway", pod_uid=f"pod-{self.index}")

    def boot(self) -> None:
        """A new process: replays what earlier ones left, then begins its own epoch."""
        self.life += 1
        self.previous = wal.replay(self.directory).epochs
        epoch = f"pod-{self.index}-{self.life}"
        self.record = wal.WriteAheadRecord.open(self.directory, epoch)
        self.book = Book(epoch=epoch, record=self.record)

    def die(self) -> None:
        """As SIGKILL would: nothing of the process is left but its file, unlocked."""
        if self.record is not None:
            self.record.close()
            self.record = None


class World:
    """`directory` holds the sidecars' volumes."""

    def __init__(self, directory: Path, *, sidecars: int = 3, services: int = 2) -> None:
        self.now = START
        self.elapsed = 0
        self.loop = asyncio.new_event_loop()
        self.store = HostileStore()
        self.amounts = {ROUTE: 240, TENANT: 160}
        self.services = [self._service() for _ in range(services)]
        self.sidecars = []
        for index in range(sidecars):
            volume = directory / f"volume-{index}"
            volume.mkdir(parents=True)
            self.sidecars.append(Sidecar(index, volume))
            self.sidecars[-1].boot()
        self.attempts: list[Attempt] = []
        self.reports: list[tuple[int, bytes]] = []
        self.answers: list[tuple[str, bytes]] = []
        self.bill: dict[tuple[str, str], int] = {}
        """The provider's own: charged for each account and window."""
        self.highest: dict[tuple[str, str], int] = {}
        """The largest limit that was in force at any moment of each window."""
        self.lossy = False
        """Somebody was killed or a record was lost: the ledger may count more than was charged, never less."""
        self.late: set[str] = set()
        """Epochs of which a report arrived after their death: what it wanted may be leased to the dead, and so be stranded."""
        self.gone: set[str] = set()
        """Epochs whose record was lost, torn or no longer complete: a lease that they never heard of is stranded."""
        self._note_limits()

    def close(self) -> None:
        """Frees what the world holds of the machine."""
        for sidecar in self.sidecars:
            sidecar.die()
        self.loop.close()

    # Requests

    def attempt(self, index: int, tenant: str, amount: int) -> bool:
        """Admission and sending of one attempt that pays from the route's and the tenant's account."""
        book = self.sidecars[index].book
        accounts = (f"{ROUTE}/-", f"{TENANT}/{tenant}")
        hold = book.hold(tuple((account, NanoUSD(amount)) for account in accounts), self._monotonic())
        if not isinstance(hold, Hold):
            return False
        pays = tuple(zip(accounts, hold.windows, strict=True))
        self.attempts.append(Attempt(sidecar=index, hold=hold, bound=amount, pays=pays))
        return True

    def finish(self, which: int, charge: int) -> None:
        """The provider charges up to the bound and says so."""
        attempt = self.attempts.pop(which)
        charge = min(charge, attempt.bound)
        self._charge(attempt, charge)
        self.sidecars[attempt.sidecar].book.settle(attempt.hold, NanoUSD(charge))

    def abort(self, which: int) -> None:
        """The client goes; the provider generates to the end all the same, and nobody hears of its usage."""
        attempt = self.attempts.pop(which)
        self._charge(attempt, attempt.bound)
        charge = charges.of_aborted(
            bound=NanoUSD(attempt.bound),
            price=_PRICE,
            input_bound=Tokens(0),
            output_bound=Tokens(attempt.bound),
            usage=None,
            text_bytes=0,
            visible=True,
            abort=AbortBilling.CONTINUES,
        )
        self.sidecars[attempt.sidecar].book.settle(attempt.hold, charge)

    def never_sent(self, which: int) -> None:
        """No stream was opened."""
        attempt = self.attempts.pop(which)
        self.sidecars[attempt.sidecar].book.release(attempt.hold)

    # The network

    def send_report(self, index: int) -> None:
        """Puts a report on the wire."""
        sidecar = self.sidecars[index]
        sidecar.sequence += 1
        report = Report(
            wire=WIRE,
            sequence=sidecar.sequence,
            epoch=sidecar.book.report(self._monotonic()),
            previous=sidecar.previous,
        )
        self.reports.append((index, encode_report(report)))

    def deliver_report(self, which: int, service: int, *, keep: bool) -> None:
        """Lets a service have it; `keep`: it will arrive again."""
        index, content = self.reports[which] if keep else self.reports.pop(which)
        report = decode_report(content)
        identity = self.sidecars[index].identity
        if report.epoch.epoch != self.sidecars[index].book.epoch and not report.epoch.final:
            self.late.add(report.epoch.epoch)
        answer = self.loop.run_until_complete(self.services[service].report(identity, report, self.now))
        self.answers.append((report.epoch.epoch, encode_answer(answer)))

    def deliver_answer(self, which: int, *, keep: bool) -> None:
        """Lets the process have it that asked, if it still lives: a dead one's connection is dead as well."""
        epoch, content = self.answers[which] if keep else self.answers.pop(which)
        answer: Answer = decode_answer(content)
        for sidecar in self.sidecars:
            if sidecar.book.epoch == epoch:
                sidecar.book.apply(answer.grants, self._monotonic())
                wal.forget(sidecar.directory, (closed for closed in answer.closed_epochs if closed != epoch))
                sidecar.previous = tuple(e for e in sidecar.previous if e.epoch not in answer.closed_epochs)

    def converse(self, index: int, service: int) -> None:
        """One report and its answer, with nothing lost."""
        self.send_report(index)
        self.deliver_report(len(self.reports) - 1, service, keep=False)
        self.deliver_answer(len(self.answers) - 1, keep=False)

    # Calamities

    def kill(self, index: int, *, volume: str = "kept") -> None:
        """SIGKILL; the provider charges what was in flight in full. `volume`: kept, lost, or torn."""
        sidecar = self.sidecars[index]
        self._charge_open(index)
        sidecar.die()
        self.lossy = True
        if volume != "kept" or not sidecar.book.complete:
            self.gone.add(sidecar.book.epoch)
        if volume == "lost":
            self.gone |= {epoch.epoch for epoch in sidecar.previous}
            shutil.rmtree(sidecar.directory)
            sidecar.directory.mkdir()
        elif volume == "torn":
            _tear(sidecar.directory / f"{sidecar.book.epoch}.epoch")
        sidecar.boot()

    def stop(self, index: int) -> None:
        """SIGTERM with attempts in flight: the book is closed, a final report goes out, and may be lost."""
        sidecar = self.sidecars[index]
        if any(attempt.sidecar == index for attempt in self.attempts):
            self.lossy = True
        sidecar.book.close()
        self.send_report(index)
        if not sidecar.book.complete:
            self.gone.add(sidecar.book.epoch)
        self._charge_open(index)
        sidecar.die()
        sidecar.boot()

    def kill_service(self, index: int) -> None:
        """Its memory is gone; another takes its place."""
        self.services[index] = self._service()

    def set_limit(self, account: str, amount: int) -> None:
        """An edit reaches both services."""
        self.amounts[account] = amount
        for service in self.services:
            service.set_limits(self._limits())
        self._note_limits()

    def pass_time(self, milliseconds: int) -> None:
        """On every clock there is."""
        self.now += milliseconds
        self.elapsed += milliseconds
        self._note_limits()

    def jump_service_clock(self, milliseconds: int) -> None:
        """Only the ledger's clock, forth or back; sidecars count their own milliseconds."""
        self.now += milliseconds
        self._note_limits()

    # Laws

    def check(self) -> None:
        """Raises `LawBroken` naming the first law that does not hold."""
        self._check_bill()
        self._check_books()
        self._check_grants()

    def settle_down(self) -> None:
        """Everything ends well: attempts finish, sidecars stop, every message arrives. Then nothing may have leaked."""
        self.store.fail = ""
        while self.attempts:
            self.finish(0, self.attempts[0].bound)
        self.reports.clear()
        self.pass_time(quota_service.HORIZON_MS)
        for sidecar in self.sidecars:
            sidecar.book.close()
            for _ in range(3):
                self.converse(sidecar.index, 0)
            if not sidecar.book.complete:
                self.gone.add(sidecar.book.epoch)
        self.check()
        for name, account in self._stored().items():
            stranded = account.open.keys() - self.late - self.gone
            if stranded:
                raise LawBroken(f"{name}: {stranded} said good-bye and still hold a lease")
            billed = self.bill.get(_split(name), 0)
            counted = account.spent + account.held
            if counted < billed or (not self.lossy and not account.open and counted > billed):
                raise LawBroken(f"{name}: the ledger counts {counted}, the provider {billed}")

    def _check_bill(self) -> None:
        for (account, window), charged in self.bill.items():
            limit = self.highest[account.rpartition("/")[0], window]
            if charged > limit:
                raise LawBroken(f"{account} {window}: the provider charged {charged} of {limit}")

    def _check_books(self) -> None:
        for sidecar in self.sidecars:
            for lease in sidecar.book.leases():
                if lease.spent + lease.held + lease.free != lease.granted - lease.returned:
                    raise LawBroken(
                        f"{sidecar.book.epoch} {lease.account}: spent + held + free is not granted - returned"
                    )
                if min(lease.spent, lease.held, lease.free, lease.returned) < 0:
                    raise LawBroken(f"{sidecar.book.epoch} {lease.account}: a sum is below zero")

    def _check_grants(self) -> None:
        """What a living sidecar holds is written, and all that is written fits the limit."""
        stored = self._stored()
        for name, account in stored.items():
            prefix, window = _split(name)
            limit = self.highest[prefix.rpartition("/")[0], window]
            if account.limit - account.available > limit:
                raise LawBroken(f"{name}: {account.limit - account.available} granted or spent of {limit}")
        for sidecar in self.sidecars:
            for lease in sidecar.book.leases():
                known = stored.get(shards.key(lease.account, lease.window))
                of_epoch = known.open.get(sidecar.book.epoch) if known is not None else None
                written = of_epoch.granted if of_epoch is not None else 0
                over = known is None or known.ends + shards.KEPT_AFTER_END <= self.now or sidecar.book.closed
                if lease.granted > written and not over:
                    raise LawBroken(
                        f"{sidecar.book.epoch} {lease.account}: {lease.granted} handed out, {written} written"
                    )

    # Parts

    def _service(self) -> LeaseService:
        pace = Pace(linger=0, spacing=0, backoff=0, fresh_ms=5_000, flush_ms=3_000)
        service = LeaseService(self.store, pace=pace, rng=random.Random(0))
        service.set_limits(self._limits())
        return service

    def _limits(self) -> quota_limits.Limits:
        return quota_limits.everywhere(self._defined())

    def _defined(self) -> Iterable[QuotaLimit]:
        for account, amount in self.amounts.items():
            yield QuotaLimit(
                account=account,
                name=account.rpartition("/")[2],
                scope=Scope.TENANT if account == TENANT else Scope.ROUTE,
                amount=NanoUSD(amount),
                window=Window.DAY if account == TENANT else Window.MINUTE,
                time_zone="Europe/Berlin",
            )

    def _note_limits(self) -> None:
        for limit in self._defined():
            window = windows.span(limit.window, limit.time_zone, self.now).id
            for known in {window, *(w for account, w in self.highest if account == limit.account)}:
                key = (limit.account, known)
                self.highest[key] = max(self.highest.get(key, 0), limit.amount)

    def _charge(self, attempt: Attempt, amount: int) -> None:
        for pays in attempt.pays:
            self.bill[pays] = self.bill.get(pays, 0) + amount

    def _charge_open(self, index: int) -> None:
        for attempt in [a for a in self.attempts if a.sidecar == index]:
            self._charge(attempt, attempt.bound)
            self.attempts.remove(attempt)

    def _stored(self) -> dict[str, Account]:
        found: dict[str, Account] = {}
        for prefix in self.loop.run_until_complete(self.store.prefixes()):
            stored = self.loop.run_until_complete(self.store.load(prefix))
            assert stored is not None, "the store named it"
            found |= shards.decode(stored.content).accounts
        return found

    def _monotonic(self) -> Millis:
        return Millis(self.elapsed)


def _split(name: str) -> tuple[str, str]:
    account, _, window = name.partition("|")
    return account, window


def _tear(path: Path) -> None:
    """Half of one slot's counters is from before."""
    content = bytearray(path.read_bytes())
    content[640 + 8 : 640 + 12] = b"\xff\xff\xff\x00"
    path.write_bytes(content)

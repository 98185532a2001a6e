"""The theorem as a law over the production classes: nobody ever charges more than the limit, whatever is lost, doubled or killed.

Each mutant is one mistake that a ledger of this kind can have. The law must notice it within the same number of schedules that the
product survives, else the law is too weak.
"""

import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from turnout_operator.quota import account as accounts
from turnout_operator.quota import shard as shards
from turnout_operator.quota.lane import Lane
from turnout_operator.quota.memory import MemoryStore
from turnout_operator.quota.ports import Conflict, Stored, StoreUnavailable
from turnout_sidecar.core import account as charges
from turnout_sidecar.core import wal
from turnout_sidecar.core.budget import Book, Hold, Shortfall
from turnout_sidecar.policy.report import Grant
from turnout_sidecar.policy.units import Millis, NanoUSD
from turnout_testing.ledgerworld import ROUTE, TENANT, LawBroken, World

pods = st.integers(0, 2)
replicas = st.integers(0, 1)
picks = st.integers(0, 10**6)
money = st.integers(5, 60)


class Budget(RuleBasedStateMachine):
    """Hypothesis plays fate."""

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.world = World(Path(self.directory.name))

    @rule(pod=pods, tenant=st.sampled_from(["a", "b"]), amount=money, replica=replicas)
    def request(self, pod: int, tenant: str, amount: int, replica: int) -> None:
        """A patient one: asks the ledger where money is lacking, and tries again."""
        for _ in range(3):
            if self.world.attempt(pod, tenant, amount):
                return
            self.world.converse(pod, replica)

    @rule(pod=pods, tenant=st.sampled_from(["a", "b"]), amount=money)
    def impatient_request(self, pod: int, tenant: str, amount: int) -> None:
        self.world.attempt(pod, tenant, amount)

    @precondition(lambda self: self.world.attempts)
    @rule(which=picks, charge=st.integers(0, 60))
    def finish(self, which: int, charge: int) -> None:
        self.world.finish(which % len(self.world.attempts), charge)

    @precondition(lambda self: self.world.attempts)
    @rule(which=picks)
    def abort(self, which: int) -> None:
        self.world.abort(which % len(self.world.attempts))

    @precondition(lambda self: self.world.attempts)
    @rule(which=picks)
    def never_sent(self, which: int) -> None:
        self.world.never_sent(which % len(self.world.attempts))

    @rule(pod=pods, replica=replicas)
    def converse(self, pod: int, replica: int) -> None:
        self.world.converse(pod, replica)

    @rule(pod=pods)
    def send_report(self, pod: int) -> None:
        self.world.send_report(pod)

    @precondition(lambda self: self.world.reports)
    @rule(which=picks, replica=replicas, keep=st.booleans())
    def deliver_report(self, which: int, replica: int, keep: bool) -> None:
        self.world.deliver_report(which % len(self.world.reports), replica, keep=keep)

    @precondition(lambda self: self.world.answers)
    @rule(which=picks, keep=st.booleans())
    def deliver_answer(self, which: int, keep: bool) -> None:
        self.world.deliver_answer(which % len(self.world.answers), keep=keep)

    @precondition(lambda self: self.world.reports)
    @rule(which=picks)
    def lose_report(self, which: int) -> None:
        del self.world.reports[which % len(self.world.reports)]

    @precondition(lambda self: self.world.answers)
    @rule(which=picks)
    def lose_answer(self, which: int) -> None:
        del self.world.answers[which % len(self.world.answers)]

    @rule(pod=pods, volume=st.sampled_from(["kept", "kept", "kept", "lost", "torn"]))
    def kill(self, pod: int, volume: str) -> None:
        self.world.kill(pod, volume=volume)

    @rule(pod=pods)
    def stop(self, pod: int) -> None:
        self.world.stop(pod)

    @rule(replica=replicas)
    def kill_service(self, replica: int) -> None:
        self.world.kill_service(replica)

    @rule(when=st.sampled_from(["before", "after"]))
    def fail_next_write(self, when: str) -> None:
        self.world.store.fail = when

    @rule(account=st.sampled_from([ROUTE, TENANT]), amount=st.sampled_from([80, 160, 240]))
    def edit_limit(self, account: str, amount: int) -> None:
        self.world.set_limit(account, amount)

    @rule(milliseconds=st.sampled_from([1, 700, 4_000, 4_000, 20_000, 20_000, 90_000, 900_000]))
    def pass_time(self, milliseconds: int) -> None:
        self.world.pass_time(milliseconds)

    @rule(milliseconds=st.sampled_from([-700_000, -90_000, -4_000, 90_000, 700_000]))
    def jump_the_ledgers_clock(self, milliseconds: int) -> None:
        self.world.jump_service_clock(milliseconds)

    @invariant()
    def laws_hold(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.world.settle_down()
        finally:
            self.world.close()
            self.directory.cleanup()


SCHEDULES = settings(
    max_examples=200,
    stateful_step_count=60,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_no_schedule_charges_more_than_the_limit_and_nothing_leaks() -> None:
    run_state_machine_as_test(Budget, settings=SCHEDULES)


def send_before_persist(patch: pytest.MonkeyPatch) -> None:
    """The grant goes out whether or not its write came through."""
    write = Lane._write

    async def careless(self: Lane, content: bytes, now: int) -> None:
        try:
            await write(self, content, now)
        except (Conflict, StoreUnavailable):
            self.doubt()

    patch.setattr(Lane, "_write", careless)


def duplicate_grant_adds(patch: pytest.MonkeyPatch) -> None:
    """A grant is taken for an increment: what the last one brought is added when it comes again."""
    take = Book._take

    def adding(self: Book, grant: Grant, now: int) -> bool:
        lease = self._leases.get((grant.account, grant.window))
        if lease is not None and 0 < grant.granted == lease.granted:
            lease.granted += 10
            lease.free += 10
        return take(self, grant, now)

    patch.setattr(Book, "_take", adding)


def write_without_cas(patch: pytest.MonkeyPatch) -> None:
    """The last writer wins."""

    async def careless(self: MemoryStore, prefix: str, content: bytes, expected: str | None) -> str:
        self._revision += 1
        self._shards[prefix] = Stored(content, str(self._revision))
        return str(self._revision)

    patch.setattr(MemoryStore, "swap", careless)


def abort_settles_to_zero(patch: pytest.MonkeyPatch) -> None:
    """Whoever leaves early pays nothing, although the provider went on."""
    patch.setattr(charges, "of_aborted", lambda **_: NanoUSD(0))


def ttl_reclaims_dead_epochs(patch: pytest.MonkeyPatch) -> None:
    """A lease that nobody has reported on for a minute is taken back."""
    swept = shards._swept

    def reclaiming(shard: shards.Shard, now: int) -> shards.Shard:
        kept = {}
        for name, account in swept(shard, now).accounts.items():
            for epoch, lease in account.open.items():
                account = accounts.close(account, epoch) if now - lease.seen > 60_000 else account
            kept[name] = account
        return msgspec.structs.replace(swept(shard, now), accounts=kept)

    patch.setattr(shards, "_swept", reclaiming)


def check_then_account(patch: pytest.MonkeyPatch) -> None:
    """Admission looks whether there is money, and the charge is booked when the answer came."""
    hold, resolve = Book.hold, Book._resolve

    def checking(self: Book, amounts: tuple[tuple[str, NanoUSD], ...], now: Millis) -> Hold | Shortfall:
        made = hold(self, amounts, now)
        if isinstance(made, Hold):
            for lease, (_, amount) in zip(made._leases, amounts, strict=True):
                lease.held -= amount
                lease.free += amount
        return made

    def accounting(self: Book, made: Hold, charge: int) -> NanoUSD:
        for lease, (_, amount) in zip(made._leases, made.amounts, strict=True):
            lease.held += amount
            lease.free -= amount
        return resolve(self, made, charge)

    patch.setattr(Book, "hold", checking)
    patch.setattr(Book, "_resolve", accounting)


def closing_with_holds_open(patch: pytest.MonkeyPatch) -> None:
    """The final report leaves out what is in flight."""

    def hasty(self: Book) -> None:
        self.closed = True
        for lease in self._leases.values():
            lease.free += lease.held
            lease.held = 0

    patch.setattr(Book, "close", hasty)


def replay_forgets_holds(patch: pytest.MonkeyPatch) -> None:
    """The next life reports what was settled, not what was held."""
    write = wal.WriteAheadRecord.write

    def forgetful(self: wal.WriteAheadRecord, slot: int, granted: int, spent: int, held: int, returned: int) -> None:
        write(self, slot, granted, spent, 0, returned)

    patch.setattr(wal.WriteAheadRecord, "write", forgetful)


MUTANTS = [
    send_before_persist,
    duplicate_grant_adds,
    write_without_cas,
    abort_settles_to_zero,
    ttl_reclaims_dead_epochs,
    check_then_account,
    closing_with_holds_open,
    replay_forgets_holds,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_law_notices(mutant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(mutant)
    mutant(monkeypatch)
    with pytest.raises(LawBroken):
        run_state_machine_as_test(Budget, settings=SCHEDULES)

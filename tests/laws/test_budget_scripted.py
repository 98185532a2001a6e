"""Mistakes that chance meets too rarely: the same laws, played from a script. Each script is survived by the product and not by its mutant."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from turnout_operator.quota import account as accounts
from turnout_operator.quota import shard as shards
from turnout_sidecar.core import wal
from turnout_sidecar.core.budget import Book
from turnout_sidecar.policy.report import EpochReport
from turnout_testing.ledgerworld import LawBroken, World

Script = Callable[[World], None]
Mutant = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def spend(world: World, pod: int, amount: int, tenant: str = "a") -> bool:
    """One attempt, charged in full; asks the ledger where money is lacking."""
    for _ in range(6):
        if world.attempt(pod, tenant, amount):
            world.finish(len(world.attempts) - 1, amount)
            world.check()
            return True
        world.converse(pod, 0)
        for other in range(3):
            world.converse(other, 0)
    return False


def spend_all(world: World, pod: int) -> None:
    while spend(world, pod, 20):
        pass


def a_torn_record(world: World) -> None:
    spend(world, 0, 60)
    world.attempt(0, "a", 20)
    world.kill(0, volume="torn")
    world.converse(0, 0)
    world.converse(0, 0)
    spend_all(world, 1)


def torn_record_is_believed(patch: pytest.MonkeyPatch) -> None:
    """What does not hold together is reported as if it had been read and said nothing."""
    read = wal._read

    def credulous(epoch: str, content: bytes) -> tuple[EpochReport, bool]:
        report, whole = read(epoch, content)
        return msgspec.structs.replace(report, complete=True), whole

    patch.setattr(wal, "_read", credulous)


def a_clock_that_goes_back(world: World) -> None:
    spend_all(world, 0)
    world.pass_time(900_000)
    spend(world, 1, 20)
    world.jump_service_clock(-900_000)
    for _ in range(3):
        spend_all(world, 2)


def windows_are_reopened(patch: pytest.MonkeyPatch) -> None:
    """That a window was swept is forgotten with it."""
    swept = shards._swept
    patch.setattr(shards, "_swept", lambda shard, now: msgspec.structs.replace(swept(shard, now), swept=0))


def a_recall_while_everything_is_held(world: World) -> None:
    while world.attempt(0, "a", 40) or spend(world, 0, 1, "b"):
        if sum(attempt.bound for attempt in world.attempts) >= 120:
            break
    spend_all(world, 1)
    world.converse(0, 0)
    world.converse(0, 0)
    spend_all(world, 1)
    while world.attempts:
        world.finish(0, world.attempts[0].bound)
        world.check()


def recall_takes_what_is_held(patch: pytest.MonkeyPatch) -> None:
    """The free money is taken for granted less spent."""
    take = Book._take

    def generous(self: Book, grant: object, now: int) -> bool:
        gained = take(self, grant, now)  # type: ignore[arg-type]
        for lease in self._leases.values():
            lease.returned += lease.held
            lease.free -= lease.held
        return gained

    patch.setattr(Book, "_take", generous)


def a_report_of_the_dead(world: World) -> None:
    """Everything was given back; then an old report of that life arrives."""
    spend(world, 0, 20)
    world.send_report(0)
    world.stop(0)
    world.deliver_report(1, 0, keep=False)
    spend_all(world, 1)
    world.deliver_report(0, 1, keep=True)
    world.deliver_report(0, 0, keep=False)
    spend_all(world, 2)


def closed_epochs_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A closed epoch may begin again."""
    close = accounts.close

    def forgetful(account: accounts.Account, epoch: str) -> accounts.Account:
        return msgspec.structs.replace(close(account, epoch), closed=(), settled=0)

    patch.setattr(accounts, "close", forgetful)


SCRIPTS: list[tuple[Script, Mutant]] = [
    (a_torn_record, torn_record_is_believed),
    (a_clock_that_goes_back, windows_are_reopened),
    (a_recall_while_everything_is_held, recall_takes_what_is_held),
    (a_report_of_the_dead, closed_epochs_are_forgotten),
]


@pytest.mark.parametrize("script", [script for script, _ in SCRIPTS], ids=lambda f: f.__name__)
def test_the_product_survives(script: Script, world: World) -> None:
    script(world)
    world.settle_down()


@pytest.mark.parametrize(("script", "mutant"), SCRIPTS, ids=[mutant.__name__ for _, mutant in SCRIPTS])
def test_the_law_notices(script: Script, mutant: Mutant, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises(LawBroken):
        script(world)
        world.settle_down()


def test_nearly_all_of_a_limit_can_be_spent_over_several_sidecars(world: World) -> None:
    """Whoever asks, until nobody gets anything: what is left is less than one attempt."""
    spent = sum(20 for _ in range(20) for pod in range(3) if spend(world, pod, 20, tenant=f"t{pod}"))
    assert spent == 240

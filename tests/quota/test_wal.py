"""The write-ahead record across the death of its process."""

import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from turnout_operator.quota.http import MAX_BODY
from turnout_sidecar.core import wal
from turnout_sidecar.core.budget import Book, Hold
from turnout_sidecar.policy.report import (
    ACCOUNT_MAX,
    EPOCH_MAX,
    WIRE,
    AccountReport,
    EpochReport,
    Grant,
    Report,
    encode_report,
)
from turnout_sidecar.policy.units import Millis, NanoUSD

ACCOUNT = "shop/route:chat/day/-"
WINDOW = "Day@2026-11-21T00:00Z"


def grant(amount: int, account: str = ACCOUNT) -> Grant:
    return Grant(
        account=account,
        window=WINDOW,
        window_ends=1_795_305_600_000,
        window_remaining=Millis(3_600_000),
        granted=NanoUSD(amount),
        recall=NanoUSD(0),
        limit=NanoUSD(10**9),
        settled=NanoUSD(0),
        exhausted=False,
    )


def leased(directory: Path, epoch: str, amount: int = 1_000) -> tuple[Book, wal.WriteAheadRecord]:
    record = wal.WriteAheadRecord.open(directory, epoch)
    book = Book(epoch=epoch, record=record)
    book.apply([grant(amount)], Millis(0))
    return book, record


def held(book: Book, amount: int) -> Hold:
    hold = book.hold(((ACCOUNT, NanoUSD(amount)),), Millis(1))
    assert isinstance(hold, Hold)
    return hold


def only(replayed: wal.Replay) -> AccountReport:
    (epoch,) = replayed.epochs
    (account,) = epoch.accounts
    return account


def test_what_was_held_at_death_counts_as_spent(tmp_path: Path) -> None:
    book, record = leased(tmp_path, "life-1")
    book.settle(held(book, 300), NanoUSD(120))
    held(book, 200)
    record.close()
    replayed = wal.replay(tmp_path)
    assert only(replayed) == AccountReport(
        account=ACCOUNT,
        window=WINDOW,
        granted=NanoUSD(1_000),
        spent=NanoUSD(320),
        held=NanoUSD(0),
        returned=NanoUSD(0),
        wants=NanoUSD(0),
    )
    assert replayed.epochs[0].final
    assert replayed.epochs[0].complete
    assert replayed.unreadable == ()


CHILD = """
import os, signal, sys
from pathlib import Path
from turnout_sidecar.core import budget, wal
from turnout_sidecar.policy.report import Grant
record = wal.WriteAheadRecord.open(Path(sys.argv[1]), "killed")
book = budget.Book(epoch="killed", record=record)
book.apply([Grant(account="a/-", window="w", window_ends=1, window_remaining=10**9, granted=1000, recall=0, limit=10**9,
                  settled=0, exhausted=False)], 0)
book.settle(book.hold((("a/-", 400),), 1), 150)
book.hold((("a/-", 250),), 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("host", ["vm", "support-answer-7d4b9c6f5d-x2x9z.support.svc", "x" * 253, "höst_1"])
def test_a_life_has_a_name_that_fits_whatever_its_host_is_called(tmp_path: Path, host: str) -> None:
    life = "0" * 32
    epoch = wal.epoch_of(host, life)
    assert len(epoch) <= EPOCH_MAX
    assert epoch.endswith(life)
    assert re.fullmatch(r"[A-Za-z0-9-]+", epoch)
    wal.WriteAheadRecord.open(tmp_path, epoch).close()


_LOOKER = """
import sys
from pathlib import Path
from turnout_sidecar.core import wal
print("ready", flush=True)
found = 0
while not (Path(sys.argv[1]) / "enough").exists():
    replayed = wal.replay(Path(sys.argv[1]))
    found += len(replayed.epochs) + len(replayed.unreadable)
print(found)
"""


def test_a_life_that_begins_beside_another_is_never_taken_for_dead(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _LOOKER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as looker:
        assert looker.stdout is not None
        assert looker.stdout.readline() == "ready\n"
        records = [wal.WriteAheadRecord.open(tmp_path, f"life-{n}") for n in range(300)]
        (tmp_path / "enough").touch()
        assert looker.stdout.read() == "0\n"
    for record in records:
        record.close()


def life(epoch: str, accounts: int) -> EpochReport:
    line = AccountReport(
        account="a",
        window="w",
        granted=NanoUSD(1),
        spent=NanoUSD(1),
        held=NanoUSD(0),
        returned=NanoUSD(0),
        wants=NanoUSD(0),
    )
    return EpochReport(epoch=epoch, accounts=(line,) * accounts, final=True)


def test_a_huge_life_is_told_alone_and_the_others_wait_for_their_turn() -> None:
    small = tuple(life(f"small-{n}", 10) for n in range(20))
    huge = tuple(life(f"huge-{n}", 60_000) for n in range(2))
    assert wal.portion(small) == small
    assert wal.portion((*huge, *small)) == huge[:1]
    assert wal.portion((*small, *huge)) == small
    assert wal.portion(()) == ()


def test_the_fullest_record_fits_into_a_report() -> None:
    line = AccountReport(
        account="x" * ACCOUNT_MAX,
        window=WINDOW,
        granted=NanoUSD(10**12),
        spent=NanoUSD(10**12),
        held=NanoUSD(0),
        returned=NanoUSD(10**12),
        wants=NanoUSD(0),
    )
    full = EpochReport(epoch="e" * EPOCH_MAX, accounts=(line,) * wal.MOST_SLOTS, final=True)
    now = EpochReport(epoch="n" * EPOCH_MAX, accounts=(line,) * 8_192)
    assert len(encode_report(Report(wire=WIRE, sequence=1, epoch=now, previous=(full,)))) < MAX_BODY


def test_a_record_survives_sigkill(tmp_path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], check=False)
    assert child.returncode == -signal.SIGKILL
    account = only(wal.replay(tmp_path))
    assert (account.granted, account.spent, account.returned) == (1_000, 400, 0)


def test_the_record_of_a_living_process_is_not_replayed(tmp_path: Path) -> None:
    leased(tmp_path, "alive")
    assert wal.replay(tmp_path).epochs == ()


@pytest.mark.parametrize("offset", range(0, 40, 8))
def test_a_torn_slot_is_left_out_of_a_report_that_then_is_not_complete(tmp_path: Path, offset: int) -> None:
    book, record = leased(tmp_path, "torn")
    held(book, 200)
    record.close()
    with record.path.open("r+b") as file:
        file.seek(640 + offset)
        file.write(b"\x5a")
    (epoch,) = wal.replay(tmp_path).epochs
    assert epoch.accounts == ()
    assert epoch.final
    assert not epoch.complete


@pytest.mark.parametrize("size", [0, 5, 640, 700, 640 * 9])
def test_a_cut_file_claims_nothing(tmp_path: Path, size: int) -> None:
    _, record = leased(tmp_path, "cut")
    record.close()
    os.truncate(record.path, size)
    replayed = wal.replay(tmp_path)
    assert not replayed.epochs[0].complete
    assert str(record.path) in replayed.unreadable[0]


def test_more_leases_than_a_record_began_with_are_all_replayed(tmp_path: Path) -> None:
    record = wal.WriteAheadRecord.open(tmp_path, "many")
    book = Book(epoch="many", record=record)
    names = [f"shop/route:chat/tenant/t{i}" for i in range(700)]
    book.apply([grant(10, name) for name in names], Millis(0))
    record.close()
    (epoch,) = wal.replay(tmp_path).epochs
    assert epoch.complete
    assert sorted(a.account for a in epoch.accounts) == sorted(names)


def test_a_lease_without_room_makes_the_record_incomplete(tmp_path: Path) -> None:
    record = wal.WriteAheadRecord.open(tmp_path, "long")
    book = Book(epoch="long", record=record)
    book.apply([grant(10, "x" * 700), grant(10)], Millis(0))
    record.close()
    (epoch,) = wal.replay(tmp_path).epochs
    assert [a.account for a in epoch.accounts] == [ACCOUNT]
    assert not epoch.complete


def test_an_ended_window_leaves_its_slot_to_others(tmp_path: Path) -> None:
    book, record = leased(tmp_path, "rolled")
    book.report(Millis(1_000))
    book.report(Millis(3_600_000 + 500_000))
    book.report(Millis(3_600_000 + 501_000))
    book.report(Millis(3_600_000 + 502_000))
    record.close()
    (epoch,) = wal.replay(tmp_path).epochs
    assert epoch.accounts == ()
    assert not epoch.complete  # the last report of that window may have been lost
    assert wal.replay(tmp_path).unreadable == ()


def test_forgotten_epochs_are_not_told_again(tmp_path: Path) -> None:
    _, record = leased(tmp_path, "done")
    record.close()
    wal.forget(tmp_path, ["done", "never-was"])
    assert wal.replay(tmp_path).epochs == ()


def test_a_missing_directory_says_what_it_costs_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(wal.RecordUnavailable, match=r"No such file.*windows end.*writable volume"):
        wal.WriteAheadRecord.open(tmp_path / "absent", "e")


def test_a_full_disk_is_refused_at_the_start_and_leaves_no_file(tmp_path: Path) -> None:
    """A file size limit stands for the full disk: the same call fails, at the same place."""
    code = (
        "import resource, sys, signal\nfrom pathlib import Path\nfrom turnout_sidecar.core import wal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    wal.WriteAheadRecord.open(Path(sys.argv[1]), 'full')\n"
        "except wal.RecordUnavailable as e:\n    print(e)\n"
    )
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert "no write-ahead record in" in child.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_cannot_grow_is_incomplete_but_serves(tmp_path: Path) -> None:
    code = (
        "import resource, sys, signal\nfrom pathlib import Path\nfrom turnout_sidecar.core import wal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "record = wal.WriteAheadRecord.open(Path(sys.argv[1]), 'small')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "slots = [record.slot(f'a/{i}', 'w') for i in range(300)]\nprint(slots.count(-1))\n"
    )
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert child.stdout.strip() == "44"
    (epoch,) = wal.replay(tmp_path).epochs
    assert len(epoch.accounts) == 256
    assert not epoch.complete


def test_two_lives_never_share_a_record(tmp_path: Path) -> None:
    _, record = leased(tmp_path, "one")
    with record.path.open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    with pytest.raises(wal.RecordUnavailable):
        wal.WriteAheadRecord.open(tmp_path, "one")

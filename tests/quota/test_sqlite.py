"""The ledger of `turnout serve` across processes that die."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from turnout_operator.quota.ports import Conflict, Stored, StoreUnavailable
from turnout_operator.quota.sqlite import SQLiteStore


def test_a_swap_needs_the_version_it_was_computed_from(tmp_path: Path) -> None:
    async def run() -> None:
        store = SQLiteStore(tmp_path / "ledger.db")
        assert await store.load("0") is None
        first = await store.swap("0", b"one", None)
        with pytest.raises(Conflict):
            await store.swap("0", b"again", None)
        second = await store.swap("0", b"two", first)
        with pytest.raises(Conflict):
            await store.swap("0", b"late", first)
        assert await store.load("0") == Stored(b"two", second)
        assert await store.prefixes() == ("0",)
        store.close()

    asyncio.run(run())


def test_a_ledger_is_found_again_after_a_restart(tmp_path: Path) -> None:
    async def run() -> None:
        store = SQLiteStore(tmp_path / "ledger.db")
        version = await store.swap("a", b"kept", None)
        store.close()
        again = SQLiteStore(tmp_path / "ledger.db")
        assert await again.load("a") == Stored(b"kept", version)
        again.close()

    asyncio.run(run())


def test_two_processes_never_both_win_a_swap(tmp_path: Path) -> None:
    """Each adds one to a number, a hundred times, by compare-and-swap: nothing gets lost."""
    code = """
import asyncio, sys
from pathlib import Path
from turnout_operator.quota.ports import Conflict
from turnout_operator.quota.sqlite import SQLiteStore
async def run():
    store = SQLiteStore(Path(sys.argv[1]))
    done = 0
    while done < 100:
        stored = await store.load("0")
        try:
            await store.swap("0", str(int(stored.content) + 1).encode(), stored.version)
            done += 1
        except Conflict:
            pass
asyncio.run(run())
"""

    store = SQLiteStore(tmp_path / "ledger.db")
    asyncio.run(store.swap("0", b"0", None))
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "ledger.db")]) for _ in range(2)]
    assert [child.wait() for child in both] == [0, 0]
    stored = asyncio.run(store.load("0"))
    assert stored is not None
    assert stored.content == b"200"
    store.close()


def test_a_file_that_is_no_ledger_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database at all, but long enough to be read as one" * 40)
    with pytest.raises(StoreUnavailable, match=r"ledger\.db: file is not a database"):
        SQLiteStore(path)


CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from turnout_operator.identity import Identity
from turnout_operator.ir import QuotaLimit, Window
from turnout_operator.quota import limits
from turnout_operator.quota.lane import Pace
from turnout_operator.quota.service import LeaseService
from turnout_operator.quota.sqlite import SQLiteStore
from turnout_sidecar.core.budget import Book, Hold
from turnout_sidecar.policy.model import Scope
from turnout_sidecar.policy.report import WIRE, Report

path, epoch, write, when = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]

class Dying(SQLiteStore):
    writes = 0
    async def swap(self, prefix, content, expected):
        self.writes += 1
        if self.writes == write and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        version = await super().swap(prefix, content, expected)
        if self.writes == write and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return version

async def run():
    service = LeaseService(Dying(path), pace=Pace(linger=0, spacing=0))
    service.set_limits(limits.everywhere([QuotaLimit(
        account="shop/route:chat/day", name="day", scope=Scope.ROUTE, amount=1000, window=Window.DAY, time_zone="UTC")]))
    book, spent = Book(epoch=epoch), 0
    for sequence in range(40):
        hold = book.hold((("shop/route:chat/day/-", 30),), 0)
        if isinstance(hold, Hold):
            book.settle(hold, 30)
            print("charged 30", flush=True)
        told = Report(wire=WIRE, sequence=sequence, epoch=book.report(0))
        answer = await service.report(Identity(namespace="shop", service_account=epoch), told, 1_795_262_400_000)
        book.apply(answer.grants, 0)

asyncio.run(run())
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_whoever_is_killed_at_whichever_write_no_more_is_charged_than_the_limit(tmp_path: Path, when: str) -> None:
    """Sidecar and ledger die together, again and again; the provider's own count is what they printed."""
    charged, killed = 0, 0
    for life, write in enumerate([1, 2, 3, 2, 1, 3, 9, 1, 99]):
        command = [sys.executable, "-c", CHILD, str(tmp_path / "ledger.db"), f"life-{life}", str(write), when]
        child = subprocess.run(command, check=False, capture_output=True, text=True)
        assert child.returncode in (0, -signal.SIGKILL), child.stderr
        killed += child.returncode != 0
        charged += 30 * child.stdout.count("charged 30")
    assert killed >= 5
    assert 0 < charged <= 1_000

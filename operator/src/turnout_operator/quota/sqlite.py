"""The ledger of `turnout serve`: one SQLite file, durable before a grant is handed out, whole after a SIGKILL.

One thread does all the work, because a connection belongs to one and the file has one writer anyway. `synchronous=FULL` makes every commit
wait for the disk; at one write for all reports of a moment that is cheap.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from turnout_operator.quota.ports import Conflict, Stored, StoreUnavailable

_T = TypeVar("_T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS shards (prefix TEXT PRIMARY KEY, version INTEGER NOT NULL, content BLOB NOT NULL) STRICT, WITHOUT ROWID
"""


class SQLiteStore:
    """Opens `path`, which may be new. Raises `StoreUnavailable` where it cannot be a ledger."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._path = path
        try:
            self._connection = self._thread.submit(_open, path).result()
        except sqlite3.Error as e:
            self._thread.shutdown()
            raise StoreUnavailable(f"no ledger in {path}: {e}") from e

    async def load(self, prefix: str) -> Stored | None:
        return await self._run(lambda: _load(self._connection, prefix))

    async def swap(self, prefix: str, content: bytes, expected: str | None) -> str:
        return await self._run(lambda: _swap(self._connection, prefix, content, expected))

    async def prefixes(self) -> tuple[str, ...]:
        return await self._run(
            lambda: tuple(row[0] for row in self._connection.execute("SELECT prefix FROM shards ORDER BY prefix"))
        )

    def close(self) -> None:
        """Waits for the write under way."""
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()

    async def _run(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as e:
            raise StoreUnavailable(
                f"the ledger {self._path} failed: {e}; nothing is granted until it can be written"
            ) from e


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=5)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(_SCHEMA)
    return connection


def _load(connection: sqlite3.Connection, prefix: str) -> Stored | None:
    row = connection.execute("SELECT content, version FROM shards WHERE prefix = ?", (prefix,)).fetchone()
    return None if row is None else Stored(bytes(row[0]), str(row[1]))


def _swap(connection: sqlite3.Connection, prefix: str, content: bytes, expected: str | None) -> str:
    """One statement is one transaction: it changes a row of the expected version, or none."""
    if expected is None:
        made = connection.execute("INSERT OR IGNORE INTO shards VALUES (?, 1, ?)", (prefix, content))
        version = 1
    else:
        version = int(expected) + 1
        made = connection.execute(
            "UPDATE shards SET version = ?, content = ? WHERE prefix = ? AND version = ?",
            (version, content, prefix, int(expected)),
        )
    if made.rowcount != 1:
        raise Conflict(f"shard {prefix} is not at version {expected}")
    return str(version)

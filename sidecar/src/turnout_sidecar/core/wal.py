"""The write-ahead record: what an epoch's leases were at the moment its process died, for the process that comes after it.

Rules
- One file an epoch, locked by the process that lives it. A record is written before the attempt it covers may start.
- The file is mapped, so a SIGKILL loses nothing: the pages belong to the kernel. A lost node loses the volume as well, and
  then the leases stay granted to an epoch that never reports again: stranded, never spent twice.
- Every page is allocated before it is mapped: a full disk is an error at a known place and not a SIGBUS at any place.
- What cannot be read counts as spent in full: such an account is left out of a report that does not claim to be complete.
- Without a record the sidecar runs; it only cannot give back what a crashed life held.

A slot: granted, spent, held, returned, check; then the key's length and CRC, then the key (account, NUL, window).
"""

import errno
import fcntl
import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from turnout_sidecar.policy.report import ACCOUNT_MAX, EPOCH_MAX, AccountReport, EpochReport
from turnout_sidecar.policy.units import NanoUSD

_MAGIC = b"TURNOUT1"
_SUFFIX = ".epoch"
_FRESH = ".fresh"
_HEADER = struct.Struct("<8sIB")  # magic, slots, state
_COMPLETE, _NO_ROOM, _FORGOTTEN = 1, 0, 2
_COUNTERS = struct.Struct("<qqqqQ")
_KEY = struct.Struct("<HI")
_SLOT = 640
_FIRST = _SLOT  # the header has a slot's room to itself
_SLOTS = 256
MOST_SLOTS = 65_536
_KEY_AT = _COUNTERS.size
_NAME_AT = _KEY_AT + _KEY.size
_NAME_MAX = _SLOT - _NAME_AT
_MASK = 2**64 - 1
_LINES = 4_096
_NOT_IN_EPOCHS = re.compile(r"[^A-Za-z0-9-]")


def epoch_of(host: str, life: str) -> str:
    """The name of one process life, of [A-Za-z0-9-]. `life` is unique and kept whole; a pod's name may be far longer than there is room."""
    room = EPOCH_MAX - len(life) - 1
    assert room > 0, "a life leaves room for its host"
    return f"{_NOT_IN_EPOCHS.sub('-', host)[:room]}-{life}"


class RecordUnavailable(Exception):  # noqa: N818 - a state of the volume
    """No record can be kept here. The message says where, why, and what it costs."""


class Replay(NamedTuple):
    """Earlier epochs as their records tell them, and the words for what could not be read."""

    epochs: tuple[EpochReport, ...]
    unreadable: tuple[str, ...]


class WriteAheadRecord:
    """The record of this life; `Book` writes it under its lock. Open with `WriteAheadRecord.open`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._file = descriptor
        self._slots = _SLOTS
        self._map = mmap.mmap(descriptor, _FIRST + _SLOTS * _SLOT)
        self._vacant = list(range(_SLOTS - 1, -1, -1))
        self._pack = _COUNTERS.pack_into
        self._state = _COMPLETE
        self._head()

    @classmethod
    def open(cls, directory: Path, epoch: str) -> "WriteAheadRecord":
        """Raises `RecordUnavailable`."""
        assert 0 < len(epoch) <= EPOCH_MAX, "an epoch names a file"
        path, fresh = directory / f"{epoch}{_SUFFIX}", directory / f"{epoch}{_FRESH}"
        try:
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise RecordUnavailable(_words(directory, e)) from e
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(descriptor, 0, _FIRST + _SLOTS * _SLOT)
            record = cls(path, descriptor)
            fresh.rename(path)  # only now can it be found: a record without its lock would be taken for a dead life's
        except OSError as e:
            os.close(descriptor)
            fresh.unlink(missing_ok=True)
            raise RecordUnavailable(_words(directory, e)) from e
        return record

    def slot(self, account: str, window: str) -> int:
        """A place for this lease; -1 where there is none, and then the whole record no longer claims to be complete."""
        name = f"{account}\0{window}".encode()
        if len(name) > _NAME_MAX or len(account.encode()) > ACCOUNT_MAX or not (self._vacant or self._grow()):
            self._state = _NO_ROOM
            self._head()
            return -1
        at = _FIRST + self._vacant.pop() * _SLOT
        self.write(at, 0, 0, 0, 0)
        self._map[at + _NAME_AT : at + _NAME_AT + len(name)] = name
        _KEY.pack_into(self._map, at + _KEY_AT, len(name), zlib.crc32(name))
        return at

    def write(self, slot: int, granted: int, spent: int, held: int, returned: int) -> None:
        """Survives the process from here on. Under half a microsecond."""
        self._pack(
            self._map,
            slot,
            granted,
            spent,
            held,
            returned,
            (granted + 3 * spent + 5 * held + 7 * returned + 11) & _MASK,
        )

    def vacate(self, slot: int) -> None:
        """Forgets a lease whose window is over and told; from here on the record does not claim to name every lease."""
        if self._state == _COMPLETE:
            self._state = _FORGOTTEN
            self._head()
        _KEY.pack_into(self._map, slot + _KEY_AT, 0, 0)
        self._vacant.append((slot - _FIRST) // _SLOT)

    def discard(self) -> None:
        """After the final report of this epoch was acknowledged: nothing is left to replay."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Lets go of the file, which stays for the next life."""
        self._map.close()
        os.close(self._file)

    def _grow(self) -> bool:
        slots = 2 * self._slots
        if slots > MOST_SLOTS:
            return False
        try:
            os.posix_fallocate(self._file, 0, _FIRST + slots * _SLOT)
            self._map.resize(_FIRST + slots * _SLOT)
        except OSError:
            return False
        self._vacant.extend(range(slots - 1, self._slots - 1, -1))
        self._slots = slots
        self._head()
        return True

    def _head(self) -> None:
        _HEADER.pack_into(self._map, 0, _MAGIC, self._slots, self._state)


def replay(directory: Path) -> Replay:
    """Final reports of the epochs in `directory` whose process is gone; what they held counts as spent. Never raises."""
    epochs: list[EpochReport] = []
    unreadable: list[str] = []
    try:
        paths = sorted(directory.glob(f"*{_SUFFIX}"))
    except OSError as e:
        return Replay((), (f"{directory}: {e.strerror}",))
    for path in paths:
        try:
            content = _content_of_the_dead(path)
        except OSError as e:
            unreadable.append(f"{path}: {e.strerror}; what this life had leased counts as spent")
            continue
        if content is None:
            continue
        report, whole = _read(path.name.removesuffix(_SUFFIX), content)
        if not whole:
            unreadable.append(f"{path}: damaged or without room; leases that it does not show count as spent")
        epochs.append(report)
    return Replay(tuple(epochs), tuple(unreadable))


def portion(epochs: tuple[EpochReport, ...]) -> tuple[EpochReport, ...]:
    """As many of these lives as one report takes: all of the usual ones, a huge one alone. The others follow when it is closed."""
    found: list[EpochReport] = []
    lines = 0
    for epoch in epochs:
        lines += len(epoch.accounts)
        if found and lines > _LINES:
            break
        found.append(epoch)
    return tuple(found)


def forget(directory: Path, epochs: Iterable[str]) -> None:
    """Removes the records of earlier epochs that the ledger has closed. A file that stays is only told again."""
    for epoch in epochs:
        try:
            (directory / f"{epoch}{_SUFFIX}").unlink(missing_ok=True)
        except OSError:
            continue


def _content_of_the_dead(path: Path) -> bytes | None:
    """None where its process lives: two Envoys may share a volume for a moment."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return path.read_bytes()
    except BlockingIOError:
        return None
    finally:
        os.close(descriptor)


def _read(epoch: str, content: bytes) -> tuple[EpochReport, bool]:
    """The report, and whether everything that should be in the record could be read."""
    if len(content) < _FIRST or content[: len(_MAGIC)] != _MAGIC:
        return EpochReport(epoch=epoch, accounts=(), final=True, complete=False), False
    _, slots, state = _HEADER.unpack_from(content, 0)
    whole = state in (_COMPLETE, _FORGOTTEN) and len(content) >= _FIRST + slots * _SLOT
    accounts = []
    for at in range(_FIRST, min(len(content) - _SLOT, _FIRST + (slots - 1) * _SLOT) + 1, _SLOT):
        length, crc = _KEY.unpack_from(content, at + _KEY_AT)
        if length == 0:
            continue
        account = _account(content, at, length, crc)
        if account is None:
            whole = False
        else:
            accounts.append(account)
    return EpochReport(epoch=epoch, accounts=tuple(accounts), final=True, complete=whole and state == _COMPLETE), whole


def _account(content: bytes, at: int, length: int, crc: int) -> AccountReport | None:
    """None where the slot does not hold together."""
    name = content[at + _NAME_AT : at + _NAME_AT + length]
    granted, spent, held, returned, check = _COUNTERS.unpack_from(content, at)
    if (
        length > _NAME_MAX
        or zlib.crc32(name) != crc
        or (granted + 3 * spent + 5 * held + 7 * returned + 11) & _MASK != check
    ):
        return None
    account, _, window = name.decode().partition("\0")
    return AccountReport(
        account=account,
        window=window,
        granted=NanoUSD(granted),
        spent=NanoUSD(spent + held),
        held=NanoUSD(0),
        returned=NanoUSD(returned),
        wants=NanoUSD(0),
    )


def _words(directory: Path, error: OSError) -> str:
    return (
        f"no write-ahead record in {directory}: {error.strerror}. The sidecar serves, but what a crashed life has leased is lost "
        "to its limits until their windows end; give it a writable volume with some megabytes of room"
    )

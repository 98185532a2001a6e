"""The folder in which `serve` keeps what must survive it: the ledger, leases of a crashed Envoy, the last good manifests.

ledger.sqlite     budgets            accepted.json     last good generations
epochs/           leases in use      run/              of this life only: bootstrap, token, admin socket
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from turnout_operator.ir import Accepted, decode_accepted, encode_accepted
from turnout_operator.serve.generations import Counted
from turnout_operator.serve.program import Remembered


class StateRefused(Exception):  # noqa: N818 - said to a person
    """The folder cannot be used; the message says why and what to do."""


class _File(msgspec.Struct, frozen=True):
    accepted: msgspec.Raw
    generations: dict[str, Counted]


class State:
    """Context manager; one process at a time. Everything in it is readable by this user alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = -1
        self._sockets: Path | None = None

    def __enter__(self) -> Self:
        try:
            for made in (self.folder, self.epochs, self.run):
                made.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise StateRefused(
                f"{self.folder} is in use by another serve: stop it, or choose another --state"
            ) from error
        except OSError as error:
            raise StateRefused(f"{self.folder} cannot be used: {error.strerror or error}") from error
        self._sockets = Path(tempfile.mkdtemp(prefix="turnout-"))  # a socket's path has room for 107 bytes
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None) -> None:
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
        shutil.rmtree(self.run, ignore_errors=True)
        os.close(self._lock)

    @property
    def ledger(self) -> Path:
        """SQLite."""
        return self.folder / "ledger.sqlite"

    @property
    def epochs(self) -> Path:
        """The engine's write-ahead records."""
        return self.folder / "epochs"

    @property
    def run(self) -> Path:
        """Of this life only."""
        return self.folder / "run"

    @property
    def admin_socket(self) -> Path:
        """Of Envoy."""
        assert self._sockets is not None, "the state is entered"
        return self._sockets / "admin.sock"

    def remembered(self) -> Remembered:
        """What the life before left; nothing where there was none, or where another version wrote it."""
        try:
            file = msgspec.json.decode((self.folder / "accepted.json").read_bytes(), type=_File)
            return Remembered(accepted=decode_accepted(bytes(file.accepted)), generations=file.generations)
        except (FileNotFoundError, msgspec.MsgspecError):
            return Remembered(accepted=Accepted(), generations={})

    def remember(self, remembered: Remembered) -> None:
        """Replaces it as a whole. Names and numbers only: no key is ever part of it."""
        accepted = msgspec.Raw(encode_accepted(remembered.accepted))
        document = msgspec.json.encode(_File(accepted=accepted, generations=dict(remembered.generations)))
        self.private("accepted.json", document, self.folder)

    def private(self, name: str, content: bytes, folder: Path | None = None) -> Path:
        """A file that only this user may read, written whole or not at all; in `run` unless told otherwise."""
        path = (folder or self.run) / name
        fresh = path.with_name(f".{name}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        fresh.replace(path)
        return path

"""A gatekeeper in front of the API server that sees each write of the ledger before or after it happens, and can stop the world there.

It speaks plain HTTP to the operator and TLS to the API server, one request a connection; credentials pass through. The product holds no
switch for this: whoever wants to die at its N-th write is killed from outside, between asking and hearing.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from turnout_testing.controlplane.ports import LOOPBACK

_LEDGER = b"turnout-ledger-"
_MOST_HEAD = 65_536


class When(Enum):
    BEFORE = "before it reaches the API server"
    AFTER = "after it is stored, before the writer hears of it"


class _Request(NamedTuple):
    method: str
    path: str
    head: bytes
    body: bytes

    @property
    def writes_ledger(self) -> bool:
        return (
            self.method in ("PUT", "POST")
            and "/configmaps" in self.path
            and (_LEDGER in self.path.encode() or _LEDGER in self.body)
        )


class Gatekeeper:
    """A context manager; `url` is the API server for whoever is to be watched."""

    def __init__(self, server: str, ca: bytes) -> None:
        address = urlsplit(server)
        self._there = (address.hostname or LOOPBACK, address.port or 443)
        self._tls = ssl.create_default_context(cadata=ca.decode())
        self._lock = threading.Lock()
        self._left = 0
        self._when = When.BEFORE
        self._strike: Callable[[], None] = lambda: None
        self.writes = 0
        """ledger writes that were asked for"""
        self.strikes = 0
        self._listener = socket.create_server((LOOPBACK, 0))
        self.url = f"http://{LOOPBACK}:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, name="gatekeeper", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def arm(self, nth: int, when: When, strike: Callable[[], None]) -> None:
        """`strike` is called at the `nth` ledger write from now on, once; that write's answer reaches nobody."""
        with self._lock:
            self._left, self._when, self._strike = nth, when, strike

    def has_struck(self, times: int) -> bool:
        """Whether so many strikes are over."""
        with self._lock:
            return self.strikes == times

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                request = _read(connection)
                if request is None:
                    return
                struck = self._counts() if request.writes_ledger else None
                if struck is When.BEFORE:
                    self._hit()
                    return
                with (
                    socket.create_connection(self._there) as raw,
                    self._tls.wrap_socket(raw, server_hostname=self._there[0]) as there,
                ):
                    there.sendall(request.head + request.body)
                    if struck is When.AFTER:
                        answer = http.client.HTTPResponse(there, method=request.method)
                        answer.begin()
                        answer.read()
                        self._hit()
                        return
                    _relay(there, connection)
        except OSError:
            return  # one of the two is gone, as a test wants it

    def _counts(self) -> When | None:
        with self._lock:
            self.writes += 1
            if self._left == 0:
                return None
            self._left -= 1
            return self._when if self._left == 0 else None

    def _hit(self) -> None:
        self._strike()
        with self._lock:
            self.strikes += 1


def _read(connection: socket.socket) -> _Request | None:
    """One request; the head asks the server to close after its answer, so that an answer ends where the connection does."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(_MOST_HEAD)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    length = 0
    kept = [first]
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        assert name.lower() != b"transfer-encoding", "the operator's clients send bodies of known length"
        if name.lower() != b"connection":
            kept.append(line)
    while len(body) < length:
        more = connection.recv(_MOST_HEAD)
        if not more:
            return None
        body += more
    method, path, _ = first.decode().split(" ", 2)
    return _Request(method, path, b"\r\n".join([*kept, b"Connection: close", b"", b""]), body)


def _relay(there: ssl.SSLSocket, back: socket.socket) -> None:
    """The answer until its end. A watch may be silent for long; should its reader go, the next event finds out."""
    while data := there.recv(_MOST_HEAD):
        back.sendall(data)

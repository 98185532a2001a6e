"""A provider over TCP that says exactly what a test tells it to, attempt by attempt, and sees who leaves."""

import contextlib
import json
import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

_TIMEOUT = 30.0  # a safety net; no test waits for it


@dataclass(eq=False)
class TcpAttempt:
    """One request that came. What the test says goes onto its connection at once."""

    candidate: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: socket.socket
    chunked: bool = False
    head_sent: bool = False
    said: bool = False
    reset: bool = False
    left: bool = False
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def document(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found

    @property
    def fate(self) -> str:
        if self.reset:
            return "reset"
        if self.said:
            return "answered"
        return "cancelled" if self.left else "open"

    def head(self, status: int, content_type: str, retry_after: str, length: int | None) -> None:
        """`length` None: the body comes in chunks, until `end`."""
        lines = [f"HTTP/1.1 {status} Scripted", f"content-type: {content_type}"]
        lines += [f"retry-after: {retry_after}"] if retry_after else []
        lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
        self.head_sent = True
        self.chunked = length is None
        self._send("\r\n".join([*lines, "", ""]).encode())
        if length == 0:
            self.finish()

    def data(self, data: bytes) -> None:
        self._send(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)

    def end(self) -> None:
        """A clean end of the answer; the connection lives on."""
        if self.chunked:
            self._send(b"0\r\n\r\n")
        self.finish()

    def finish(self) -> None:
        self.said = True
        self.over.set()

    def break_off(self) -> None:
        """The connection is reset."""
        self.reset = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.over.set()

    def _send(self, data: bytes) -> None:
        try:
            self.connection.sendall(data)
        except OSError:
            self.left = True
            self.over.set()


class ScriptedProvider:
    """Listens on a free port for one candidate; `on_attempt` hears of each request, on a thread of its connection."""

    def __init__(self, candidate: str, on_attempt: Callable[[TcpAttempt], None]) -> None:
        self._candidate = candidate
        self._on_attempt = on_attempt
        self._connections: list[socket.socket] = []
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])

    def go(self) -> None:
        """Nobody listens any more: connecting is refused."""
        _shut(self._listener)
        for connection in self._connections:
            _shut(connection)
        self._connections.clear()

    def come_back(self) -> None:
        self._listener = self._listen(self.port)

    def close(self) -> None:
        self.go()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=64)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """Requests of one connection, one after the other."""
        rest = b""
        try:
            while (read := _read_request(connection, rest)) is not None:
                path, headers, body, rest = read
                attempt = TcpAttempt(self._candidate, path, headers, body, connection)
                self._on_attempt(attempt)
                self._watch(attempt)
                if attempt.left or attempt.reset:
                    return
        except (OSError, ValueError):  # closed under its reader
            return
        finally:
            connection.close()

    def _watch(self, attempt: TcpAttempt) -> None:
        """Until the answer is said or the other side is gone."""
        while not attempt.over.wait(0.01):
            readable, _, _ = select.select([attempt.connection], [], [], 0)
            if readable and _is_closed(attempt.connection):
                attempt.left = True
                attempt.over.set()


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


def _shut(connection: socket.socket) -> None:
    """Also wakes the thread that waits on it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _read_request(connection: socket.socket, seen: bytes) -> tuple[str, dict[str, str], bytes, bytes] | None:
    """The next request and what followed it; None when the connection ended."""
    while b"\r\n\r\n" not in seen:
        data = connection.recv(65536)
        if not data:
            return None
        seen += data
    head, _, rest = seen.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers["content-length"])
    while len(rest) < length:
        data = connection.recv(65536)
        if not data:
            return None
        rest += data
    return first.split(" ")[1], headers, rest[:length], rest[length:]

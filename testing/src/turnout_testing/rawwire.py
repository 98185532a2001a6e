"""A client that shows the bytes of an HTTP/1.1 answer and how the connection ended, which real clients hide."""

import enum
import json
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

_TIMEOUT = 30.0  # a safety net; no test waits for it


class End(enum.Enum):
    """What followed the last byte."""

    FIN = enum.auto()
    RESET = enum.auto()


def request(path: str, body: Any, headers: Mapping[str, str] | None = None, *, method: str = "POST") -> bytes:
    """The bytes of one request; `body` is sent as JSON, or as it is when bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"host": "sim", "content-type": "application/json", "content-length": str(len(raw)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + raw


class RawClient:
    """One TCP connection. `seen` is every byte that came."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=_TIMEOUT)
        self.seen = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        """Leaves, as a client that disconnects."""
        self._socket.close()

    def read_until(self, marker: bytes, times: int = 1) -> bytes:
        """Reads on until `marker` has come so often; everything seen so far. EOFError when the connection ends before."""
        while self.seen.count(marker) < times:
            data = self._socket.recv(65536)
            if not data:
                raise EOFError(f"the connection ended before {marker!r} came: {self.seen[-200:]!r}")
            self.seen += data
        return self.seen

    def read_to_length(self, length: int) -> bytes:
        """Reads on until that many bytes were seen; all of them. EOFError when the connection ends before."""
        while len(self.seen) < length:
            data = self._socket.recv(65536)
            if not data:
                raise EOFError(f"the connection ended after {len(self.seen)} of {length} bytes: {self.seen[-200:]!r}")
            self.seen += data
        return self.seen

    def read_to_end(self) -> tuple[bytes, End]:
        """Every byte until the other side ends the connection, and how it did."""
        while True:
            try:
                data = self._socket.recv(65536)
            except ConnectionResetError:
                return self.seen, End.RESET
            if not data:
                return self.seen, End.FIN
            self.seen += data

    def is_silent(self) -> bool:
        """True when nothing has come that was not read, and the connection is open. Asks; does not wait."""
        self._socket.setblocking(False)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        finally:
            self._socket.settimeout(_TIMEOUT)
        return False


def split_head(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and what follows the head."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split(" ")[1]), headers, rest


def unchunked(body: bytes) -> tuple[bytes, bool]:
    """The content of a chunked body, and whether its end was there. ValueError where the framing is broken."""
    content = b""
    while True:
        size, separator, rest = body.partition(b"\r\n")
        if not separator:
            return content, False
        length = int(size, 16)
        if length == 0:
            return content, rest == b"\r\n"
        if len(rest) < length + 2:
            return content + rest[:length], False
        content += rest[:length]
        body = rest[length + 2 :]

"""Time to the first content of a stream, one request after the other, on a connection that is kept."""

import socket
import time

from bench.load import TENANT

_CONTENT = b'"content":" word0"'


class Client:
    """One kept connection to a proxy."""

    def __init__(self, port: int, body: bytes) -> None:
        self._wire = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nx-tenant-id: {TENANT}\r\ncontent-length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body

    def ask(self) -> float:
        """Milliseconds until the first content was here; the stream is read to its end after."""
        began = time.perf_counter()
        self._wire.sendall(self._request)
        seen = b""
        first = 0.0
        while not _ended(seen):
            more = self._wire.recv(1 << 16)
            if not more:
                raise RuntimeError(f"the connection was closed after {seen[:300]!r}")
            seen += more
            if not first and _CONTENT in seen:
                first = (time.perf_counter() - began) * 1_000
        if not first:
            raise RuntimeError(f"a stream without content: {seen[:300]!r}")
        return first

    def close(self) -> None:
        self._wire.close()


def _ended(seen: bytes) -> bool:
    head, found, body = seen.partition(b"\r\n\r\n")
    if not found:
        return False
    lower = head.lower()
    if b"chunked" in lower:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])


def compare(bare: Client, ours: Client, count: int) -> tuple[list[float], list[float]]:
    """Both asked by turns, so that what the machine does meanwhile meets both."""
    for client in (bare, ours) * 5:
        client.ask()
    pairs = [(bare.ask(), ours.ask()) for _ in range(count)]
    return [p[0] for p in pairs], [p[1] for p in pairs]

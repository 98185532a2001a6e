"""Server-sent events, as far as the dialects use them: bytes in any cuts -> (event name, data) pairs.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream - with two differences. `id` and
`retry` are read over, since nobody here reconnects. An event that does not end is not dispatched, as the specification
says, but its bytes can be asked for, because a stream that breaks inside an event is a fault here and not a page left.
"""

from turnout_sidecar.messages import Malformed

MAX_EVENT = 1 << 20
"""Bytes of one event; the largest real ones (a tool call's arguments in one piece) are some tens of kilobytes."""

_BOM = b"\xef\xbb\xbf"


class Parser:
    """Feed it bytes in any cuts; an event comes out when its empty line does."""

    __slots__ = ("_buffer", "_cr", "_fresh", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._cr = False  # the last byte was a CR that already ended its line: a LF now belongs to it
        self._fresh = True

    @property
    def pending(self) -> bool:
        """Bytes of an event that has not ended."""
        return bool(self._buffer)

    def take(self) -> bytes:
        """Removes and returns the bytes of the event that has not ended, with line ends as LF."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return rest

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """The events that `data` completes. Raises `Malformed` when one grows beyond `MAX_EVENT`."""
        buffer = self._buffer
        buffer += self._lines(data)
        if self._fresh and not self._drop_bom():
            return []
        events: list[tuple[str, bytes]] = []
        start = 0
        while (end := buffer.find(b"\n\n", max(start, self._scanned - 1))) >= 0:
            if (event := _event(bytes(buffer[start:end]))) is not None:
                events.append(event)
            start = end + 2
            self._scanned = start
        del buffer[:start]
        self._scanned = len(buffer)
        if len(buffer) > MAX_EVENT:
            raise Malformed(f"an event of more than {MAX_EVENT} bytes")
        return events

    def _lines(self, data: bytes) -> bytes:
        """CR, LF and CRLF are all one line's end, wherever the cut falls."""
        if self._cr and data:
            self._cr = False
            if data[0] == 0x0A:
                data = data[1:]
        if b"\r" in data:
            self._cr = data[-1] == 0x0D
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _drop_bom(self) -> bool:
        """False while it cannot be told yet whether the stream begins with a byte order mark."""
        if self._buffer.startswith(_BOM):
            del self._buffer[:3]
        elif _BOM.startswith(self._buffer):
            return False
        self._fresh = False
        return True


def _event(block: bytes) -> tuple[str, bytes] | None:
    """None for a block without data: comments, lone names, runs of empty lines."""
    name = ""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return (name, b"\n".join(data)) if data else None

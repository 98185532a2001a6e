"""Standard output with two writers: `serve`'s own news and Envoy's access log. Each writes whole lines, so that neither breaks the other's."""

from __future__ import annotations

import threading
from typing import BinaryIO

_CHUNK = 1 << 16


class Lines:
    """Thread-safe."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def write(self, lines: bytes) -> None:
        """One or more lines, each with its end."""
        with self._lock:
            self._out.write(lines)
            self._out.flush()

    def forward(self, pipe: BinaryIO) -> None:
        """In a thread of its own, until the other end is closed: what comes, cut at the ends of lines."""
        rest = b""
        while chunk := pipe.read1(_CHUNK):  # type: ignore[attr-defined] # a buffered pipe has it
            whole, newline, tail = chunk.rpartition(b"\n")
            if newline:
                self.write(rest + whole + newline)
                rest = b""
            rest += tail
        if rest:
            self.write(rest + b"\n")

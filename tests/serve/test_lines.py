"""Two writers of one standard output."""

import io
import json
import os
import threading

from turnout_operator.serve.lines import Lines


class Trickle(io.RawIOBase):
    """An output that shows what a reader would see after every write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override] # bytes are all that comes
        self.writes.append(bytes(data))
        return len(data)


def test_what_comes_in_pieces_is_written_in_whole_lines() -> None:
    read, write = os.pipe()
    seen = Trickle()
    lines = Lines(seen)  # type: ignore[arg-type] # all that is used of it
    forward = threading.Thread(target=lines.forward, args=(os.fdopen(read, "rb"),))
    forward.start()
    long = json.dumps({"event": "request", "x": "y" * 200_000}).encode() + b"\n"
    with os.fdopen(write, "wb", buffering=0) as pipe:
        for start in range(0, len(long), 3_000):
            pipe.write(long[start : start + 3_000])
            lines.write(b'{"event":"loaded"}\n')
        pipe.write(b'{"event":"request"}\n{"event":"cut')
    forward.join()
    assert all(data.endswith(b"\n") for data in seen.writes)
    told = b"".join(seen.writes).splitlines()
    assert json.loads(long) in [json.loads(line) for line in told if not line.endswith(b"cut")]
    assert told[-1] == b'{"event":"cut'

"""Free loopback ports, and waiting until something listens."""

import socket
import time


def free(count: int) -> list[int]:
    """So many ports that were free a moment ago; all are bound at once, so no two are the same."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def wait_for(port: int, within: float = 30) -> None:
    """Returns when something accepts connections there. Raises TimeoutError."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"nothing listens on 127.0.0.1:{port}")

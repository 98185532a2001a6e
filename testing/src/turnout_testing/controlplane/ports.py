"""Ports that stay ours while nothing listens on them.

"Bind port 0, read the number, close, start the server" loses the port now and then, and always may lose it while a server
is down in an outage test. So the socket stays bound with SO_REUSEPORT and never listens: the kernel gives the number to
nobody else, clients are refused while the server is down, and a server told to share ports (every component has such a
flag) binds beside us.
"""

from __future__ import annotations

import contextlib
import socket

LOOPBACK = "127.0.0.1"


class PortTakenError(RuntimeError):
    """A port that this bed had before now belongs to another program."""


class Reservation:
    """One loopback port, held until `release`."""

    def __init__(self, number: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with contextlib.ExitStack() as undo:
            undo.callback(self._socket.close)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                self._socket.bind((LOOPBACK, number))
            except OSError as error:
                raise PortTakenError(f"port {number} on {LOOPBACK} is in use by another program: {error}") from error
            undo.pop_all()
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Give the port back."""
        self._socket.close()

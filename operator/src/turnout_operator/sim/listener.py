"""A listening socket that can die and come back on its port, at once and without awaiting anything."""

import asyncio
import contextlib
import socket
import ssl
from typing import Any, Generic

from turnout_operator.sim.connection import Connection, E, Handler

_BACKLOG = 1024
_ACCEPTS = 64  # in one turn of the loop


class Listener(Generic[E]):
    """Serves `handler` on host:port (port 0: a free one, kept over `down` and `up`). Bound at once, up after `up`."""

    def __init__(self, handler: Handler[E], host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection[E]] = set()
        self._greetings: set[asyncio.Task[None]] = set()
        self._life = 0
        self._socket: socket.socket | None = _bound(host, port)
        address: tuple[Any, ...] = self._socket.getsockname()
        self.host, self.port = str(address[0]), int(address[1])
        self.is_up = False

    @property
    def connections(self) -> int:
        return len(self._connections)

    def up(self) -> None:
        """Accepts connections from now on. Raises OSError when somebody took the port while it was down."""
        if self.is_up:
            return
        self._socket = self._socket or _bound(self.host, self.port)
        self._socket.listen(_BACKLOG)
        self._loop.add_reader(self._socket, self._accept)
        self.is_up = True

    def down(self) -> None:
        """Refuses connections from now on and resets the open ones. The port stays bound, so nobody else gets it."""
        if self.is_up:
            self._close_socket()
            with contextlib.suppress(OSError):  # taken this instant: `up` will try again, and say so
                self._socket = _bound(self.host, self.port)
        self._life += 1
        for connection in tuple(self._connections):
            connection.reset()

    def close(self) -> None:
        """Ends everything; the listener cannot come back."""
        self.down()
        self._close_socket()

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        self.is_up = False

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            if self._socket is None:
                return
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._greet(accepted, self._life))
            self._greetings.add(task)
            task.add_done_callback(self._greetings.discard)

    async def _greet(self, accepted: socket.socket, life: int) -> None:
        """Hands the socket to a connection; a TLS handshake that fails ends it."""
        try:
            _, connection = await self._loop.connect_accepted_socket(
                lambda: Connection(self._handler, self._connections), accepted, ssl=self._tls
            )
        except OSError:  # ssl.SSLError is one: the client did not like us, or left
            accepted.close()
            return
        if life != self._life:
            connection.reset()


def _bound(host: str, port: int) -> socket.socket:
    """A TCP socket bound to the address, not listening: connections to it are refused."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    bound.setblocking(False)
    return bound

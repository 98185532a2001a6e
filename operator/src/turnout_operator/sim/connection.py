"""One TCP connection: reads requests, plays the steps of each answer, and tells its handler how it ended.

A callback machine rather than a task per request: an answer without waits is written inside `data_received`, which is
what makes the sim fast enough to stand behind a benchmark.
"""

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar, cast

from turnout_operator.sim import http1
from turnout_operator.sim.http1 import BadRequestError, Parser, Request
from turnout_operator.sim.log import Outcome
from turnout_operator.sim.order import Close, Hang, Reset, Send, Step, Wait, Work

MAX_BODY = 64 * 1024 * 1024
_MAX_AHEAD = MAX_BODY + 1024 * 1024  # what a client may send before its turn
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST
_DRAIN_POLL = 0.001


class Playable(Protocol):
    """An answer being sent."""

    request: Request
    steps: Iterator[Step]
    generated: int


E = TypeVar("E", bound=Playable)


class Handler(Protocol[E]):
    """Who answers: the provider or the admin endpoint."""

    def answer(self, request: Request, now: float) -> E: ...

    def settle(self, exchange: E, outcome: Outcome, now: float) -> None: ...


class Connection(asyncio.Protocol, Generic[E]):
    """`open_connections` is the listener's set of them; a connection keeps itself in it while it lives."""

    def __init__(self, handler: Handler[E], open_connections: "set[Connection[E]]") -> None:
        self._handler = handler
        self._open = open_connections
        self._loop = asyncio.get_running_loop()
        self._parser = Parser(MAX_BODY)
        self._exchange: E | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._work: tuple[Work, float] | None = None
        self._paused = False
        self._playing = False
        self._ending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio protocol)
        self._open.discard(self)
        self._settle(Outcome.ABORTED)

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        self._parser.feed(data)
        if self._exchange is None:
            self._serve()
        elif self._parser.pending > _MAX_AHEAD:
            self._transport.abort()

    def eof_received(self) -> bool:
        self._settle(Outcome.ABORTED)  # a client that has stopped sending has left
        self._ending = True
        return False

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._timer is None:
            self._play()
            self._serve()

    def reset(self) -> None:
        """Ends the connection with a TCP RST; what is under way counts as broken by the server."""
        self._settle(Outcome.BROKEN)
        self._ending = True
        raw = self._transport.get_extra_info("socket")
        if raw is not None and not self._transport.is_closing():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _serve(self) -> None:
        """Takes the requests that are there, one after the other, until one has to wait."""
        while self._exchange is None and not self._ending:
            try:
                request = self._parser.next()
            except BadRequestError as bad:
                self._refuse(bad)
                return
            if request is None:
                if self._parser.wants_continue():
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            self._exchange = self._handler.answer(request, self._loop.time())
            self._play()

    def _refuse(self, bad: BadRequestError) -> None:
        body = f"{bad.message}\n".encode()
        headers = {"content-type": "text/plain", "content-length": str(len(body)), "connection": "close"}
        self._transport.write(http1.head(bad.status, headers) + body)
        self._end()

    def _play(self) -> None:
        """Plays steps until one waits. Never runs inside itself: `write` may call `resume_writing`."""
        if self._playing or self._exchange is None:
            return
        self._playing = True
        exchange = self._exchange
        for step in exchange.steps:
            if isinstance(step, Send):
                exchange.generated += step.tokens
                self._transport.write(step.data)
                if self._paused or self._transport.is_closing():  # full, or the client is gone
                    break
            elif not self._pause(step):
                break
        else:
            self._finish(exchange)
        self._playing = False

    def _pause(self, step: Wait | Work | Hang | Reset | Close) -> bool:
        """Does a step that writes nothing; True when the next step may follow at once."""
        match step:
            case Wait(seconds=seconds):
                if seconds <= 0:
                    return True
                self._timer = self._loop.call_later(seconds, self._wake)
            case Work(seconds=seconds):
                self._work = (step, self._loop.time())
                self._timer = self._loop.call_later(seconds, self._wake)
            case Hang():
                pass
            case Reset():
                self._reset_when_read()
            case Close():
                self._settle(Outcome.BROKEN)
                self._end()
        return False

    def _wake(self) -> None:
        self._timer = None
        if self._work is not None and self._exchange is not None:
            self._exchange.generated += self._work[0].tokens
            self._work = None
        if not self._paused:
            self._play()
            self._serve()

    def _finish(self, exchange: E) -> None:
        self._settle(Outcome.SERVED)
        if not exchange.request.keep_alive:
            self._end()

    def _settle(self, outcome: Outcome) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        if self._work is not None:
            exchange.generated += _done(*self._work, now)
            self._work = None
        self._handler.settle(exchange, outcome, now)

    def _end(self) -> None:
        self._ending = True
        self._transport.close()

    def _reset_when_read(self) -> None:
        """RST once the peer's kernel has all that was written: an earlier one would take bytes back."""
        self._timer = None
        raw = self._transport.get_extra_info("socket")
        unsent = self._transport.get_write_buffer_size() + _unacknowledged(raw.fileno())
        if unsent and not self._transport.is_closing():
            self._timer = self._loop.call_later(_DRAIN_POLL, self._reset_when_read)
        else:
            self.reset()


def _unacknowledged(descriptor: int) -> int:
    """Bytes in the kernel's send queue that the peer has not acknowledged."""
    answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0\0\0\0")
    return int.from_bytes(answer, sys.byteorder)


def _done(work: Work, began: float, now: float) -> int:
    """How many tokens a piece of work has made by now."""
    elapsed = now - began
    if elapsed < work.first or work.tokens == 0:
        return 0
    if work.seconds <= work.first:
        return work.tokens
    return min(work.tokens, 1 + int((elapsed - work.first) / (work.seconds - work.first) * (work.tokens - 1)))

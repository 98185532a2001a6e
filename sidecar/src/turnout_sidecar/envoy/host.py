"""The `Host` of an exchange over Envoy's ABI, and the gate through which every event reaches the exchange.

Rules
- One event at a time. Envoy calls back inside our own calls (a refused connect comes inside `start`, the stream's end inside
  `send_data`); such an event waits until the exchange has returned.
- An exception in an exchange is a bug that one client sees: it is counted, the exchange is told by `on_bug`, and if that does not end
  the request, the shell does.
- After our last byte nothing more comes up (the shim sees to it), so that byte also takes the request out of `LIVE`.
- This file runs on the worker only. The wheel alone is shared with the main thread.
"""

from collections.abc import Callable, Iterable
from itertools import chain
from time import monotonic_ns
from typing import Any

from _turnout_engine import ffi, lib

from turnout_sidecar.core.host import Headers, StartFailure
from turnout_sidecar.envoy.faults import Faults
from turnout_sidecar.envoy.wheel import Wheel
from turnout_sidecar.policy.model import Endpoint
from turnout_sidecar.policy.units import Millis

RESET_AFTER = 50
"""Milliseconds between the last data and a reset: in the same turn some HTTP/2 clients lost everything, 50 ms later nothing was lost."""
RESET_WHILE_SLOW = 5_000
"""A client that reads slowly gets so much longer, as long as Envoy holds more for it than its buffer's limit."""
RESET_AFTER_RELIEF = 500
"""And so much when Envoy holds half of that: nothing tells when the rest is gone."""

NO_CLUSTER = 2
unpack = ffi.unpack
_OUT = ffi.new("turnout_bytes *")
"""Only the worker reads headers, one request at a time."""
LAST_RESORT = b'{"error":{"message":"Turnout failed inside; the request was not answered.","type":"server_error","param":null,"code":"internal_error"}}'


def now() -> Millis:
    return Millis(monotonic_ns() // 1_000_000)


def packed(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers in the shim's form: key NUL value NUL, so that C builds Envoy's array without one allocation here."""
    return b"\0".join([*chain.from_iterable(pairs), b""])


class EnvoyHost:
    """One client request. Made by the shell, given to the engine as its `Host`."""

    __slots__ = (
        "_above",
        "_busy",
        "_cut_by",
        "_dead",
        "_deaf",
        "_facts",
        "_faults",
        "_filter",
        "_later",
        "_over",
        "_requests",
        "_rouse",
        "_wheel",
        "committed",
        "due",
        "exchange",
        "key",
        "roused",
        "slot",
    )

    def __init__(
        self,
        filter_: Any,
        key: int,
        requests: "dict[int, EnvoyHost]",
        wheel: Wheel,
        rouse: Callable[[], None],
        faults: Faults,
    ) -> None:
        self._filter = filter_
        self.key = key
        self._requests = requests
        self._wheel = wheel
        self._rouse = rouse
        self._faults = faults
        self.exchange: Any = None
        self.committed = False
        self.due: Millis | None = None
        self.slot: int | None = None
        self.roused = False
        self._busy = False
        self._over = False  # Envoy takes nothing more for this request
        self._deaf = False  # the exchange is told nothing more
        self._above = False
        self._cut_by: Millis | None = None
        self._dead: set[int] | None = None
        self._facts: list[str] = []
        self._later: list[tuple[Callable[..., None], int, tuple[Any, ...]]] = []

    # -- Host ---------------------------------------------------------------------------------------------------------

    def header(self, name: str) -> str:
        """All values of a repeated header joined as HTTP says, so that a second one cannot hide."""
        key = name.encode()
        count = lib.turnout_header(self._filter, key, len(key), 0, _OUT)
        if not count:
            return ""
        first = unpack(_OUT.at, _OUT.size) if _OUT.size else b""
        if count == 1:
            return str(first.decode("latin-1"))
        values = [first]
        for index in range(1, count):
            lib.turnout_header(self._filter, key, len(key), index, _OUT)
            values.append(unpack(_OUT.at, _OUT.size) if _OUT.size else b"")
        return b", ".join(values).decode("latin-1")

    def start(self, endpoint: Endpoint, path: str, headers: Headers, body: bytes) -> int | StartFailure:
        if self._over:
            return StartFailure.CANNOT_SERVE
        cluster, authority, where, head = (
            endpoint.cluster.encode(),
            endpoint.authority.encode(),
            path.encode(),
            packed(headers),
        )
        stream: int = lib.turnout_start(
            self._filter,
            cluster,
            len(cluster),
            authority,
            len(authority),
            where,
            len(where),
            head,
            len(head),
            len(headers),
            body,
            len(body),
        )
        if stream >= 0:
            return stream
        if stream == -100:
            raise ValueError("a header of an attempt holds a byte that HTTP does not allow")
        return StartFailure.NO_CLUSTER if -stream == NO_CLUSTER else StartFailure.CANNOT_SERVE

    def cancel(self, stream: int) -> None:
        # Named dead first: Envoy tells of the reset inside the call.
        if self._dead is None:
            self._dead = set()
        self._dead.add(stream)
        lib.turnout_cancel(self._filter, stream)

    def send_head(self, status: int, headers: Headers) -> None:
        if self._over:
            return
        head = packed(headers)
        if lib.turnout_send_head(self._filter, status, head, len(head), len(headers)):
            raise ValueError("a response header holds a byte that HTTP does not allow")
        self.committed = True

    def send_data(self, data: bytes, *, end: bool) -> None:
        if self._over:
            return
        if end:
            self._finish()
        lib.turnout_send_data(self._filter, data, len(data), end)

    def reset_soon(self) -> None:
        if self._over or self._cut_by is not None:
            return
        at = now()
        self._deaf = True
        self._cut_by = Millis(at + RESET_WHILE_SLOW)
        self._arm(Millis(at + RESET_AFTER))

    def alarm(self, at: Millis | None) -> None:
        if self._cut_by is not None or self._over:
            return
        if at is None:
            self.due = None
        else:
            self._arm(at)

    def record(self, name: str, value: str | int) -> None:
        if isinstance(value, int):
            self._facts += ("#" + name, str(value))
        else:
            self._facts += (name, value)

    # -- events -------------------------------------------------------------------------------------------------------

    def up(self, call: Callable[..., None], stream: int, *arguments: Any) -> None:
        """Gives an event to the exchange, now or, when the exchange is at work, right after. `stream`: -1 where it is of none."""
        if self._busy:
            self._later.append((call, stream, arguments))
            return
        self._busy = True
        try:
            if not self._deaf and (self._dead is None or stream not in self._dead):
                call(*arguments)
        except BaseException as error:  # noqa: BLE001 - an exception that reached Envoy would hang the client
            self.bug(call.__name__, error)
        self._busy = False
        if self._later:
            self.up(*self._unpacked())
        elif self._over:
            self.exchange = None  # it points back here: the garbage collector is spared a cycle a request

    def _unpacked(self) -> tuple[Any, ...]:
        call, stream, arguments = self._later.pop(0)
        return call, stream, *arguments

    def woken(self) -> None:
        at = now()
        due = self.due
        if self._cut_by is not None:
            if due is not None:
                self._cut(at, due)
            return
        if self.roused:
            self.roused = False
        elif due is None:
            return
        elif at < due:
            self._arm(due)
            return
        self.due = None
        self.up(self.exchange.on_alarm, -1, at)

    def pressure(self, above: bool) -> None:
        self._above = above
        if not above and self._cut_by is not None:
            self._arm(Millis(now() + RESET_AFTER_RELIEF))

    def gone(self) -> None:
        """The client left, or Envoy ended the request by itself."""
        self._over = True
        self._requests.pop(self.key, None)
        self._wheel.disarm(self)
        if self.exchange is not None:
            self.up(self.exchange.on_client_gone, -1, now())
        self._deaf = not self._busy
        self._tell()

    def ring(self) -> None:
        """Main thread: have `woken` called on the worker."""
        lib.turnout_wake(self._filter, self.key)

    # -- inside -------------------------------------------------------------------------------------------------------

    def bug(self, entry: str, error: BaseException) -> None:
        if self.exchange is None:
            self._faults.count(entry, error)
        else:
            self._faults.tell(entry, error)
            try:
                self.exchange.on_bug(error, now())  # counts it
            except BaseException as second:  # noqa: BLE001
                self._faults.count("on_bug", second)
        if self._over or self._cut_by is not None:
            return
        if self.committed:
            self.reset_soon()
            return
        self.send_head(
            500,
            (
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(LAST_RESORT)),
                (b"x-should-retry", b"false"),
            ),
        )
        self.send_data(LAST_RESORT, end=True)

    def _arm(self, at: Millis) -> None:
        if self._wheel.arm(self, at):
            self._rouse()

    def _cut(self, at: Millis, due: Millis) -> None:
        assert self._cut_by is not None
        if at < due or (self._above and at < self._cut_by):
            self._arm(max(due, Millis(at + RESET_AFTER)))
            return
        self._finish()
        lib.turnout_reset(self._filter)

    def _finish(self) -> None:
        """Before the last byte: the access log is written inside the call that sends it."""
        self._tell()
        self._over = self._deaf = True
        self._wheel.disarm(self)
        self._requests.pop(self.key, None)

    def _tell(self) -> None:
        facts = self._facts
        if not facts:
            return
        self._facts = []
        blob = "\0".join(facts).encode(errors="replace") + b"\0"
        if lib.turnout_facts(self._filter, blob, len(blob), len(facts) // 2):
            names = ", ".join(facts[::2])
            self._faults.count(
                "record", ValueError(f"one of these facts for the access log holds a control byte: {names}")
            )

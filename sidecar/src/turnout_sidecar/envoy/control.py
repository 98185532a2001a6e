"""The engine's life on Envoy's main thread: start, the timer wheel's clock, reports to the lease service, the last report.

Envoy asks for an answer to its shutdown and waits for it without end, so every way out of here ends in `turnout_shutdown_done`.
"""

import gc
import os
import random
import socket
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from _turnout_engine import lib

from turnout_sidecar.core import wal
from turnout_sidecar.core.host import Headers
from turnout_sidecar.engine import Engine
from turnout_sidecar.envoy import settings
from turnout_sidecar.envoy.faults import Faults
from turnout_sidecar.envoy.host import now, packed
from turnout_sidecar.envoy.log import Level, log
from turnout_sidecar.envoy.metrics import EnvoySink
from turnout_sidecar.envoy.probes import Probes
from turnout_sidecar.envoy.reporting import TIMEOUT, Reporting
from turnout_sidecar.envoy.wheel import TICK, Wheel
from turnout_sidecar.policy.report import Answer, EpochReport, Report, decode_answer, encode_report
from turnout_sidecar.policy.units import Millis

if TYPE_CHECKING:
    from turnout_sidecar.envoy.host import EnvoyHost

TURN = 1
NEED = 2
FLUSH_MS = 200
_FORBIDDEN = 403
_FOREIGN = b'"foreign_epoch"'
FINAL_MS = 2_000
"""How long the last report may take. After it the record on the volume speaks for this life."""


class Control:
    """One a process. Everything but `rouse` and `need` is called on the main thread."""

    def __init__(self, config: Any, document: bytes) -> None:
        """Raises what makes a start impossible: unreadable settings, a metric that cannot be defined."""
        self.settings = settings.decode(document)
        self._config = config
        self._scheduler = lib.turnout_scheduler(config)
        self._clock, self._report, self._flush = (lib.turnout_timer(config) for _ in range(3))
        self.wheel = Wheel()
        self.requests: dict[int, EnvoyHost] = {}
        self.sink = EnvoySink(config)
        self.faults = Faults(self.sink)
        self._epoch = wal.epoch_of(socket.gethostname(), uuid.uuid4().hex)
        self._record, self._previous = self._open_record()
        self.engine = Engine(
            epoch=self._epoch, rng=random.Random(int.from_bytes(os.urandom(8))), record=self._record, wall=wall
        )
        self.engine.metrics = self.sink
        self.engine.alike = _alike
        self.engine.on_need = self.need
        self.engine.wake = self._wake
        self._reporting = Reporting(Millis(self.settings.report_interval_ms), random.Random(os.getpid()))
        self._call: int | None = None
        self._early: tuple[int, bytes] | None = None
        self._stopping: Millis | None = None
        self._leaving = False
        self._last_call: int | None = None
        self._probe = lib.turnout_timer(config)
        self._probes = self._probing()

    def _probing(self) -> Probes:
        return Probes(
            self.engine.rehearsals,
            dial=self._dial_self,
            arm=lambda delay: lib.turnout_timer_enable(self._probe, delay),
            now=now,
            wall=wall,
        )

    def ready(self) -> None:
        # What lives now lives on, and requests leave no cycles: the collector has little to look for, and a pause costs every stream.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        lib.turnout_timer_enable(self._flush, FLUSH_MS)
        if self.settings.report_cluster:
            lib.turnout_timer_enable(self._report, 0)

    # -- from the worker ----------------------------------------------------------------------------------------------

    def rouse(self) -> None:
        """The wheel slept and somebody armed it."""
        lib.turnout_post(self._scheduler, TURN)

    def need(self) -> None:
        """A report now would help somebody."""
        if self.settings.report_cluster:
            lib.turnout_post(self._scheduler, NEED)

    def _wake(self, exchange: Any) -> None:
        host: EnvoyHost = exchange.host
        host.roused = True
        host.ring()

    # -- Envoy's events -----------------------------------------------------------------------------------------------

    def event(self, event: int) -> None:
        if event == TURN:
            lib.turnout_timer_enable(self._clock, TICK)
        elif event == NEED and (delay := self._reporting.need()) is not None and not self._leaving:
            lib.turnout_timer_enable(self._report, delay)

    def timer(self, timer: Any) -> None:
        if timer == self._clock:
            self._turn()
        elif timer == self._flush:
            self._housekeeping()
        elif timer == self._probe:
            self._probes.turn()
        elif not self._leaving:
            self._report_now()
        else:
            self._give_up()

    def called(self, call: int, status: int, head: bytes, body: bytes) -> None:
        if self._probes.called(call, status, head, body):
            return
        if call == self._last_call:
            answer = self._read(status, body)  # 200 alone says that somebody heard it, not that it is in the ledger
            self._leave(acknowledged=answer is not None and self._epoch in answer.closed_epochs)
            return
        if call == self._call:
            self._call = None
            self._answered(self._read(status, body))
        else:
            self._early = (status, body)  # Envoy may end a call inside the one that starts it

    def drain(self) -> None:
        """Envoy takes no new connections: tell the ledger soon what is left."""
        if self.settings.report_cluster and self._stopping is None and (delay := self._reporting.need()) is not None:
            lib.turnout_timer_enable(self._report, delay)

    def shutdown(self) -> None:
        """Requests that are being answered get some time; then the last report; then Envoy may go."""
        if self._stopping is None:
            self._stopping = now()
        self._try_to_leave()

    # -- the clock ----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        for host in self.wheel.turn(now()):
            host.ring()  # type: ignore[attr-defined]
        if not self.wheel.sleep_if_empty():
            lib.turnout_timer_enable(self._clock, TICK)

    def _housekeeping(self) -> None:
        lib.turnout_timer_enable(self._flush, FLUSH_MS)
        if self._stopping is not None and not self._leaving:
            self._try_to_leave()
        self.sink.flush()

    # -- reports ------------------------------------------------------------------------------------------------------

    def _report_now(self) -> None:
        if not self._reporting.timer():
            return
        self._reporting.sent()
        self._call = None
        self._early = None
        call = self._send(self.engine.report(now()), TIMEOUT)
        if call is None:
            self._answered(None)
        elif self._early is not None:
            self._answered(self._read(*self._early))
        else:
            self._call = call

    def _send(self, report: Report, timeout: int) -> int | None:
        """The call's id; None where it could not even be started."""
        body = encode_report(msgspec.structs.replace(report, previous=wal.portion(self._previous)))
        head = (
            (b":method", b"POST"),
            (b":path", b"/v1/report"),
            (b"host", self.settings.report_authority.encode()),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        )
        return self._dial(self.settings.report_cluster, head, body, timeout)

    def _dial(self, cluster: str, head: Headers, body: bytes, timeout: int) -> int | None:
        """Starts a call; its id, or None where it could not even be started."""
        name, blob = cluster.encode(), packed(head)
        call: int = lib.turnout_call(
            self._config, name, len(name), blob, len(blob), len(head), body, len(body), timeout
        )
        return call if call >= 0 else None

    def _dial_self(self, head: Headers, body: bytes, timeout: Millis) -> int | None:
        return self._dial(self.settings.self_cluster, head, body, timeout) if self.settings.self_cluster else None

    def _read(self, status: int, body: bytes) -> Answer | None:
        if status == _FORBIDDEN and self._previous and _FOREIGN in body:
            log(
                Level.WARN,
                f"the records in {self.settings.epoch_dir} are of lives of another pod, and only that pod may give back what they had "
                "leased: it counts as spent until its windows end; give each pod a volume of its own",
            )
            self._previous = ()  # else no report of this life would ever be taken
        if status != 200:
            return None
        try:
            return decode_answer(body)
        except msgspec.MsgspecError as error:
            log(Level.ERROR, f"the lease service's answer is unreadable: {error}")
            return None

    def _answered(self, answer: Answer | None) -> None:
        if answer is not None and answer.closed_epochs:
            self._previous = tuple(e for e in self._previous if e.epoch not in answer.closed_epochs)
            wal.forget(Path(self.settings.epoch_dir), (e for e in answer.closed_epochs if e != self._epoch))
        try:
            self.engine.on_answer(answer, now())
        finally:  # reports go on, whatever an answer did
            delay = self._reporting.done(answered=answer is not None, waited_for=self.engine.is_waited_for)
            if not self._leaving:
                lib.turnout_timer_enable(self._report, delay)
        self._probes.turn()

    def _open_record(self) -> tuple[wal.WriteAheadRecord | None, tuple[EpochReport, ...]]:
        if not self.settings.epoch_dir:
            return None, ()
        directory = Path(self.settings.epoch_dir)
        earlier = wal.replay(directory)
        for words in earlier.unreadable:
            log(Level.WARN, words)
        try:
            return wal.WriteAheadRecord.open(directory, self._epoch), earlier.epochs
        except wal.RecordUnavailable as refusal:
            log(Level.WARN, str(refusal))
            return None, earlier.epochs

    # -- the end ------------------------------------------------------------------------------------------------------

    def _try_to_leave(self) -> None:
        assert self._stopping is not None
        if self.requests and now() - self._stopping < self.settings.drain_ms:
            return
        self._leaving = True
        try:
            self.engine.shutdown(now())
            if self.settings.report_cluster:
                self._early = None
                self._last_call = self._send(self.engine.report(now()), FINAL_MS)
        finally:
            if self._last_call is None or self._early is not None:
                self._leave(acknowledged=False)
            else:
                lib.turnout_timer_enable(self._report, FINAL_MS + 500)

    def _give_up(self) -> None:
        """Envoy's own timeout of the last call should have come first."""
        self._leave(acknowledged=False)

    def _leave(self, *, acknowledged: bool) -> None:
        # The map stays open: the worker still runs, and what it settles now may be written without harm.
        if self._record is not None and acknowledged:
            self._record.path.unlink(missing_ok=True)
        lib.turnout_shutdown_done()


def _alike(data: bytes, head: bytes, tail: bytes) -> tuple[int, int]:
    """`turnout_sidecar.dialects.alike`, in C."""
    found: int = lib.turnout_alike(data, len(data), head, len(head), tail, len(tail))
    return found >> 32, found & 0xFFFFFFFF


def wall() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def assert_one_worker(workers: int) -> None:
    """Raises ValueError: the engine is one interpreter for one worker."""
    if workers != 1:
        raise ValueError(
            f"Envoy runs {workers} workers; the engine serves one: start Envoy with --concurrency 1, scale by replicas"
        )

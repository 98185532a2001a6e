"""An engine that does what a header says, so that the shell under it can be tested without policies.

It keeps the contract of `turnout_sidecar.engine.Engine`. ``x-mode`` is a word for each request; see `Exchange.on_request`.
"""

# ruff: noqa: ARG002 - the shapes are the contract's and the standard library's

import json
from typing import Any

from turnout_sidecar.core.drills import Rehearsals
from turnout_sidecar.core.faults import Overlay
from turnout_sidecar.metrics import ALL, BUGS
from turnout_sidecar.policy.codec import PolicyRefused
from turnout_sidecar.policy.model import Endpoint
from turnout_sidecar.policy.report import WIRE, EpochReport, Report

UP = Endpoint(name="up", cluster="up", authority="up.test", base_path="", weight=1)
JSON = ((b"content-type", b"application/json"),)
ERROR_EVENT = b'data: {"error":{"message":"cut","code":"upstream_cut"}}\n\n'


class Engine:
    is_waited_for = False

    def __init__(self, *, epoch: str, rng: Any, record: Any, wall: Any) -> None:
        self.epoch = epoch
        self.metrics: Any = None
        self.on_need: Any = None
        self.wake: Any = None
        self.closed = False
        self.sequence = 0
        self.answers: list[Any] = []
        self.parked: list[Exchange] = []
        self.gone = 0
        self.forgotten: list[str] = []
        self.rehearsals = Rehearsals(Overlay(rng, wall))

    def configure(self, document: bytes) -> dict[str, Any]:
        policy: dict[str, Any] = json.loads(document)
        if policy.get("refuse"):
            raise PolicyRefused("the test says no")
        if policy.get("explode"):
            raise RuntimeError("a bug in configure")
        return policy

    def forget(self, runtime: dict[str, Any]) -> None:
        self.forgotten.append(str(runtime.get("version")))

    def open(self, runtime: dict[str, Any], host: Any) -> "Exchange":
        if host.header("x-mode") == "raise:open":
            raise RuntimeError("a bug in open")
        return Exchange(self, runtime, host)

    def report(self, now: int) -> Report:
        self.sequence += 1
        epoch = EpochReport(epoch=self.epoch, accounts=(), final=self.closed)
        words = json.dumps({"gone": self.gone, "answers": len(self.answers), "forgotten": self.forgotten})
        return Report(wire=WIRE, sequence=self.sequence, epoch=epoch, refused_words=words)

    def on_answer(self, answer: Any, now: int) -> None:
        if answer is not None:
            self.answers.append(answer)
        for exchange in self.parked:
            self.wake(exchange)
        self.parked.clear()

    def shutdown(self, now: int) -> None:
        self.closed = True


class Exchange:
    def __init__(self, engine: Engine, runtime: dict[str, Any], host: Any) -> None:
        self.engine = engine
        self.policy = runtime
        self.host = host
        self.mode = ""
        self.chunks = 0
        self.seen: list[str] = []

    def on_request(self, method: str, path: str, body: bytes, now: int) -> None:
        self.mode = self.host.header("x-mode")
        self._maybe_raise("request")
        self.host.record("route", "double")
        self.host.record("attempts", 1)
        word, _, rest = self.mode.partition(":")
        if word == "echo":
            self._reply(
                200, {"method": method, "path": path, "body": len(body), "tenant": self.host.header("x-tenant")}
            )
        elif word == "alarm":
            self.asked = now
            self.host.alarm(now + int(rest))
        elif word == "moving":
            self.host.alarm(now + 60_000)
            self.host.alarm(now + 40)
            self.host.alarm(now + int(rest))
            self.asked = now
        elif self.mode == "raise:alarm":
            self.host.alarm(now + 1)
        elif word == "park":
            self.engine.parked.append(self)
            self.engine.on_need()
        elif word == "inject":
            self.host.send_head(200, ((b"x-evil", b"a\r\nset-cookie: b"),))
        elif word == "flood":
            self.host.send_head(200, ((b"content-type", b"text/event-stream"),))
            self.host.send_data(b"data: " + b"f" * int(rest) + b"\n\n", end=False)
            self.host.send_data(ERROR_EVENT, end=False)
            self.host.reset_soon()
        elif word == "count":
            for metric in ALL[:1]:
                self.engine.metrics.count(metric, tuple("v" for _ in metric.labels), 7)
            self._reply(200, {"metric": ALL[0].name})
        elif word == "start":
            failure = self.host.start(_at(rest), "/x", JSON, b"{}")
            if not isinstance(failure, int):
                self._reply(200, {"failure": str(failure)})
        else:
            up = "stream" if word == "raise" and rest == "data" else rest
            headers = (*JSON, (b"x-up", up.encode()))
            self.asked = now
            self.stream = self.host.start(UP, "/v1/chat/completions", headers, body)

    def on_attempt_head(self, stream: int, head: Any, end: bool, now: int) -> None:
        self._maybe_raise("head")
        if self.mode.startswith("start"):
            self._reply(200, {"status": head.status, "genuine": head.genuine, "detail": head.detail})
            return
        self.head = head
        if self.mode.startswith("silent"):
            self.host.alarm(now + 40)
            return
        self.host.send_head(
            head.status,
            (
                (b"content-type", head.content_type.encode()),
                (b"x-policy", str(self.policy["version"]).encode()),
                (b"x-genuine", str(head.genuine).encode()),
                (b"x-retry", head.retry_after.encode()),
            ),
        )
        if end:
            self.host.send_data(b"", end=True)

    def on_attempt_data(self, stream: int, data: bytes, end: bool, now: int) -> None:
        self._maybe_raise("data")
        self.chunks += 1
        self.host.send_data(data, end=end)
        if self.mode.startswith("cut") and self.chunks == 3:
            self.host.cancel(stream)
            self.host.send_data(ERROR_EVENT, end=False)
            self.host.reset_soon()

    def on_attempt_end(self, stream: int, now: int) -> None:
        self._maybe_raise("end")
        self.host.send_data(b"", end=True)

    def on_attempt_reset(self, stream: int, now: int) -> None:
        self._maybe_raise("reset")
        self.host.send_data(ERROR_EVENT, end=False)
        self.host.reset_soon()

    def on_alarm(self, now: int) -> None:
        self._maybe_raise("alarm")
        if self.mode.startswith("silent"):
            self.host.cancel(self.stream)
        self._reply(200, {"late": now - getattr(self, "asked", now)})

    def on_client_gone(self, now: int) -> None:
        self.engine.gone += 1
        self._maybe_raise("gone")

    def on_bug(self, error: BaseException, now: int) -> None:
        if self.mode == "raise:request:twice":
            raise RuntimeError("a bug in on_bug")
        self.engine.metrics.count(BUGS, ("double",))
        if self.host.committed:
            self.host.send_data(ERROR_EVENT, end=False)
            self.host.reset_soon()
        else:
            self._reply(500, {"error": {"message": "told by on_bug", "code": "internal_error"}})

    def _maybe_raise(self, entry: str) -> None:
        if self.mode.startswith(f"raise:{entry}"):
            raise RuntimeError(f"a bug in {entry}")

    def _reply(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.host.send_head(status, (*JSON, (b"content-length", b"%d" % len(body))))
        self.host.send_data(body, end=True)


def _at(cluster: str) -> Endpoint:
    return Endpoint(name="up", cluster=cluster, authority="up.test", base_path="", weight=1)

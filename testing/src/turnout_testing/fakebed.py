"""Scenarios on the fake host: the production engine, a clock that is turned by hand, and providers that say what the script says."""

import json
import random
from collections.abc import Callable, Sequence

from turnout_sidecar.core.exchange import Exchange
from turnout_sidecar.core.host import Head, StartFailure
from turnout_sidecar.core.probe import ProbeAnswer
from turnout_sidecar.core.runtime import Runtime
from turnout_sidecar.engine import Engine
from turnout_sidecar.metrics import Labels, Metric
from turnout_sidecar.policy.report import WIRE, Answer, DrillOrder, Grant, Report
from turnout_sidecar.policy.units import Millis, NanoUSD
from turnout_testing import clientview, policyfixture
from turnout_testing.fakehost import FakeHost, ManualClock
from turnout_testing.policyfixture import ROUTE, account
from turnout_testing.providerwire import Wire, wire
from turnout_testing.scenario import Command, millis, nano

DAY = Millis(86_400_000)


class RecordingSink:
    """A `MetricSink` that adds up what it is told."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, Labels], int] = {}
        self.values: dict[tuple[str, Labels], list[int]] = {}
        self.gauges: dict[tuple[str, Labels], int] = {}

    def count(self, metric: Metric, labels: Labels, by: int = 1) -> None:
        assert len(labels) == len(metric.labels), f"{metric.name} has the labels {metric.labels}"
        self.counts[metric.name, labels] = self.counts.get((metric.name, labels), 0) + by

    def observe(self, metric: Metric, labels: Labels, value: int) -> None:
        assert len(labels) == len(metric.labels), f"{metric.name} has the labels {metric.labels}"
        self.values.setdefault((metric.name, labels), []).append(value)

    def gauge(self, metric: Metric, labels: Labels, value: int) -> None:
        assert len(labels) == len(metric.labels), f"{metric.name} has the labels {metric.labels}"
        self.gauges[metric.name, labels] = value


class FakeBed:
    """`scenario.Bed`. One request at a time in scenarios; `requests` keeps them all."""

    def __init__(self, seed: int = 7) -> None:
        self.clock = ManualClock()
        self.sink = RecordingSink()
        self.engine = Engine(epoch="epoch-1", rng=random.Random(seed), wall=lambda: self.clock.wall)
        self.engine.metrics = self.sink
        self.engine.wake = self._wake
        self._woken: list[Exchange] = []
        self.runtime: Runtime | None = None
        self.host = FakeHost()
        self.exchange: Exchange | None = None
        self._requests: dict[str, tuple[FakeHost, Exchange, set[int]]] = {}
        self._policy: dict[str, str] = {}
        self._grants: dict[str, Grant] = {}
        self._heads: set[int] = set()
        self._gone: set[str] = set()
        self._runs = 0
        self._shown = 0
        self._accounts: dict[str, tuple[int, int]] = {}

    def close(self) -> None:
        """Nothing outlives a bed."""

    def run(self, command: Command) -> Sequence[str] | None:
        handler = getattr(self, f"_do_{command.name}", None)
        if handler is None:
            raise ValueError(f"line {command.line}: no command {command.name}")
        lines: Sequence[str] = handler(command) or ()
        self._settle()
        return lines

    # Commands

    def _do_policy(self, command: Command) -> None:
        self._policy = command.options
        self.runtime = self.engine.configure(policyfixture.document(command.options))

    def _do_grant(self, command: Command) -> None:
        limit, amount = command.arguments[:2]
        name = account(limit, command.option("subject", "-"))
        before = self._grants.get(name)
        granted = nano(amount) + (before.granted if before is not None else 0)
        grant = Grant(
            account=name,
            window="w1",
            window_ends=self.clock.wall + DAY,
            window_remaining=DAY,
            granted=NanoUSD(granted),
            spent=NanoUSD(0),
            returned=NanoUSD(0),
            recall=NanoUSD(0),
            limit=NanoUSD(nano(command.option("of", "1000"))),
            settled=NanoUSD(0),
            exhausted=command.flag("exhausted"),
        )
        self._grants[name] = grant
        self._answer(grants=(grant,))

    def _do_drill(self, command: Command) -> None:
        self._runs += 1
        order = DrillOrder(
            run=f"run-{self._runs}",
            route=ROUTE,
            fault=command.arguments[0],
            candidates=tuple(filter(None, command.option("candidates").split(","))),
            remaining=Millis(millis(command.option("lasting", "30s"))),
            ends=self.clock.wall + millis(command.option("lasting", "30s")),
            probes=1,
            interval=Millis(1_000),
            max_cost=NanoUSD(nano(command.option("allowance", "1"))),
            recovery=Millis(0),
        )
        self._answer(drills=(order,))

    def _answer(self, grants: tuple[Grant, ...] = (), drills: tuple[DrillOrder, ...] = ()) -> None:
        answer = Answer(wire=WIRE, sequence=1, grants=grants, drills=drills)
        self.engine.on_answer(answer, self.clock.now)

    def _do_request(self, command: Command) -> None:
        assert self.runtime is not None, "a policy comes first"
        self.host = FakeHost(headers=self._request_headers(command))
        self._heads = set()
        self._shown = 0
        if command.flag("refused"):
            self.host.refuse = StartFailure.CANNOT_SERVE
        self.exchange = self.engine.open(self.runtime, self.host)
        self._requests[command.option("as")] = (self.host, self.exchange, self._heads)
        self.exchange.on_request(
            command.option("method", "POST"),
            command.option("path", "/v1/chat/completions"),
            request_body(command),
            self.clock.now,
        )

    def _do_on(self, command: Command) -> None:
        self.host, self.exchange, self._heads = self._requests[command.arguments[0]]

    def _request_headers(self, command: Command) -> dict[str, str]:
        headers = {k.partition(".")[2]: v for k, v in command.options.items() if k.startswith("header.")}
        if "tenant" in command.options:
            headers["x-tenant-id"] = command.options["tenant"]
        if "drill" in command.options:
            run = self.engine.rehearsals._runs[f"run-{self._runs}"]  # noqa: SLF001 - tokens are nobody else's business
            assert run.tokens is not None, f"the drill was refused: {run.refused}"
            headers["x-turnout-drill"] = run.tokens.fault if command.options["drill"] == "fault" else run.tokens.control
        return headers

    def _do_upstream(self, command: Command) -> None:
        number, event = int(command.arguments[0]), command.arguments[1]
        assert self.exchange is not None, "a request comes first"
        arrived = self._arrived()
        assert number <= len(arrived), f"line {command.line}: there was no attempt {number}"
        stream = arrived[number - 1]
        if self.host.streams[stream].fate != "open" or event == "asked":
            return
        if event == "reset" and stream not in self._heads:
            self._made_up(stream, "connection termination")
        elif event == "reset":
            self.host.streams[stream].fate = "reset"
            self.exchange.on_attempt_reset(stream, self.clock.now)
        elif event == "end":
            self.host.streams[stream].fate = "answered"
            self.exchange.on_attempt_end(stream, self.clock.now)
        elif event == "head":
            self._head(stream, command, command.option("type", "text/event-stream"))
        else:
            self._say(stream, command, event)

    def _made_up(self, stream: int, reason: str) -> None:
        """What Envoy answers in the provider's place."""
        assert self.exchange is not None, "a request comes first"
        self.host.streams[stream].said = "reset"
        words = f"upstream connect error or disconnect/reset before headers. reset reason: {reason}"
        self.exchange.on_attempt_head(stream, Head(503, "text/plain", "", False, words), False, self.clock.now)
        self._data(stream, words.encode(), end=True)

    def _say(self, stream: int, command: Command, event: str) -> None:
        whole = event in ("answer", "refusal")
        self.host.streams[stream].said = "answered" if whole or command.flag("end") else ""
        if stream not in self._heads:
            self._head(stream, command, "application/json" if whole else "text/event-stream")
        self._data(stream, said(self._wire(stream), command, event), end=whole or command.flag("end"))

    def _data(self, stream: int, data: bytes, *, end: bool) -> None:
        assert self.exchange is not None, "a request comes first"
        sent = self.host.streams[stream]
        if sent.fate != "open":
            return
        if end:
            sent.fate = "answered"
        self.exchange.on_attempt_data(stream, data, end, self.clock.now)

    def _head(self, stream: int, command: Command, content_type: str) -> None:
        assert self.exchange is not None, "a request comes first"
        self._heads.add(stream)
        status = int(command.option("status", "200"))
        end = command.flag("end") and command.arguments[1] == "head"
        if end:
            self.host.streams[stream].fate = "answered"
        head = Head(status, command.option("type", content_type), command.option("retry-after"), True)
        self.exchange.on_attempt_head(stream, head, end, self.clock.now)

    def _wire(self, stream: int) -> Wire:
        sent = self.host.streams[stream]
        dialect = "Anthropic" if sent.path.endswith("/messages") else "OpenAI"
        return wire(dialect, str(sent.document["model"]))

    def _do_advance(self, command: Command) -> None:
        self.pass_time(millis(command.arguments[0]))
        for probe in self.engine.probes(self.clock.now):  # a shell would send it
            self.engine.probed(probe, ProbeAnswer(failure="nobody sends it here", sent=False), self.clock.now)

    def pass_time(self, by: int) -> None:
        """Alarms of all requests go off on their way, in order."""
        until = self.clock.now + by
        while (found := self._next_alarm(until)) is not None:
            host, exchange = found
            assert host.due is not None, "an alarm was set"
            due, host.due = host.due, None
            self.clock.advance(max(0, due - self.clock.now))
            exchange.on_alarm(self.clock.now)
            self._settle()
        self.clock.advance(until - self.clock.now)

    def _next_alarm(self, until: int) -> tuple[FakeHost, Exchange] | None:
        armed = [(h, e) for h, e, _ in self._requests.values() if h.due is not None and h.due <= until and not h.end]
        return min(armed, key=lambda found: found[0].due or 0, default=None)

    def _do_client(self, command: Command) -> None:
        assert self.exchange is not None, "a request comes first"
        if command.arguments[0] == "sees":
            assert command.arguments[1].encode() in self.host.body, f"line {command.line}: {self.host.body!r}"
            return
        self.exchange.on_client_gone(self.clock.now)
        if not self.host.end:
            self.host.end = "left"

    def _do_show(self, command: Command) -> list[str]:
        shows: dict[str, Callable[[], list[str]]] = {
            "client": lambda: clientview.lines(self.host.status, self.host.response, self.host.body, self.host.end),
            "providers": self._providers,
            "budget": self._budget,
            "transcript": self._transcript,
            "metrics": self._metrics,
            "breakers": lambda: [f"{b.pool} {b.model} {b.state}" for b in self._report().breakers],
            "log": lambda: [f"{k}={v}" for k, v in self.host.facts.items()],
        }
        return shows[command.arguments[0]]()

    def _report(self) -> Report:
        return self.engine.report(self.clock.now)

    def _arrived(self) -> list[int]:
        """The streams of the request that reached a provider, in order: what `upstream N` counts."""
        return [stream for stream, sent in self.host.streams.items() if not sent.refused]

    def _providers(self) -> list[str]:
        sent = [self.host.streams[stream] for stream in self._arrived()]
        return [provider_line(n, s.path, s.document, s.fate) for n, s in enumerate(sent, 1)]

    def _budget(self) -> list[str]:
        for line in self._report().epoch.accounts:
            if line.window:
                self._accounts[line.account] = (line.spent, line.held)
        return [f"{name} spent {spent} held {held}" for name, (spent, held) in sorted(self._accounts.items())]

    def _transcript(self) -> list[str]:
        fresh = self.host.transcript[self._shown :]
        self._shown = len(self.host.transcript)
        return fresh

    def _metrics(self) -> list[str]:
        counts = [f"{name}{{{','.join(labels)}}} {n}" for (name, labels), n in sorted(self.sink.counts.items())]
        values = [f"{name}{{{','.join(labels)}}} {v}" for (name, labels), v in sorted(self.sink.values.items())]
        return counts + values

    def _wake(self, exchange: Exchange) -> None:
        self._woken.append(exchange)

    def _settle(self) -> None:
        """What follows by itself: woken requests try again, and connections to nobody are refused."""
        while True:
            if self._woken:
                self._woken.pop(0).on_alarm(self.clock.now)
            elif not self._refuse_one():
                return

    def _refuse_one(self) -> bool:
        for host, exchange, heads in self._requests.values():
            for stream, sent in host.streams.items():
                if sent.fate == "open" and stream not in heads and sent.endpoint.cluster in self._gone:
                    self.host, self.exchange, self._heads = host, exchange, heads
                    sent.refused = True
                    self._made_up(stream, "remote connection failure")
                    return True
        return False

    def _do_provider(self, command: Command) -> None:
        cluster = {"small": "openai-cluster", "claude": "claude-cluster", "local": "vllm-cluster"}[command.arguments[0]]
        if command.arguments[1] == "gone":
            self._gone.add(cluster)
        else:
            self._gone.discard(cluster)


def provider_line(number: int, path: str, document: dict[str, object], fate: str) -> str:
    """One attempt as a provider saw it."""
    cap = document.get("max_completion_tokens", document.get("max_tokens"))
    stream = " stream" if document.get("stream") else ""
    return f"attempt {number} {path} model={document['model']} cap={cap}{stream} {fate}"


def request_body(command: Command) -> bytes:
    """The body of a `request` command."""
    if "body" in command.options:
        return command.options["body"].encode()
    if command.option("method") == "GET":
        return b""
    document: dict[str, object] = {
        "model": command.option("model", policyfixture.MODEL),
        "messages": [{"role": "user", "content": command.option("text", "Hello")}],
    }
    if "max_tokens" in command.options:
        document["max_tokens"] = int(command.options["max_tokens"])
    if command.flag("stream"):
        document["stream"] = True
    if command.flag("usage"):
        document["stream_options"] = {"include_usage": True}
    for name, value in command.options.items():
        if name.startswith("field."):
            document[name.removeprefix("field.")] = json.loads(value)
    return json.dumps(document, separators=(",", ":")).encode()


def said(words: Wire, command: Command, event: str) -> bytes:
    """The bytes of an `upstream` command that puts something on the wire."""
    arguments = [a for a in command.arguments[2:] if a != "end"]
    match event:
        case "role":
            return words.role()
        case "chunk":
            return words.chunk(arguments[0])
        case "tool":
            return words.tool(arguments[0], arguments[1])
        case "finish":
            return words.finish(arguments[0] if arguments else "")
        case "usage":
            return words.usage(int(arguments[0]), int(arguments[1]))
        case "done":
            return words.done()
        case "answer":
            usage = (int(arguments[1]), int(arguments[2])) if len(arguments) == 3 else None
            return words.answer(arguments[0], usage, command.option("model"))
        case "error":
            return words.error(arguments[0])
        case "refusal":
            return words.refusal(arguments[0])
        case "raw":
            return arguments[0].encode().decode("unicode_escape").encode("latin-1")
        case _:
            raise ValueError(f"line {command.line}: no upstream event {event}")

"""A `Host` that does nothing and forgets nothing, and a clock that is turned by hand."""

import json
from dataclasses import dataclass, field

from turnout_sidecar.core.host import Headers, StartFailure
from turnout_sidecar.policy.model import Endpoint
from turnout_sidecar.policy.units import Millis


class ManualClock:
    """Monotonic and wall milliseconds that only move when told to."""

    def __init__(self) -> None:
        self.now = Millis(1_000_000)
        self.wall = 1_790_000_000_000

    def advance(self, by: int) -> None:
        self.now = Millis(self.now + by)
        self.wall += by


@dataclass(slots=True)
class Sent:
    """One upstream stream that the exchange opened."""

    endpoint: Endpoint
    path: str
    headers: Headers
    body: bytes
    fate: str = "open"
    """open | answered | reset | cancelled"""
    said: str = ""
    """what the fate will be, once the provider has nothing more to say"""
    refused: bool = False
    """nobody listened"""

    @property
    def document(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found


@dataclass(slots=True)
class FakeHost:
    """The client's side of one exchange. What breaks the rules of `Host` raises at once."""

    headers: dict[str, str] = field(default_factory=dict)
    refuse: StartFailure | None = None
    """what the next `start` answers, once"""
    transcript: list[str] = field(default_factory=list)
    streams: dict[int, Sent] = field(default_factory=dict)
    status: int = 0
    response: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    end: str = ""
    """clean | reset | left; empty while the answer is under way"""
    facts: dict[str, str | int] = field(default_factory=dict)
    due: Millis | None = None

    def header(self, name: str) -> str:
        assert name == name.lower(), "headers are asked for in lower case"
        return self.headers.get(name, "")

    def start(self, endpoint: Endpoint, path: str, headers: Headers, body: bytes) -> int | StartFailure:
        assert not self.end, "nothing starts after the end"
        if self.refuse is not None:
            refused, self.refuse = self.refuse, None
            self.transcript.append(f"start {endpoint.cluster} -> {refused}")
            return refused
        stream = len(self.streams) + 1
        self.streams[stream] = Sent(endpoint, path, headers, body)
        self.transcript.append(f"start {stream} {endpoint.cluster} {path} {_summary(body)}")
        return stream

    def cancel(self, stream: int) -> None:
        sent = self.streams[stream]
        assert sent.fate == "open", "only an open stream is cancelled"
        sent.fate = sent.said or "cancelled"
        self.transcript.append(f"cancel {stream}")

    def send_head(self, status: int, headers: Headers) -> None:
        assert not self.status, "a client gets one head"
        assert not self.end, "nothing is sent after the end"
        self.status = status
        self.response = {k.decode(): v.decode() for k, v in headers}
        self.transcript.append(f"head {status}")

    def send_data(self, data: bytes, *, end: bool) -> None:
        assert self.status, "the head comes first"
        assert not self.end, "nothing is sent after the end"
        self.body += data
        self.transcript.append(f"data {len(data)} bytes{' end' if end else ''}")
        if end:
            self.end = "clean"
            length = self.response.get("content-length")
            assert length is None or int(length) == len(self.body), "the length is what was announced"

    def reset_soon(self) -> None:
        assert not self.end, "an answer ends once"
        self.end = "reset"
        self.transcript.append("reset soon")

    def alarm(self, at: Millis | None) -> None:
        self.due = at

    def record(self, name: str, value: str | int) -> None:
        assert not self.end, "facts are told before the last byte"
        self.facts[name] = value


def _summary(body: bytes) -> str:
    document = json.loads(body)
    cap = document.get("max_completion_tokens", document.get("max_tokens"))
    return f"model={document['model']} cap={cap}" + (" stream" if document.get("stream") else "")

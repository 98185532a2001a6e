"""Steady load as applications make it: plain answers and streams, read to their end or left at any point, over several sidecars.

Each worker draws from its own seeded chance, so a seed gives the same requests, whatever their order turns out to be. The `user` of
each request is ``<model>.<tenant>``: the stand-in provider's bill tells by it whose money it was.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

_PATIENCE = 30
_REST = 0.05
"""Seconds that a client waits after a refusal or a closed door."""


class Mix(NamedTuple):
    """What is drawn from: models, tenants (header values), answers' lengths, and how often which kind of client comes."""

    models: Sequence[str]
    tenants: Sequence[str]
    tokens: tuple[int, int] = (10, 160)
    cap: int = 200
    plain: int = 5
    stream: int = 5
    leaves_at_once: int = 1
    leaves_in_stream: int = 2
    two_answers: int = 1


class Traffic:
    """A context manager: load runs inside unless it is paused. `endings` counts how requests ended, from any thread."""

    def __init__(self, urls: Sequence[Callable[[], str]], mix: Mix, *, seed: int, workers: int) -> None:
        self.endings: Counter[str] = Counter()
        self.mix = mix
        """what is drawn from next; may be replaced"""
        self._urls = urls
        self._go = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._busy = 0
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(f"{seed}/{n}"),), name=f"load-{n}", daemon=True)
            for n in range(workers)
        ]

    def __enter__(self) -> Self:
        self._go.set()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._go.set()
        for thread in self._threads:
            thread.join(2 * _PATIENCE)

    def pause(self) -> None:
        """No new requests; those under way end by themselves, see `quiet`."""
        self._go.clear()

    def resume(self) -> None:
        self._go.set()

    @property
    def quiet(self) -> bool:
        """Paused, and nothing under way."""
        with self._lock:
            return not self._go.is_set() and self._busy == 0

    @property
    def ended(self) -> int:
        """How many requests have ended in whatever way."""
        with self._lock:
            return self.endings.total()

    def _work(self, rng: random.Random) -> None:
        while True:
            self._go.wait()
            if self._stop.is_set():
                return
            with self._lock:
                self._busy += 1
            ending = "bug of the load"
            try:
                ending = self._request(rng)
            finally:
                with self._lock:
                    self._busy -= 1
                    self.endings[ending] += 1
            if ending == "down" or ending.startswith("refused"):
                self._stop.wait(_REST)

    def _request(self, rng: random.Random) -> str:
        mix = self.mix
        url = rng.choice(self._urls)
        model, tenant = rng.choice(mix.models), rng.choice(mix.tenants)
        kinds = {
            "plain": mix.plain,
            "stream": mix.stream,
            "leaves_at_once": mix.leaves_at_once,
            "leaves_in_stream": mix.leaves_in_stream,
            "two_answers": mix.two_answers,
        }
        kind = rng.choices(tuple(kinds), tuple(kinds.values()))[0]
        words = f"[sim:output={rng.randint(*mix.tokens)}] " + "x" * rng.randint(1, 60)
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": words}],
            "max_tokens": mix.cap,
            "user": f"{model}.{tenant}",
        }
        streams = kind in ("stream", "leaves_in_stream") or (kind == "leaves_at_once" and rng.random() < 0.5)
        if streams:
            body["stream"] = True
        if kind == "two_answers":
            body["n"] = 2
        lines = rng.randint(1, 40) if kind == "leaves_in_stream" else None
        try:
            return _ask(url(), body, tenant, streams, leaves_at_once=kind == "leaves_at_once", lines=lines)
        except (OSError, http.client.HTTPException):
            return "down"


def _ask(url: str, body: dict[str, Any], tenant: str, streams: bool, *, leaves_at_once: bool, lines: int | None) -> str:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_PATIENCE)
    try:
        headers = {"content-type": "application/json", "x-tenant-id": tenant}
        connection.request("POST", address.path + "/chat/completions", json.dumps(body), headers)
        if leaves_at_once:
            return "left at once"
        answer = connection.getresponse()
        if answer.status != 200:
            return f"refused {answer.status} {_code(answer.read())}"
        if not streams:
            answer.read()
            return "answered"
        return _read_stream(answer, lines)
    finally:
        connection.close()


def _read_stream(answer: http.client.HTTPResponse, lines: int | None) -> str:
    whole = False
    try:
        for number, line in enumerate(answer, start=1):
            whole = whole or line.startswith(b"data: [DONE]")
            if lines is not None and number >= lines:
                return "left in the stream"
    except (OSError, http.client.HTTPException):
        return "cut"
    return "streamed" if whole else "cut"


def _code(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return "without code"

"""Exceptions that reached the shell: each one counted, the first of each kind in a while logged with its traceback."""

import traceback
from time import monotonic_ns
from typing import Protocol

from turnout_sidecar.envoy.log import Level, log

QUIET_NS = 10_000_000_000


class Counter(Protocol):
    def bug(self, entry: str) -> None: ...


class Faults:
    """Called on any thread; a lost update here costs one line of log."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._told: dict[tuple[str, type[BaseException]], int] = {}

    def count(self, entry: str, error: BaseException) -> None:
        self._counter.bug(entry)
        self.tell(entry, error)

    def tell(self, entry: str, error: BaseException) -> None:
        """For an exception that the exchange counts by itself."""
        kind, at = (entry, type(error)), monotonic_ns()
        if at - self._told.get(kind, -QUIET_NS) < QUIET_NS:
            return
        self._told[kind] = at
        words = "".join(traceback.format_exception(error))
        log(Level.ERROR, f"a bug in {entry}; requests go on. Please report it:\n{words}")

"""Waits for facts, never for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_Fact = TypeVar("_Fact")


class NeverHappenedError(AssertionError):
    """The fact did not become true in time; an AssertionError, since in a test this is a failed expectation."""


def until(fact: Callable[[], _Fact | None], *, what: str, within: float, every: float = 0.05) -> _Fact:
    """Ask `fact` until it answers something true and return that.

    `within` and `every` are seconds; `within` is the patience for a machine under load, not an expectation of speed.
    Raises NeverHappenedError, naming `what` and the last answer.
    """
    deadline = time.monotonic() + within
    while True:
        answer = fact()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise NeverHappenedError(f"waited {within:.0f} s for: {what}; last answer: {answer!r}")
        time.sleep(every)

"""A keyed work queue: one entry a key, one worker a key at a time, backoff on failure, resync by the caller.

Shapes and metric names follow client-go's workqueue, because people already chart those. Thread-safe: kopf's loop adds,
worker threads take. An event that repeats while its key waits changes nothing; one that comes while its key is worked on
makes it run once more afterwards.
"""

import heapq
import threading
from collections.abc import Callable, Hashable
from time import monotonic
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BASE_BACKOFF = 0.2
MOST_BACKOFF = 60.0


class Queue(Generic[K]):
    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._condition = threading.Condition()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._closed = False
        self.adds = 0
        self.retries = 0

    def add(self, key: K, delay: float = 0.0) -> None:
        """Works `key` after `delay` seconds at the latest; a key already waiting keeps the earlier of the two times."""
        with self._condition:
            self.adds += 1
            if key in self._working:
                self._again.add(key)
                return
            self._schedule(key, self._clock() + delay)

    def take(self, timeout: float | None = None) -> K | None:
        """The next due key, which is then being worked on until `done` or `failed`; None when closed or timed out."""
        end = None if timeout is None else self._clock() + timeout
        with self._condition:
            while not self._closed:
                now = self._clock()
                key = self._pop(now)
                if key is not None:
                    self._working.add(key)
                    return key
                wait = self._heap[0][0] - now if self._heap else None
                if end is not None:
                    left = end - now
                    if left <= 0:
                        return None
                    wait = left if wait is None else min(wait, left)
                self._condition.wait(wait)
            return None

    def done(self, key: K) -> None:
        with self._condition:
            self._failures.pop(key, None)
            self._finish(key)

    def failed(self, key: K) -> float:
        """Puts `key` back after its backoff, which is returned in seconds."""
        with self._condition:
            n = self._failures.get(key, 0)
            self._failures[key] = n + 1
            self.retries += 1
            delay: float = min(BASE_BACKOFF * 2 ** min(n, 16), MOST_BACKOFF)
            self._working.discard(key)
            again = key in self._again
            self._again.discard(key)
            self._schedule(key, self._clock() + (0.0 if again else delay))
            return delay

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def depth(self) -> int:
        with self._condition:
            return len(self._due)

    def _finish(self, key: K) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self._schedule(key, self._clock())

    def _schedule(self, key: K, at: float) -> None:
        known = self._due.get(key)
        if known is not None and known <= at:
            return
        self._due[key] = at
        self._order += 1
        heapq.heappush(self._heap, (at, self._order, key))
        self._condition.notify()

    def _pop(self, now: float) -> K | None:
        while self._heap:
            at, _, key = self._heap[0]
            if self._due.get(key) != at:
                heapq.heappop(self._heap)  # a later entry of a key that was moved forward
                continue
            if at > now:
                return None
            heapq.heappop(self._heap)
            del self._due[key]
            return key
        return None

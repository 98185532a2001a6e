"""Who waits for which account's money.

Exchanges park on the worker; leases arrive on Envoy's main thread. Its lock is its own and is held for dict operations only.
"""

import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Parking(Generic[T]):
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[T]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def enter(self, account: str, waiter: T) -> None:
        with self._lock:
            self._waiting.setdefault(account, []).append(waiter)

    def leave(self, account: str, waiter: T) -> None:
        """Afterwards the waiter is not woken; it may have been taken already."""
        with self._lock:
            waiting = self._waiting.get(account)
            if waiting is not None and waiter in waiting:
                waiting.remove(waiter)
                if not waiting:
                    del self._waiting[account]

    def take(self, accounts: Iterable[str]) -> list[T]:
        """All who wait for one of these, oldest first. They enter again if it was not enough."""
        with self._lock:
            return [waiter for account in accounts for waiter in self._waiting.pop(account, ())]

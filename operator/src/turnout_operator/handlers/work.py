"""Worker threads that take keys from the queue and run their reconciler: count, time, back off."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic

import structlog

from turnout_operator import metrics
from turnout_operator.handlers.queue import Queue
from turnout_operator.kube.client import ApiError, Conflict, Unreachable

log = structlog.get_logger(__name__)


class Controller(StrEnum):
    """What a key asks for."""

    COMPILE = "compile"
    """Everything: one snapshot, one compilation, what sidecars are to have."""
    ROUTE = "route"
    """One LLMRoute's status."""
    POOL = "pool"
    """One ProviderPool's autoscaler and status."""
    SCHEDULE = "schedule"
    """The drills that one route's schedule stamps."""
    DRILL = "drill"
    """One FallbackDrill's next step."""
    SECRETS = "secrets"
    """Whether a provider key was rotated."""
    RESYNC = "resync"
    """A fresh listing of everything that is watched."""


@dataclass(frozen=True, slots=True)
class Key:
    controller: Controller
    namespace: str = ""
    name: str = ""


Reconciler = Callable[[Key], float | None]
"""Brings the world to what is declared; returns seconds until it wants to run again, or None. Raises to be retried."""


class Workers:
    """`count` threads over one queue. `heartbeat` is called between keys, so a stuck reconcile shows."""

    def __init__(self, queue: Queue[Key], reconcilers: Mapping[Controller, Reconciler], count: int = 2) -> None:
        self._queue = queue
        self._reconcilers = reconcilers
        self._threads = [threading.Thread(target=self._run, name=f"reconcile-{n}", daemon=True) for n in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._queue.close()
        for thread in self._threads:
            thread.join(10)

    def _run(self) -> None:
        while (key := self._queue.take()) is not None:
            self._work(key)
            metrics.QUEUE_DEPTH.set(self._queue.depth)
            metrics.QUEUE_ADDS.set(self._queue.adds)
            metrics.QUEUE_RETRIES.set(self._queue.retries)

    def _work(self, key: Key) -> None:
        controller = key.controller.value
        began = monotonic()
        metrics.ACTIVE_WORKERS.labels(controller).inc()
        try:
            again = self._reconcilers[key.controller](key)
        except Conflict as e:
            self._failed(key, "conflict", e)  # somebody else wrote: read again
        except (ApiError, Unreachable) as e:
            self._failed(key, "api", e)
        except Exception as e:
            log.exception("reconcile failed", controller=controller, namespace=key.namespace, name=key.name)
            self._failed(key, "bug", e)
        else:
            self._queue.done(key)
            if again is not None:
                self._queue.add(key, again)
            metrics.RECONCILES.labels(controller, "success" if again is None else "requeue_after").inc()
        finally:
            metrics.ACTIVE_WORKERS.labels(controller).dec()
            metrics.RECONCILE_SECONDS.labels(controller).observe(monotonic() - began)

    def _failed(self, key: Key, kind: str, error: Exception) -> None:
        delay = self._queue.failed(key)
        metrics.RECONCILES.labels(key.controller.value, "error").inc()
        metrics.RECONCILE_ERRORS.labels(key.controller.value).inc()
        log.warning(
            "reconcile to be tried again",
            controller=key.controller.value,
            namespace=key.namespace,
            name=key.name,
            kind=kind,
            error=str(error),
            after_seconds=round(delay, 2),
        )

"""Leadership over a coordination Lease: one replica works, the others stand by.

Rules: `acquire_time`, `renew_time` are for people; who leads is decided by compare-and-swap on the Lease and by each
replica's own monotonic clock (a rival's lease is stale when *we* have not seen it change for its duration). Losing the
lease ends the process, because everything it started is then somebody else's. Nothing is unsafe while two lead for a
moment: every write of the ledger is a compare-and-swap of its own.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import structlog

from turnout_operator.kube.client import ApiError, Client, Conflict, Unreachable
from turnout_operator.kube.resources import LEASES

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderSettings:
    """client-go's defaults: 15 s lease, renewed each 2 s, given up when not renewed for 10 s."""

    namespace: str
    name: str = "turnout-operator"
    identity: str
    duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0


class Leadership:
    """`run` blocks until the process must end or `stop` is set; calls `on_lead` once, `on_lost` when it is over."""

    def __init__(
        self, client: Client, settings: LeaderSettings, *, on_lead: Callable[[], object], on_lost: Callable[[], object]
    ) -> None:
        # A call that hangs longer than the deadline would keep us leading past it.
        self._client = client.with_timeout(settings.retry_period)
        self._settings = settings
        self._on_lead = on_lead
        self._on_lost = on_lost
        self._stop = threading.Event()
        self._seen: tuple[str, float] = ("", 0.0)
        self.leading = False

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self.run, name="leadership", daemon=True)
        thread.start()
        return thread

    def run(self) -> None:
        renewed = monotonic()
        while not self._stop.is_set():
            held = self._try_once()
            now = monotonic()
            if held:
                renewed = now
                if not self.leading:
                    self.leading = True
                    log.info("leading", identity=self._settings.identity)
                    self._on_lead()
            elif self.leading and now - renewed > self._settings.renew_deadline:
                log.error(
                    "leadership lost", identity=self._settings.identity, unrenewed_seconds=round(now - renewed, 1)
                )
                self.leading = False
                self._on_lost()
                return
            self._stop.wait(self._settings.retry_period)

    def release(self) -> None:
        """Gives the lease up at a clean exit, so that the other replica need not wait for it to go stale."""
        self._stop.set()
        if not self.leading:
            return
        self.leading = False
        try:
            lease = self._client.get(LEASES, self._settings.namespace, self._settings.name)
            if lease["spec"].get("holderIdentity") == self._settings.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
                self._client.replace(LEASES, self._settings.namespace, lease)
        except (ApiError, Unreachable) as e:
            log.warning("lease not released", error=str(e))

    def _try_once(self) -> bool:
        """True when the Lease names us after this call."""
        s = self._settings
        try:
            lease = self._client.find(LEASES, s.namespace, s.name)
            if lease is None:
                self._client.create(LEASES, s.namespace, self._fresh())
                return True
            holder = lease["spec"].get("holderIdentity") or ""
            if holder not in ("", s.identity) and not self._stale(lease):
                return False
            self._client.replace(LEASES, s.namespace, self._taken(lease, holder))
        except Conflict:
            return False
        except (ApiError, Unreachable) as e:
            log.warning("lease not reached", error=str(e))
            return False
        return True

    def _stale(self, lease: dict[str, Any]) -> bool:
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, monotonic())
            return False
        return monotonic() - self._seen[1] > float(lease["spec"].get("leaseDurationSeconds", self._settings.duration))

    def _fresh(self) -> dict[str, Any]:
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._settings.name, "namespace": self._settings.namespace},
            "spec": self._spec(0, _now()),
        }

    def _taken(self, lease: dict[str, Any], holder: str) -> dict[str, Any]:
        mine = holder == self._settings.identity
        transitions = int(lease["spec"].get("leaseTransitions") or 0) + (0 if mine else 1)
        acquired = lease["spec"].get("acquireTime") if mine else _now()
        return {**lease, "spec": self._spec(transitions, acquired or _now())}

    def _spec(self, transitions: int, acquired: str) -> dict[str, Any]:
        return {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": int(self._settings.duration),
            "acquireTime": acquired,
            "renewTime": _now(),
            "leaseTransitions": transitions,
        }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

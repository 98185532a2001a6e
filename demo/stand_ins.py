"""The providers: `turnout sim` as processes of their own, with their bills and their power switch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx
import msgspec

from demo.books import Charges
from turnout_operator.sim.bill import Bill
from turnout_testing import waiting
from turnout_testing.controlplane.daemons import Daemon
from turnout_testing.controlplane.ports import LOOPBACK

PROFILES = Path(__file__).with_name("providers")
_PATIENCE = 30


class StandIn:
    """One provider, named after the pool that leads to it. `tied`: it dies with this process."""

    def __init__(self, name: str, folder: Path, key: str, *, profile: Path | None = None, tied: bool = False) -> None:
        self.name = name
        self.process = Daemon(name, folder, tied=tied)
        self._profile = profile or PROFILES / f"{name}.yaml"
        self._key = key
        self._journal = folder / f"{name}.journal"
        self._admin = ""
        self.port = 0

    def start(self) -> None:
        """Afterwards it answers, and `port` is where."""
        keys = ["--key", self._key] if self._key else []
        serving = ["--listen", f"{LOOPBACK}:0", "--admin", f"{LOOPBACK}:0", "--journal", str(self._journal)]
        profile = ["--profile", str(self._profile)]
        self.process.start([sys.executable, "-m", "turnout_operator", "sim", *serving, *profile, *keys])
        started = waiting.until(self._started, what=f"provider {self.name}", within=_PATIENCE)
        self.port = int(started["listen"].rpartition(":")[2])
        self._admin = f"http://{started['admin']}"

    @property
    def admin_url(self) -> str:
        """Of its admin interface."""
        return self._admin

    def charges(self) -> Charges:
        """Its bill."""
        answer = httpx.get(f"{self._admin}/sim/bill", trust_env=False, timeout=10)
        return Charges(provider=self.name, lines=msgspec.json.decode(answer.content, type=Bill).lines)

    async def die(self) -> None:
        """Open connections are reset and new ones refused."""
        await self._post("/sim/down")

    async def come_back(self) -> None:
        """On the same port."""
        await self._post("/sim/up")

    async def _post(self, path: str) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            (await client.post(self._admin + path)).raise_for_status()

    def _started(self) -> dict[str, str] | None:
        """The line that it prints when it serves."""
        if self.process.pid is None:
            raise waiting.NeverHappenedError(f"provider {self.name} ended:\n{self.process.log_tail()}")
        lines = self.process.log.read_text().splitlines()
        found: dict[str, str] | None = json.loads(lines[0]) if lines and lines[0].startswith("{") else None
        return found

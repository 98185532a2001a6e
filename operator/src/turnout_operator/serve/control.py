"""The control plane of one sidecar, on loopback inside `serve`: discovery, leases, and the token that only its own Envoy has."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from pathlib import Path

from turnout_operator.identity import Identity, TokenRefused
from turnout_operator.ir import QuotaLimit
from turnout_operator.quota import limits
from turnout_operator.quota.http import ReportServer
from turnout_operator.quota.service import LeaseService
from turnout_operator.quota.sqlite import SQLiteStore
from turnout_operator.render.envoy import Edge, resources
from turnout_operator.serve.program import ALL, Program
from turnout_operator.xds import Nodes, Progress, Server, Views, view
from turnout_operator.xds.kind import Kind
from turnout_sidecar.envoy import bootstrap
from turnout_sidecar.policy.units import Millis

HOST = "127.0.0.1"
ITSELF = Identity(namespace=ALL, service_account="serve")


class Control:
    """Runs in one event loop. `moved` is called whenever the sidecar's state changed."""

    def __init__(
        self, ledger: Path, *, clock: Callable[[], Millis], wall: Callable[[], int], moved: Callable[[], None]
    ) -> None:
        """Raises `quota.ports.StoreUnavailable` where the ledger cannot be opened."""
        self._wall = wall
        self._token = secrets.token_urlsafe(32)
        self._salt = secrets.token_bytes(16)
        self._store = SQLiteStore(ledger)
        self._leases = LeaseService(self._store)
        self._views = Views()
        self._nodes = Nodes(clock, lambda _: moved())
        self._leases.listeners.append(lambda _, report: self._nodes.report(ITSELF, report))
        self._discovery = Server(self._views, self._nodes, self._authenticate, clock=clock, wall=wall)
        self._reports = ReportServer(self._leases, self._authenticate, wall=wall)
        self._xds_port = 0

    async def start(self) -> None:
        """Both listen on free ports of loopback afterwards."""
        self._xds_port = await self._discovery.start(f"{HOST}:0")
        await self._reports.start(HOST)

    async def stop(self) -> None:
        """Envoy is gone already, so its last report is in the ledger."""
        await self._discovery.stop()
        await self._reports.stop()
        self._store.close()

    def plane(self, write: Callable[[str, bytes], Path]) -> bootstrap.ControlPlane:
        """What Envoy's bootstrap says of it; `write` keeps the token's files where only this user reads them."""
        token = write("token", self._token.encode())
        secret = write("token.json", bootstrap.encode(bootstrap.token_secret(str(token.absolute()))))
        return bootstrap.ControlPlane(
            host=HOST, xds_port=self._xds_port, report_port=self._reports.port, token_sds=str(secret.absolute())
        )

    def publish(self, program: Program, edge: Edge) -> None:
        """The sidecar is to have this from now on."""
        self._leases.set_limits(limits.of(program.compilation))
        nothing = view(resources((), (), frozenset(), edge), lambda _: None, self._salt)
        known = program.keys
        full = view(program.resources, lambda key: known[key].reveal() if key in known else None, self._salt)
        self._views.publish({ALL: full}, nothing)

    def progress(self, policy_version: str) -> Progress:
        """Whether the sidecar runs it, and what it says."""
        return self._nodes.progress(ALL, policy_version)

    def refused_listener(self) -> str:
        """Envoy's words against the listener, or empty."""
        refusals = (state.kinds[Kind.LISTENER].refusal for state in self._nodes.states())
        return next((refusal.words for refusal in refusals if refusal is not None), "")

    async def spent(self, quota: tuple[QuotaLimit, ...]) -> dict[str, int]:
        """Nano-USD by account in the present windows, over all subjects. Raises `quota.ports.StoreUnavailable`."""
        return {facts.account: facts.spent for facts in await self._leases.budgets(quota, self._wall())}

    async def tidy(self) -> None:
        """Once a minute. Raises `quota.ports.StoreUnavailable`."""
        await self._leases.tidy(self._wall())

    async def _authenticate(self, token: str) -> Identity:
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            raise TokenRefused("this control plane serves the Envoy that it started, and nobody else")
        return ITSELF

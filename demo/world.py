"""Everything that the demo runs on, as a user would have it: control plane, chart, operators, sidecars, providers.

All of it outlives this process and is ended by `demo.down`, which finds the processes by their pid files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import yaml

from demo import books, manifests
from demo.manifests import Manifest
from demo.stand_ins import StandIn
from turnout_operator.kube.ledger import KEY, LABEL
from turnout_operator.quota import shard
from turnout_operator.quota.account import Account
from turnout_testing import waiting
from turnout_testing.controlplane import ControlPlane
from turnout_testing.installation import NAMESPACE, Installation, Sidecar

ROUTES_NAMESPACE, PROVIDERS_NAMESPACE = "support", "llm"
SIDECARS = 2
_PATIENCE = 60
Tell = Callable[[str], None]


class World:
    """`root` holds all of it, logs included."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plane = ControlPlane(root / "plane", tied=False)
        self.installation = Installation(self.plane, root / "installation", operators=2, tied=False)
        self.manifests: tuple[Manifest, ...] = ()
        self.providers: dict[str, StandIn] = {}
        self.sidecars: list[Sidecar] = []

    def bring_up(self, tell: Tell) -> None:
        """Afterwards both sidecars serve the examples. `tell` hears what is being done.

        Raises what its parts raise; everything that was started goes on.
        """
        tell("etcd, kube-apiserver and kube-controller-manager")
        self.plane.start()
        tell("three stand-in providers")
        self._start_providers()
        tell("helm install charts/turnout")
        self.installation.install(secret_namespaces=(PROVIDERS_NAMESPACE,))
        tell("kubectl apply examples/local")
        self.plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(self.manifests))
        tell("two operators")
        self.installation.start_operators()
        tell("two sidecars")
        self._start_sidecars()
        tell("routes to be programmed")
        for route in manifests.of_kind(self.manifests, "LLMRoute"):
            self._await_programmed(route["metadata"]["name"])

    def accounts(self) -> dict[str, Account]:
        """The ledger as it stands in ConfigMaps, by ``<account>/<subject>|<window>``."""
        listed = self.plane.kubectl(
            "get", "configmaps", f"--namespace={NAMESPACE}", f"--selector={LABEL}", "-o", "json"
        )
        found: dict[str, Account] = {}
        for item in json.loads(listed.stdout)["items"]:
            found |= shard.decode(item["data"][KEY].encode()).accounts
        return found

    def spent_today(self, route: str) -> int:
        """Nano-USD as the route's status says; it is written when something else changes, and at least once a minute."""
        status = self.installation.get("llmroute", ROUTES_NAMESPACE, route).get("status") or {}
        return books.nano(status.get("spentToday") or "0")

    def shown_routes(self) -> str:
        """As a person sees them."""
        return self.plane.kubectl("get", "llmroutes", "--all-namespaces").stdout

    def _start_providers(self) -> None:
        examples = manifests.read(manifests.EXAMPLES)
        keys = manifests.keys(examples)
        folder = self.root / "providers"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for pool in manifests.of_kind(examples, "ProviderPool"):
            name = pool["metadata"]["name"]
            secret = (pool["spec"].get("credentials") or {}).get("secretRef", {}).get("name", "")
            provider = self.providers[name] = StandIn(name, folder, keys.get(secret, ""))
            provider.start()
        ports = {name: provider.port for name, provider in self.providers.items()}
        self.manifests = manifests.for_one_minute(manifests.with_ports(examples, ports))

    def _start_sidecars(self) -> None:
        account = ("get", "serviceaccount", "default", f"--namespace={ROUTES_NAMESPACE}")
        waiting.until(
            lambda: self.plane.kubectl(*account, check=False).returncode == 0,
            what=f"the ServiceAccount of namespace {ROUTES_NAMESPACE}",
            within=_PATIENCE,
        )
        self.sidecars = [self.installation.sidecar(ROUTES_NAMESPACE, f"application-{n}") for n in range(SIDECARS)]

    def _await_programmed(self, route: str) -> None:
        def programmed() -> bool:
            found = self.installation.get("llmroute", ROUTES_NAMESPACE, route).get("status") or {}
            conditions = {c["type"]: c["status"] for c in found.get("conditions") or ()}
            sidecars = (found.get("sidecars") or {}).get("programmed", 0)
            return conditions.get("Programmed") == "True" and sidecars == SIDECARS

        try:
            waiting.until(
                programmed, what=f"route {route} to be programmed in both sidecars", within=_PATIENCE, every=0.3
            )
        except waiting.NeverHappenedError as error:
            shown = self.plane.kubectl("get", "llmroute", route, f"--namespace={ROUTES_NAMESPACE}", "-o", "yaml").stdout
            raise waiting.NeverHappenedError(f"{error}\n{shown}") from error

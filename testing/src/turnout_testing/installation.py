"""Turnout installed in a control plane as a user installs it: Helm chart, its RBAC, operators, sidecars with pod tokens.

There is no kubelet, so the chart's pods stay Pending and their processes are started here instead: operators with the
ServiceAccount's own token (exactly the chart's rights), sidecars with a token that is bound to a Pod object.
"""

from __future__ import annotations

import base64
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from turnout_sidecar.envoy import bootstrap
from turnout_testing import waiting
from turnout_testing.controlplane import ControlPlane
from turnout_testing.controlplane.daemons import Daemon
from turnout_testing.controlplane.ports import LOOPBACK, Reservation

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "turnout"
NAMESPACE = "turnout-system"
ACCOUNT = "turnout-operator"
SERVICE = "turnout-control"
_PATIENCE = 60


class NotUpError(AssertionError):
    """A process did not come up; the message holds the end of its log."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago."""
    held = [Reservation() for _ in range(count)]
    numbers = [r.number for r in held]
    for reservation in held:
        reservation.release()
    return numbers


class OperatorReplica:
    """One operator process on ports of its own, which it keeps over restarts."""

    def __init__(self, plane: ControlPlane, folder: Path, name: str, kubeconfig: Path, *, tied: bool) -> None:
        self.name = name
        self._plane = plane
        self._kubeconfig = kubeconfig
        state = folder / f"{name}.ports"
        if not state.exists():
            state.write_text(json.dumps(free_ports(3)))
        self.xds_port, self.report_port, self.health_port = json.loads(state.read_text())
        self.process = Daemon(name, folder, tied=tied)

    def start(self, *extra: str) -> None:
        """Afterwards it watches; whether it leads is another matter."""
        self.process.start(
            [
                sys.executable,
                "-m",
                "turnout_operator",
                "operator",
                f"--namespace={NAMESPACE}",
                f"--identity={self.name}",
                f"--kubeconfig={self._kubeconfig}",
                f"--host={LOOPBACK}",
                f"--xds-port={self.xds_port}",
                f"--report-port={self.report_port}",
                f"--health-host={LOOPBACK}",
                f"--health-port={self.health_port}",
                f"--service={SERVICE}",
                f"--listen={LOOPBACK}:0",
                "--lease-seconds=3",
                "--secret-poll-seconds=0.5",
                *extra,
            ]
        )
        self.await_(lambda: self.probe("/readyz") == 200, "the operator's readiness")

    def probe(self, path: str) -> int:
        """The HTTP status of a health path, 0 where nothing answers."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.health_port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as e:
            return int(e.code)
        except OSError:
            return 0

    def metrics(self) -> str:
        """Prometheus text."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.health_port}/metrics", timeout=5) as answer:
            body: bytes = answer.read()
        return body.decode()

    @property
    def leads(self) -> bool:
        """Whether it says so itself."""
        try:
            return "turnout_leader_election_master_status 1.0" in self.metrics()
        except OSError:
            return False

    def await_(self, fact: Any, what: str) -> None:
        """Waits for a fact of a process that must stay up meanwhile."""

        def asked() -> bool:
            if self.process.pid is None:
                raise NotUpError(f"{self.name} ended while it was waited for {what}:\n{self.process.log_tail()}")
            return bool(fact())

        try:
            waiting.until(asked, what=what, within=_PATIENCE)
        except waiting.NeverHappenedError as e:
            raise NotUpError(f"{e}\n{self.process.log_tail()}") from e


class Sidecar:
    """One Envoy with the engine, identified by a Pod object's token, listening on a loopback port of its own."""

    def __init__(
        self,
        installation: Installation,
        namespace: str,
        name: str,
        *,
        python_path: tuple[str, ...] = (),
        by_road: Callable[[int], int] = lambda port: port,
    ) -> None:
        self._by_road = by_road
        self.namespace = namespace
        self.name = name
        self._installation = installation
        self._python_path = python_path
        self.folder = installation.folder / "sidecars" / f"{namespace}.{name}"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.process = Daemon("envoy", self.folder, tied=installation.tied)
        self._admin = self.folder / "admin"
        self.url = ""

    def start(self) -> None:
        """Afterwards it listens and `url` is its OpenAI base URL."""
        self._installation.pod(self.namespace, self.name)
        self.rotate_token()
        token_sds = self.folder / "token-sds.json"
        token_sds.write_text(json.dumps(bootstrap.token_secret(str(self.folder / "token"))))
        document = self.folder / "bootstrap.json"
        document.write_bytes(bootstrap.encode(self._bootstrap(token_sds)))
        self._admin.unlink(missing_ok=True)
        extra = ["--", "--admin-address-path", str(self._admin), "--drain-time-s", "1"]
        launcher = (
            ["-m", "turnout_sidecar.envoy.launcher"] if not self._python_path else ["-c", _mutant(self._python_path)]
        )
        self.process.start([sys.executable, *launcher, "--bootstrap", str(document), *extra])
        address = self.await_(self._ingress, "the ingress listener")
        self.url = f"http://{address}/v1"

    def rotate_token(self) -> None:
        """Replaces the token file as a projected volume is replaced: by a rename, never half written."""
        fresh = self.folder / "token.new"
        fresh.touch(0o600)
        fresh.write_text(self._installation.pod_token(self.namespace, self.name))
        fresh.rename(self.folder / "token")

    def admin(self, path: str) -> str:
        """An answer of Envoy's admin interface."""
        with urllib.request.urlopen(f"http://{self._admin.read_text().strip()}{path}", timeout=10) as answer:
            body: bytes = answer.read()
        return body.decode()

    def log(self) -> str:
        """Envoy's log, the engine's and the access log in one."""
        return self.process.log.read_text(errors="replace")

    def await_(self, fact: Any, what: str) -> Any:
        """Waits for a fact of a process that must stay up meanwhile."""

        def asked() -> Any:
            if self.process.pid is None:
                raise NotUpError(f"{self.name} ended while it was waited for {what}:\n{self.process.log_tail()}")
            return fact()

        try:
            return waiting.until(asked, what=what, within=_PATIENCE)
        except waiting.NeverHappenedError as e:
            raise NotUpError(f"{e}\n{self.process.log_tail()}") from e

    def _ingress(self) -> str:
        if not self._admin.exists():
            return ""
        try:
            lines = self.admin("/listeners").splitlines()
        except OSError:
            return ""
        return next((line.partition("::")[2] for line in lines if line.startswith("turnout-ingress::")), "")

    def _bootstrap(self, token_sds: Path) -> dict[str, Any]:
        first, *rest = self._installation.replicas
        road = self._by_road
        return bootstrap.bootstrap(
            node=bootstrap.Node(id=f"{self.namespace}.{self.name}", namespace=self.namespace, version="0.1.0"),
            control=bootstrap.ControlPlane(
                host=LOOPBACK,
                xds_port=road(first.xds_port),
                report_port=road(first.report_port),
                standby=tuple(
                    bootstrap.Replica(host=LOOPBACK, xds_port=road(r.xds_port), report_port=road(r.report_port))
                    for r in rest
                ),
                tls=bootstrap.Tls(ca_file=str(self._installation.ca_file()), server_name=f"{SERVICE}.{NAMESPACE}.svc"),
                token_sds=str(token_sds),
            ),
            admin=bootstrap.Admin(),
            epoch_dir=str(self._epochs()),
        )

    def _epochs(self) -> Path:
        folder = self.folder / "epochs"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder


def _mutant(python_path: tuple[str, ...]) -> str:
    """The launcher with folders before the engine's own modules, where a test puts what it breaks on purpose."""
    return (
        "import functools, sys; from turnout_sidecar.envoy import launcher; "
        f"launcher.environment = functools.partial(launcher.environment, python_path={python_path!r}); "
        "sys.exit(launcher.main())"
    )


class Installation:
    """The chart in `plane`, with `operators` replicas. `tied`: the processes die with this one."""

    def __init__(self, plane: ControlPlane, folder: Path, *, operators: int = 2, tied: bool = True) -> None:
        self.plane = plane
        self.folder = folder
        self.tied = tied
        self._count = operators
        self.replicas: list[OperatorReplica] = []
        self.sidecars: list[Sidecar] = []
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def install(self, *, secret_namespaces: tuple[str, ...] = (), **values: str) -> None:
        """Afterwards the CRDs are served and the chart's objects stand."""
        listed = "{" + ",".join(secret_namespaces) + "}"
        for namespace in secret_namespaces:
            self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        sets = [f"--set=secretNamespaces={listed}", *(f"--set={k}={v}" for k, v in values.items())]
        self.plane.helm(
            "upgrade", "--install", "turnout", str(CHART), f"--namespace={NAMESPACE}", "--create-namespace", *sets
        )
        self.plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        kubeconfig = self.plane.service_account_kubeconfig(NAMESPACE, ACCOUNT)
        self.replicas = [
            OperatorReplica(self.plane, self.folder, f"operator-{n}", kubeconfig, tied=self.tied)
            for n in range(self._count)
        ]

    def start_operators(self) -> None:
        """Afterwards one of them leads."""
        for replica in self.replicas:
            replica.start()
        waiting.until(lambda: self.leader, what="an operator to lead", within=_PATIENCE)

    @property
    def leader(self) -> OperatorReplica | None:
        """The replica that says it leads."""
        return next((r for r in self.replicas if r.leads), None)

    def sidecar(
        self,
        namespace: str,
        name: str,
        *,
        python_path: tuple[str, ...] = (),
        by_road: Callable[[int], int] = lambda port: port,
    ) -> Sidecar:
        """A started sidecar of that namespace. `by_road`: which port it takes to reach a port of an operator."""
        made = Sidecar(self, namespace, name, python_path=python_path, by_road=by_road)
        made.start()
        self.sidecars.append(made)
        return made

    def story(self) -> str:
        """What a failed wait wants to know: status of all routes and pools, and the end of every log."""
        objects = self.plane.kubectl("get", "llmroutes,providerpools", "-A", "-o", "yaml", check=False).stdout
        logs = [f"--- {d.name} {d.pid}\n{d.log_tail()}" for d in (*self._daemons(),)]
        return "\n".join([objects, *logs])

    def _daemons(self) -> list[Daemon]:
        return [*(r.process for r in self.replicas), *(s.process for s in self.sidecars)]

    def stop(self) -> None:
        """Ends what was started here."""
        for sidecar in self.sidecars:
            sidecar.process.terminate(10)
        for replica in self.replicas:
            replica.process.terminate(10)

    def apply(self, *manifests: dict[str, Any]) -> None:
        """As `kubectl apply -f`."""
        self.plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(manifests))

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        """As `kubectl get -o json`; empty where there is none."""
        done = self.plane.kubectl("get", kind, name, f"--namespace={namespace}", "-o", "json", check=False)
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return found

    def condition(self, kind: str, namespace: str, name: str, condition: str) -> dict[str, Any]:
        """One condition of an object, empty where it has none."""
        conditions = (self.get(kind, namespace, name).get("status") or {}).get("conditions") or ()
        return next((c for c in conditions if c["type"] == condition), {})

    def pod(self, namespace: str, name: str) -> None:
        """A Pod object that stays Pending; a sidecar's token is bound to it."""
        container = {"name": "application", "image": "none"}
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"containers": [container]},
            }
        )

    def pod_token(self, namespace: str, name: str) -> str:
        """A token as the kubelet projects it into that pod, for our audience."""
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={name}")
        return self.plane.kubectl(
            "create", "token", "default", f"--namespace={namespace}", "--audience=turnout", *bound
        ).stdout.strip()

    def ca_file(self) -> Path:
        """The CA that the operator publishes, in a file."""
        path = self.folder / "ca.crt"
        document = waiting.until(
            lambda: self.get("configmap", NAMESPACE, "turnout-ca"), what="the operator's CA", within=_PATIENCE
        )
        path.write_text(document["data"]["ca.crt"])
        return path


def secret(namespace: str, name: str, **keys: str) -> dict[str, Any]:
    """A Secret manifest."""
    data = {k: base64.b64encode(v.encode()).decode() for k, v in keys.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}

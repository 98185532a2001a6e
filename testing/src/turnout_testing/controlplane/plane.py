"""A real control plane in a folder: etcd, kube-apiserver and kube-controller-manager on free loopback ports.

There are no nodes: Deployments make ReplicaSets and Pods, and the pods stay Pending. Everything before the kubelet is real.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import re
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from turnout_testing import binaries, waiting
from turnout_testing.controlplane import certificates, components, kubeconfigs
from turnout_testing.controlplane.daemons import Daemon
from turnout_testing.controlplane.ports import Reservation

if TYPE_CHECKING:
    import kubernetes.client

# Patience for a loaded two-core machine; an idle one needs about a tenth.
_READY_SECONDS = 90
_STOP_SECONDS = 5
TOKEN_AUDIENCE = "turnout"


class ControlPlaneError(RuntimeError):
    """The control plane did not come up; the message names the component and holds the end of its log."""


class ClientError(RuntimeError):
    """kubectl or helm exited non-zero; the message holds the command and what it printed on stderr."""


class ControlPlane:
    """A control plane in `directory` (a temporary one where None, removed at the end).

    Usable as a context manager or by `start` and `stop`; a directory used before comes back with its data, ports and
    certificates. `tied`: the processes die with this one, however it dies; else they go on until `stop`, also from
    another ControlPlane on the same directory.
    """

    def __init__(self, directory: Path | None = None, *, tied: bool = True) -> None:
        self._temporary = directory is None
        root = Path(tempfile.mkdtemp(prefix="turnout-bed-")) if directory is None else directory.absolute()
        self._layout = components.Layout(root=root)
        self._reservations: list[Reservation] = []
        self._ports: components.Ports | None = None
        self.etcd = Daemon("etcd", self._layout.run, tied=tied)
        self.apiserver = Daemon("kube-apiserver", self._layout.run, tied=tied)
        self.controller_manager = Daemon("kube-controller-manager", self._layout.run, tied=tied)

    @property
    def directory(self) -> Path:
        """Return the bed's folder; logs are in `run/`."""
        return self._layout.root

    @property
    def exists(self) -> bool:
        """Return whether a control plane was ever started in the directory."""
        return self._layout.state.exists()

    @property
    def url(self) -> str:
        """Return the apiserver's https URL."""
        return components.apiserver_url(self.ports)

    @property
    def ca(self) -> bytes:
        """Return the CA that signed the apiserver's certificate, PEM."""
        return (self._layout.pki / "ca.crt").read_bytes()

    @property
    def admin_kubeconfig(self) -> Path:
        """Return the kubeconfig of a member of system:masters."""
        return self._layout.admin_kubeconfig

    @property
    def ports(self) -> components.Ports:
        """Return the bed's ports; known from `start` on, or where the directory was started before."""
        if self._ports is None:
            self._ports = components.Ports(**json.loads(self._layout.state.read_text()))
        return self._ports

    @property
    def daemons(self) -> tuple[Daemon, ...]:
        """Return the three processes in the order in which they start."""
        return (self.etcd, self.apiserver, self.controller_manager)

    # Life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start what does not run; true afterwards: apiserver and controllers are ready and ServiceAccounts appear.

        Raises binaries.BinariesMissingError, ports.PortTakenError, ControlPlaneError.
        """
        binaries.require()
        try:
            self._prepare()
            self.start_etcd()
            self.start_apiserver()
            self.start_controller_manager()
            # Not readiness of a server but of the system: the controllers have seen a namespace and acted on it.
            self._await(self.controller_manager, self._has_default_service_account, "the default ServiceAccount")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop every process; true afterwards: none runs, ports are free, and a temporary directory is gone."""
        for daemon in reversed(self.daemons):
            daemon.terminate(within=_STOP_SECONDS)
        for reservation in self._reservations:
            reservation.release()
        self._reservations.clear()
        if self._temporary:
            shutil.rmtree(self._layout.root, ignore_errors=True)

    def start_etcd(self) -> None:
        """Start etcd unless it runs; true afterwards: it answers."""
        self.etcd.start(components.etcd(binaries.bin_dir() / "etcd", self._layout, self.ports))
        probe = self._probe(components.etcd_url(self.ports) + "/health", "etcd-ca", "etcd-client")
        self._await(self.etcd, probe, "etcd's health")

    def start_apiserver(self) -> None:
        """Start the apiserver unless it runs, on the same port and data as before; true afterwards: it is ready."""
        self.apiserver.start(components.apiserver(binaries.bin_dir() / "kube-apiserver", self._layout, self.ports))
        self._await(self.apiserver, self._probe(self.url + "/readyz", "ca", "admin"), "the apiserver's readiness")

    def start_controller_manager(self) -> None:
        """Start the controller-manager unless it runs; true afterwards: it is healthy."""
        binary = binaries.bin_dir() / "kube-controller-manager"
        self.controller_manager.start(components.controller_manager(binary, self._layout, self.ports))
        probe = self._probe(components.controller_manager_url(self.ports) + "/healthz", "ca", "admin")
        self._await(self.controller_manager, probe, "the controller-manager's health")

    def restart_controller_manager(self) -> None:
        """Kill and start the controller-manager; true afterwards: it is healthy and knows every kind there is.

        Call it after adding CRDs whose objects own others: by itself the garbage collector looks for new kinds every
        30 seconds, and the first collection below a new kind was measured to take 41 s.
        """
        self.controller_manager.kill()
        self.start_controller_manager()

    # Outages

    @contextlib.contextmanager
    def apiserver_down(self) -> Iterator[None]:
        """Kill the apiserver with SIGKILL for the length of the block: connections are refused."""
        self.apiserver.kill()
        try:
            yield
        finally:
            self.start_apiserver()

    @contextlib.contextmanager
    def apiserver_frozen(self) -> Iterator[None]:
        """Stop the apiserver for the length of the block: connections stay open and nothing answers."""
        self.apiserver.freeze()
        try:
            yield
        finally:
            self.apiserver.thaw()

    # Identities

    def kubeconfig(self, user: str, groups: tuple[str, ...] = ()) -> Path:
        """Return a kubeconfig whose client certificate makes its bearer `user` in `groups`."""
        path = self._layout.kubeconfigs / f"{_file_name(user, *groups)}.yaml"
        self._write_client_kubeconfig(path, user, groups)
        return path

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """Return a kubeconfig that reads a fresh token of this ServiceAccount for the apiserver from a file, as a pod does."""
        token_file = self._layout.tokens / _file_name(namespace, name)
        certificates.write_private(token_file, self.service_account_token(namespace, name, audience=None).encode())
        path = self._layout.kubeconfigs / f"serviceaccount-{_file_name(namespace, name)}.yaml"
        kubeconfigs.write_for_token_file(path, server=self.url, ca=self.ca, token_file=token_file)
        return path

    def service_account_token(
        self, namespace: str, name: str, *, audience: str | None = TOKEN_AUDIENCE, seconds: int = 3600
    ) -> str:
        """Return a token by TokenRequest; `audience` None means the apiserver itself; `seconds` is 600 or more."""
        spec: dict[str, Any] = {"expirationSeconds": seconds, "audiences": [audience] if audience else []}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = self._admin.post(path, json={"spec": spec})
        if answer.is_error:
            raise ControlPlaneError(f"TokenRequest for {namespace}/{name}: {answer.json()['message']}")
        token: str = answer.json()["status"]["token"]
        return token

    # Clients

    def kubectl(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 -- the word of subprocess.run
        kubeconfig: Path | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as admin, or with `kubeconfig`; `check` False returns also where it exits non-zero.

        Raises ClientError.
        """
        return self._run("kubectl", args, input or "", kubeconfig, check)

    def helm(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 -- the word of subprocess.run
        kubeconfig: Path | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run helm as admin, or with `kubeconfig`; as `kubectl`."""
        return self._run("helm", args, input or "", kubeconfig, check)

    def api_client(self, kubeconfig: Path | None = None) -> kubernetes.client.ApiClient:
        """Return a client of the official Python library, as admin or with `kubeconfig`; close it after use."""
        import kubernetes.client  # a second of start-up that only its users should pay
        import kubernetes.config

        configuration = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(  # type: ignore[no-untyped-call]  # the library has no types
            str(kubeconfig or self.admin_kubeconfig), client_configuration=configuration, persist_config=False
        )
        configuration.proxy = None  # the machine's HTTPS_PROXY leads away from loopback
        return kubernetes.client.ApiClient(configuration)

    def client_environment(self, kubeconfig: Path | None = None) -> dict[str, str]:
        """Return the environment in which kubectl and helm find this bed and nothing of the user's."""
        cache = self._layout.client_cache
        return {
            **os.environ,
            "PATH": f"{binaries.bin_dir()}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "KUBECONFIG": str(kubeconfig or self.admin_kubeconfig),
            "KUBECACHEDIR": str(cache / "kubectl"),
            "HELM_CACHE_HOME": str(cache / "helm" / "cache"),
            "HELM_CONFIG_HOME": str(cache / "helm" / "config"),
            "HELM_DATA_HOME": str(cache / "helm" / "data"),
        }

    # Inside

    def _run(
        self, program: str, args: tuple[str, ...], stdin: str, kubeconfig: Path | None, check: bool
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [binaries.bin_dir() / program, *args],
            env=self.client_environment(kubeconfig),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise ClientError(f"{program} {' '.join(args)}: exit status {done.returncode}\n{done.stderr}")
        return done

    def _prepare(self) -> None:
        for folder in self._layout.folders():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._reserve_ports()
        self._write_certificates()

    def _reserve_ports(self) -> None:
        known: Mapping[str, int] = {}
        if self._layout.state.exists():
            known = dataclasses.asdict(self.ports)
        held = {}
        for field in dataclasses.fields(components.Ports):
            held[field.name] = Reservation(known.get(field.name, 0))
            self._reservations.append(held[field.name])
        self._ports = components.Ports(**{name: reservation.number for name, reservation in held.items()})
        self._layout.state.write_text(json.dumps(dataclasses.asdict(self._ports)))

    def _write_certificates(self) -> None:
        pki = self._layout.pki
        if self._layout.controller_manager_kubeconfig.exists():
            return
        certificates.write_signing_key(pki / "service-accounts.key")
        # Three authorities: with one, every user's certificate would open etcd past all RBAC, or speak for other users.
        etcd_ca = certificates.Authority.at(pki, "etcd-ca")
        etcd_ca.issue_server(("localhost", "127.0.0.1")).write(pki, "etcd")
        etcd_ca.issue_client("kube-apiserver", ()).write(pki, "etcd-client")
        ca = certificates.Authority.at(pki, "ca")
        ca.issue_server(components.APISERVER_HOSTS).write(pki, "apiserver")
        ca.issue_server(("localhost", "127.0.0.1")).write(pki, "controller-manager")
        ca.issue_client("turnout-admin", ("system:masters",)).write(pki, "admin")
        front_proxy_ca = certificates.Authority.at(pki, "front-proxy-ca")
        front_proxy_ca.issue_client(components.FRONT_PROXY, ()).write(pki, "front-proxy")
        self._write_client_kubeconfig(self.admin_kubeconfig, "turnout-admin", ("system:masters",))
        self._write_client_kubeconfig(self._layout.controller_manager_kubeconfig, "system:kube-controller-manager", ())

    def _write_client_kubeconfig(self, path: Path, user: str, groups: tuple[str, ...]) -> None:
        credential = certificates.Authority.at(self._layout.pki, "ca").issue_client(user, groups)
        kubeconfigs.write_for_certificate(path, server=self.url, ca=self.ca, credential=credential)

    @functools.cached_property
    def _admin(self) -> httpx.Client:
        # No kept connections: after an outage the first request would meet a dead one.
        limits = httpx.Limits(max_keepalive_connections=0)
        tls = self._tls("ca", "admin")
        return httpx.Client(base_url=self.url, verify=tls, trust_env=False, timeout=30, limits=limits)

    def _tls(self, ca: str, client: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._layout.pki / f"{ca}.crt")
        context.load_cert_chain(self._layout.pki / f"{client}.crt", self._layout.pki / f"{client}.key")
        return context

    def _probe(self, url: str, ca: str, client: str) -> _Probe:
        return _Probe(url, self._tls(ca, client))

    def _has_default_service_account(self) -> bool:
        answer = self._admin.get("/api/v1/namespaces/default/serviceaccounts/default")
        return answer.status_code == httpx.codes.OK

    def _await(self, daemon: Daemon, fact: Callable[[], bool], what: str) -> None:
        def fact_or_death() -> bool:
            if daemon.pid is None:
                raise ControlPlaneError(f"{daemon.name} ended while {what} was awaited:\n{daemon.log_tail()}")
            return fact()

        try:
            waiting.until(fact_or_death, what=what, within=_READY_SECONDS)
        except waiting.NeverHappenedError as error:
            raise ControlPlaneError(f"{error}\n{daemon.name} says:\n{daemon.log_tail()}") from error


class _Probe:
    """Asks one URL; true where it answers 200, false where nobody answers yet."""

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        self._url = url
        self._tls = tls

    def __call__(self) -> bool:
        try:
            return httpx.get(self._url, verify=self._tls, trust_env=False, timeout=5).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


def _file_name(*parts: str) -> str:
    """Return a file name that a person recognises and that differs wherever the parts differ."""
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9]+", "-", parts[0] if len(parts) == 1 else f"{parts[0]}-{parts[1]}") + f"-{digest}"

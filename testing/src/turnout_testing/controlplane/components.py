"""The command lines of etcd, kube-apiserver and kube-controller-manager: pure functions of folders and ports.

As a production cluster runs them as far as one loopback machine allows: mutual TLS everywhere, RBAC, ServiceAccount
tokens. What differs, and why:
- etcd does not fsync: tests kill processes, never the machine, and fsync is most of a write's time;
- `--permit-port-sharing` and its like: `ports` holds each number with a socket of its own;
- no endpoint reconciler: the `kubernetes` Service cannot point at a loopback address, and every attempt logs an error;
- the HPA loop runs every second, and the clients of the controller-manager are not throttled, so that tests are quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from turnout_testing.controlplane.ports import LOOPBACK

SERVICE_CIDR = "10.96.0.0/16"
# The names under which pods reach an apiserver, and the address of the `kubernetes` Service.
APISERVER_HOSTS = (
    LOOPBACK,
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "10.96.0.1",
)
FRONT_PROXY = "front-proxy-client"
ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where things lie in a bed's folder."""

    root: Path

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def run(self) -> Path:
        """Hold logs and pid files."""
        return self.root / "run"

    @property
    def etcd_data(self) -> Path:
        return self.root / "etcd"

    @property
    def kubeconfigs(self) -> Path:
        return self.root / "kubeconfigs"

    @property
    def tokens(self) -> Path:
        return self.root / "tokens"

    @property
    def client_cache(self) -> Path:
        """Hold what kubectl and helm cache: a port may be another cluster tomorrow, so nothing goes to the home folder."""
        return self.root / "client-cache"

    @property
    def state(self) -> Path:
        """Name the file that says which ports the bed has; its presence says that this folder is a bed."""
        return self.root / "bed.json"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.kubeconfigs / "admin.yaml"

    @property
    def controller_manager_kubeconfig(self) -> Path:
        return self.kubeconfigs / "kube-controller-manager.yaml"

    def folders(self) -> tuple[Path, ...]:
        """Return every folder that must exist before anything starts."""
        return (self.root, self.pki, self.run, self.kubeconfigs, self.tokens, self.client_cache)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The loopback ports of one bed."""

    etcd: int
    apiserver: int
    controller_manager: int


def etcd_url(ports: Ports) -> str:
    return f"https://{LOOPBACK}:{ports.etcd}"


def apiserver_url(ports: Ports) -> str:
    return f"https://{LOOPBACK}:{ports.apiserver}"


def controller_manager_url(ports: Ports) -> str:
    return f"https://{LOOPBACK}:{ports.controller_manager}"


def etcd(binary: Path, layout: Layout, ports: Ports) -> list[str]:
    pki = layout.pki
    return [
        str(binary),
        "--name=bed",
        f"--data-dir={layout.etcd_data}",
        f"--listen-client-urls={etcd_url(ports)}",
        f"--advertise-client-urls={etcd_url(ports)}",
        f"--listen-peer-urls=http://{LOOPBACK}:0",  # one member has no peers; any free port will do
        "--socket-reuse-port=true",
        "--unsafe-no-fsync=true",
        f"--cert-file={pki / 'etcd.crt'}",
        f"--key-file={pki / 'etcd.key'}",
        f"--trusted-ca-file={pki / 'etcd-ca.crt'}",
        "--client-cert-auth=true",
        "--log-level=warn",
    ]


def apiserver(binary: Path, layout: Layout, ports: Ports) -> list[str]:
    pki = layout.pki
    return [
        str(binary),
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        f"--secure-port={ports.apiserver}",
        "--permit-port-sharing=true",
        "--endpoint-reconciler-type=none",
        f"--etcd-servers={etcd_url(ports)}",
        f"--etcd-cafile={pki / 'etcd-ca.crt'}",
        f"--etcd-certfile={pki / 'etcd-client.crt'}",
        f"--etcd-keyfile={pki / 'etcd-client.key'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        # The aggregation layer, so that a test may serve a metrics API; it is also where the controller-manager learns
        # whom to trust.
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        f"--requestheader-allowed-names={FRONT_PROXY}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy.key'}",
        "--authorization-mode=Node,RBAC",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={pki / 'service-accounts.key'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        "--allow-privileged=true",
    ]


def controller_manager(binary: Path, layout: Layout, ports: Ports) -> list[str]:
    pki, kubeconfig = layout.pki, layout.controller_manager_kubeconfig
    return [
        str(binary),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={ports.controller_manager}",
        "--permit-port-sharing=true",
        f"--tls-cert-file={pki / 'controller-manager.crt'}",
        f"--tls-private-key-file={pki / 'controller-manager.key'}",
        f"--service-account-private-key-file={pki / 'service-accounts.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--horizontal-pod-autoscaler-sync-period=1s",
    ]

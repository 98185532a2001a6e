"""What a person may set for the operator process: flags of `turnout operator`, values of the chart."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    namespace: str
    """Where the operator's own objects live: the Lease, the ledger, the EndpointSlice."""
    identity: str
    """This replica's name: the pod's."""
    kubeconfig: Path | None = None
    host: str = "0.0.0.0"  # noqa: S104 - a Service reaches it; TLS and tokens guard it
    xds_port: int = 18000
    report_port: int = 18001
    health_host: str = "0.0.0.0"  # noqa: S104 - the kubelet probes it
    health_port: int = 8081
    advertise: str = ""
    """The address that sidecars reach this replica at; empty: no EndpointSlice is written."""
    service: str = "turnout-control"
    listen_address: str = "127.0.0.1"
    """Where sidecars listen for applications; only the pod itself reaches its loopback."""
    listen_port: int = 15001
    resync_seconds: float = 300.0
    secret_poll_seconds: float = 5.0
    lease_seconds: float = 15.0
    """Of leadership; renewed at 2/15 of it, given up at 2/3."""

"""Where the leader is: an EndpointSlice of the selector-less Service, written by whoever leads."""

from turnout_operator.kube.client import Client
from turnout_operator.kube.resources import ENDPOINT_SLICES


def publish(client: Client, *, namespace: str, service: str, address: str, xds_port: int, report_port: int) -> None:
    """Afterwards the Service leads to `address`, and to nobody else."""
    client.apply(
        ENDPOINT_SLICES,
        {
            "apiVersion": ENDPOINT_SLICES.api_version,
            "kind": ENDPOINT_SLICES.kind,
            "metadata": {
                "name": f"{service}-leader",
                "namespace": namespace,
                "labels": {
                    "kubernetes.io/service-name": service,
                    "endpointslice.kubernetes.io/managed-by": "turnout-operator",
                },
            },
            "addressType": "IPv6" if ":" in address else "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [
                {"name": "xds", "port": xds_port, "protocol": "TCP"},
                {"name": "report", "port": report_port, "protocol": "TCP"},
            ],
        },
    )

"""`turnout operator`: runs the Kubernetes operator. The chart calls it; a person may too, with a kubeconfig."""

import asyncio
import logging
import socket
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer


def operator(
    namespace: Annotated[
        str, typer.Option(help="Where the ledger, the Lease and the accepted generations live.")
    ] = "turnout-system",
    identity: Annotated[str, typer.Option(help="This replica's name; default: the host's.")] = "",
    kubeconfig: Annotated[Path | None, typer.Option(help="Default: the pod's own ServiceAccount.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on for sidecars.")] = "0.0.0.0",  # noqa: S104 - a Service reaches it
    xds_port: Annotated[int, typer.Option(help="Port of discovery (gRPC, TLS).")] = 18000,
    report_port: Annotated[int, typer.Option(help="Port of reports and leases (HTTPS).")] = 18001,
    health_host: Annotated[str, typer.Option(help="Address of /livez, /readyz and /metrics.")] = "0.0.0.0",  # noqa: S104 - the kubelet probes it
    health_port: Annotated[int, typer.Option(help="Port of /livez, /readyz and /metrics.")] = 8081,
    advertise: Annotated[
        str, typer.Option(help="Address that sidecars reach this replica at; written to the EndpointSlice.")
    ] = "",
    service: Annotated[str, typer.Option(help="Name of the Service that sidecars use.")] = "turnout-control",
    listen: Annotated[
        str, typer.Option(help="Where sidecars listen for applications; port 0 takes any free one.")
    ] = "127.0.0.1:15001",
    lease_seconds: Annotated[float, typer.Option(help="Length of the leader's lease.")] = 15.0,
    resync_seconds: Annotated[float, typer.Option(help="How often everything is listed anew.")] = 300.0,
    secret_poll_seconds: Annotated[float, typer.Option(help="How often provider keys are looked at.")] = 5.0,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Watch routes and pools, program sidecars, keep budgets, rehearse fallbacks. Logs are JSON lines on stderr.

    Two replicas share the work by a Lease: one leads, the other stands by. The process never needs to be an admin:
    its rights are those of the chart's ClusterRole and Roles.
    """
    from turnout_operator.handlers.process import OperatorProcess
    from turnout_operator.settings import OperatorSettings

    _log_to_stderr(log_level)
    address, _, port = listen.rpartition(":")
    if not address or not port.isdigit():
        raise typer.BadParameter(f"{listen!r} is not HOST:PORT", param_hint="--listen")
    settings = OperatorSettings(
        namespace=namespace,
        identity=identity or socket.gethostname(),
        kubeconfig=kubeconfig,
        host=host,
        xds_port=xds_port,
        report_port=report_port,
        health_host=health_host,
        health_port=health_port,
        advertise=advertise,
        service=service,
        listen_address=address,
        listen_port=int(port),
        lease_seconds=lease_seconds,
        resync_seconds=resync_seconds,
        secret_poll_seconds=secret_poll_seconds,
    )
    sys.exit(asyncio.run(OperatorProcess(settings).run()))


def _log_to_stderr(level: str) -> None:
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise typer.BadParameter(f"{level!r} is none of debug, info, warning, error", param_hint="--log-level")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # kopf and the client library log each request at info: only what goes wrong is ours to tell.
    logging.basicConfig(
        level=max(number, logging.WARNING), stream=sys.stderr, format='{"library":"%(name)s","event":"%(message)s"}'
    )

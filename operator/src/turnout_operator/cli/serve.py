"""`turnout serve`: the data plane from a folder of manifests."""

from __future__ import annotations

import asyncio
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import structlog
import typer

from turnout_operator.render.envoy.listener import TRUSTED_CA
from turnout_operator.serve import keys, news, serving
from turnout_operator.serve.lines import Lines
from turnout_operator.serve.program import ALL
from turnout_operator.serve.state import StateRefused


class Output(StrEnum):
    """How news is printed."""

    TABLE = "table"
    JSON = "json"


def serve(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", exists=True, file_okay=False, help="Folder of manifests; read again when it changes."
        ),
    ],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to serve; port 0 takes a free one.")
    ] = "127.0.0.1:8080",
    state: Annotated[Path, typer.Option(help="Folder of the ledger and the last good manifests.")] = Path(".turnout"),
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMESPACE/NAME/KEY=env:VAR|file:PATH",
            help="A provider key from the environment or a file, instead of a Secret manifest. Repeat it.",
        ),
    ] = None,
    namespace: Annotated[str, typer.Option(help="Serve the routes of this namespace only.")] = ALL,
    access_log: Annotated[str, typer.Option(metavar="FILE|-", help="Where Envoy writes its access log.")] = "-",
    admin: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="Envoy's admin interface (metrics) on loopback; else it is closed."),
    ] = None,
    trusted_ca: Annotated[
        Path, typer.Option(help="Certificate authorities that providers are verified against (PEM).")
    ] = Path(TRUSTED_CA),
    log_level: Annotated[str, typer.Option(help="Of Envoy's own log, on standard error.")] = "warning",
    ready_fd: Annotated[
        int | None, typer.Option(help="File descriptor that gets HOST:PORT once requests are served.")
    ] = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print what happens.")] = Output.TABLE,
) -> None:
    """Run the data plane from a folder of manifests, with hot reload and a ledger that survives a restart.

    An edit that is refused keeps the last good generation in service and is named with file, line and field. News goes to standard error,
    or as lines of JSON to standard output with -o json; the access log goes to standard output. SIGTERM ends it: requests under way are
    finished, budgets settled.
    """
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    host, port = _listen(listen)
    settings = serving.Settings(
        folder=directory,
        host=host,
        port=port,
        state=state,
        namespace=namespace,
        keys=_keys(secret or []),
        access_log="" if access_log == "-" else str(Path(access_log).absolute()),
        admin_port=admin,
        trusted_ca=str(trusted_ca.absolute()),
        log_level=log_level,
        ready_fd=ready_fd,
    )
    lines = Lines(sys.stdout.buffer) if output is Output.JSON else None
    tell = news.for_people() if lines is None else news.as_json(lines)
    try:
        asyncio.run(serving.serve(settings, dict(os.environ), tell, lines))
    except (serving.ServeRefused, StateRefused) as refusal:
        typer.echo(f"turnout serve: {refusal}", err=True)
        raise typer.Exit(1) from None


def _listen(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise typer.BadParameter(f"{text!r}: write HOST:PORT, for example 127.0.0.1:8080", param_hint="--listen")
    return host.strip("[]"), int(port)


def _keys(options: list[str]) -> tuple[keys.KeyOption, ...]:
    try:
        return tuple(keys.parse(option) for option in options)
    except keys.KeyRefused as refusal:
        raise typer.BadParameter(str(refusal), param_hint="--secret") from None

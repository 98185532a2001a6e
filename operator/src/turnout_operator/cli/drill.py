"""`turnout drill …`, also as `kubectl turnout drill …`: start, list, show and abort rehearsals.

Exit status, for CI: 0 the drill passed, 1 it failed, 2 it proved nothing (Inconclusive, Skipped, Aborted, Error) or could not be run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated, Any

import typer

from turnout_operator.api.enums import DrillFault, Verdict
from turnout_operator.api.fallbackdrill_status import DrillPhase
from turnout_operator.drills.view import instant
from turnout_operator.kube.client import ApiError, Client, Unreachable, connect
from turnout_operator.kube.resources import FALLBACK_DRILLS

Object = dict[str, Any]

PASSED, FAILED, PROVED_NOTHING = 0, 1, 2
_POLL = 0.5

app = typer.Typer(
    help="Rehearse a route's degradation: start a drill, watch it, read what it proved.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


Kubeconfig = Annotated[
    Path | None,
    typer.Option(help="Default: $KUBECONFIG, else ~/.kube/config.", envvar="KUBECONFIG", show_default=False),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Of the route.")]
Printed = Annotated[Output, typer.Option("--output", "-o", help="table or json.")]


@app.command()
def run(
    route: Annotated[str, typer.Argument(help="The LLMRoute to rehearse.")],
    fault: Annotated[DrillFault, typer.Option(help="What goes wrong.")] = DrillFault.UNAVAILABLE,
    namespace: Namespace = "default",
    candidate: Annotated[
        list[str] | None, typer.Option(help="Who meets the fault; repeat it. Default: the first choice.")
    ] = None,
    duration: Annotated[str, typer.Option(help="The longest the fault may stand, at most 15m.")] = "30s",
    probes: Annotated[int, typer.Option(help="Requests that meet the fault; as many do not.")] = 10,
    interval: Annotated[str, typer.Option(help="From one to the next.")] = "500ms",
    max_cost: Annotated[str, typer.Option(help="US dollars that the probes may cost; default: the route's.")] = "",
    reason: Annotated[str, typer.Option(help="Why, for those who read the report.")] = "turnout drill run",
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay until there is a verdict; the exit status tells it.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 1200.0,
    output: Printed = Output.TABLE,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Create a FallbackDrill. Only the sidecars' own probes meet the fault; no request of an application does."""
    client = _client(kubeconfig)
    spec: Object = {
        "routeRef": {"name": route},
        "faults": [{"type": fault.value, "candidates": [{"name": c} for c in candidate or ()]}],
        "duration": duration,
        "probes": {"count": probes, "interval": interval, "minSamples": min(5, probes)},
        "reason": reason,
    }
    if not candidate:
        del spec["faults"][0]["candidates"]
    if max_cost:
        spec["probes"]["maxCost"] = max_cost
    body = {
        "apiVersion": FALLBACK_DRILLS.api_version,
        "kind": FALLBACK_DRILLS.kind,
        "metadata": {"generateName": f"{route[:40]}-{fault.lower()}-", "namespace": namespace},
        "spec": spec,
    }
    created = _asked(lambda: client.create(FALLBACK_DRILLS, namespace, body))
    name = str(created["metadata"]["name"])
    if not wait:
        typer.echo(json.dumps(created) if output is Output.JSON else f"fallbackdrill {namespace}/{name} created")
        return
    typer.echo(f"fallbackdrill {namespace}/{name} created", err=True)
    _follow(client, namespace, name, timeout, output)


@app.command("list")
def list_(
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Default: all of them.")] = "",
    route: Annotated[str, typer.Option(help="Only this route's.")] = "",
    output: Printed = Output.TABLE,
    kubeconfig: Kubeconfig = None,
) -> None:
    """List drills, newest first."""
    client = _client(kubeconfig)
    found = _asked(lambda: list(client.every(FALLBACK_DRILLS, namespace or None)))
    drills = sorted(
        (d for d in found if not route or d["spec"]["routeRef"]["name"] == route),
        key=lambda d: (d["metadata"]["creationTimestamp"], d["metadata"]["name"]),
        reverse=True,
    )
    if output is Output.JSON:
        typer.echo(json.dumps(drills))
        return
    head = ("NAMESPACE", "NAME", "ROUTE", "FAULT", "PHASE", "VERDICT", "RECOVERED IN", "COST", "AGE")
    typer.echo(_table(head, (_row(d) for d in drills)))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The FallbackDrill.")],
    namespace: Namespace = "default",
    wait: Annotated[bool, typer.Option("--wait", help="Stay until there is a verdict.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 1200.0,
    output: Printed = Output.TABLE,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what a drill expected and what it saw. The exit status is the verdict's, 2 while there is none."""
    client = _client(kubeconfig)
    if wait:
        _follow(client, namespace, name, timeout, output)
    drill = _asked(lambda: client.get(FALLBACK_DRILLS, namespace, name))
    _print(drill, output)
    raise typer.Exit(_code(drill))


@app.command()
def abort(
    name: Annotated[str, typer.Argument(help="The FallbackDrill.")],
    namespace: Namespace = "default",
    kubeconfig: Kubeconfig = None,
) -> None:
    """End a drill early: its fault is reverted at once."""
    client = _client(kubeconfig)
    _asked(lambda: client.merge(FALLBACK_DRILLS, namespace, name, {"spec": {"abort": True}}))
    typer.echo(f"fallbackdrill {namespace}/{name} is being aborted")


def _follow(client: Client, namespace: str, name: str, timeout: float, output: Output) -> None:
    """Tells each phase on stderr, prints the end, exits with its status."""
    last, deadline = "", monotonic() + timeout
    while True:
        drill = _asked(lambda: client.get(FALLBACK_DRILLS, namespace, name))
        status = drill.get("status") or {}
        words = f"{status.get('phase') or DrillPhase.PENDING}: {_message(status)}"
        if words != last:
            typer.echo(words, err=True)
            last = words
        if status.get("phase") == DrillPhase.DONE:
            _print(drill, output)
            raise typer.Exit(_code(drill))
        if monotonic() >= deadline:
            typer.echo(f"no verdict within {timeout:.0f} s; the drill goes on and ends by itself", err=True)
            raise typer.Exit(PROVED_NOTHING)
        sleep(_POLL)


def _code(drill: Object) -> int:
    verdict = (drill.get("status") or {}).get("verdict")
    return {Verdict.PASSED.value: PASSED, Verdict.FAILED.value: FAILED}.get(str(verdict), PROVED_NOTHING)


def _print(drill: Object, output: Output) -> None:
    typer.echo(json.dumps(drill) if output is Output.JSON else _described(drill))


def _described(drill: Object) -> str:
    """A page for a terminal."""
    status = drill.get("status") or {}
    metadata = drill["metadata"]
    path = (status.get("paths") or [{}])[0]
    facts = [
        ("Drill", f"{metadata['namespace']}/{metadata['name']}"),
        ("Route", drill["spec"]["routeRef"]["name"]),
        ("Fault", ", ".join(f["type"] for f in drill["spec"]["faults"])),
        ("Phase", status.get("phase") or "Pending"),
        ("Verdict", status.get("verdict") or "none yet"),
        ("Why", _message(status)),
        ("First difference", status.get("failStep") or ""),
        ("Declared", " -> ".join(path.get("expected") or ())),
        ("Observed", " -> ".join(path.get("observed") or ())),
        ("Detected in", status.get("timeToDetect") or ""),
        ("Recovered in", status.get("timeToRecover") or ""),
        ("Aborted in", status.get("abortLatency") or ""),
        ("Cost", f"{status['cost']} USD" if status.get("cost") else ""),
        ("Report", f"ConfigMap {status['reportRef']['name']} beside the operator" if status.get("reportRef") else ""),
    ]
    lines = [f"{name + ':':<18}{value}" for name, value in facts if value]
    samples = status.get("samples") or []
    if samples:
        head = ("SIDECAR", "FAULT", "OBSERVED", "STATUS", "TOOK", "COST", "")
        lines += ["", _table(head, (_sample(s) for s in samples))]
    return "\n".join(lines)


def _sample(sample: Object) -> tuple[str, ...]:
    return (
        str(sample.get("sidecar") or ""),
        str(sample.get("fault") or "none"),
        str(sample.get("observed") or ""),
        str(sample.get("httpStatus") or ""),
        str(sample.get("latency") or ""),
        str(sample.get("cost") or ""),
        "as expected" if sample.get("passed") else str(sample.get("detail") or ""),
    )


def _row(drill: Object) -> tuple[str, ...]:
    status, metadata = drill.get("status") or {}, drill["metadata"]
    return (
        metadata["namespace"],
        metadata["name"],
        drill["spec"]["routeRef"]["name"],
        ",".join(f["type"] for f in drill["spec"]["faults"]),
        str(status.get("phase") or "Pending"),
        str(status.get("verdict") or ""),
        str(status.get("timeToRecover") or ""),
        str(status.get("cost") or ""),
        _age(metadata.get("creationTimestamp")),
    )


def _age(created: object) -> str:
    born = instant(created)
    if born is None:
        return ""
    seconds = int((datetime.now(UTC) - born).total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{max(seconds, 0)}s"


def _message(status: Object) -> str:
    known = {c["type"]: c for c in status.get("conditions") or ()}
    return str(known.get("Reconciling", {}).get("message") or "waiting for the operator")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [tuple(head), *(tuple(r) for r in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("   ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _client(kubeconfig: Path | None) -> Client:
    path = kubeconfig or Path.home() / ".kube" / "config"
    if not path.exists():
        raise _stopped(f"no kubeconfig at {path}: name one with --kubeconfig or in KUBECONFIG")
    return connect(path)


def _asked(call: Any) -> Any:
    """What the API server answers, or its words and exit status 2."""
    try:
        return call()
    except (ApiError, Unreachable) as e:
        raise _stopped(str(e)) from e


def _stopped(words: str) -> typer.Exit:
    typer.echo(f"turnout drill: {words}", err=True)
    return typer.Exit(PROVED_NOTHING)

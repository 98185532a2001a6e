"""`turnout check`: every fault of a folder of manifests, with file, line and field, before anything is applied.

First what `kubectl apply` would refuse, in its words; then what the operator would say in status, since it needs other objects. The folder
is the whole world: a pool, a model or a Secret that is not in it is not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from turnout_operator.api import FallbackDrill, ProviderPool, validation
from turnout_operator.api.conditions import DrillReason
from turnout_operator.api.documents import Document
from turnout_operator.api.enforcement import unenforced
from turnout_operator.api.fault import Fault, Finding
from turnout_operator.api.validation import Checked
from turnout_operator.cli import folder
from turnout_operator.compiler import compile as compile_snapshot
from turnout_operator.ir import Compilation, Diagnostic
from turnout_operator.snapshot import SecretFacts, Snapshot, from_manifests


class Output(StrEnum):
    """How the result is printed."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class WithoutEffect:
    """A declared convenience that this version does not act on, and the version that will."""

    subject: str
    path: str
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `turnout check` found; only `faults` make it fail."""

    files: int
    objects: int
    faults: tuple[Fault, ...]
    not_enforced: tuple[WithoutEffect, ...]


def check(
    paths: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders or files of manifests.")],
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print what was found.")] = Output.TABLE,
    recursive: Annotated[
        bool, typer.Option("-R", "--recursive", help="Read folders inside folders too, as kubectl does.")
    ] = False,
    without_secrets: Annotated[
        bool,
        typer.Option("--without-secrets", help="Secrets live elsewhere: take those that pools name as being there."),
    ] = False,
) -> None:
    """Name every fault in a folder of manifests. Exits 1 when there is one, 2 when there is nothing to read."""
    report = examine(folder.texts(paths, recursive), datetime.now(UTC), without_secrets=without_secrets)
    typer.echo(_as_json(report) if output is Output.JSON else "\n".join(_as_lines(report)))
    if report.faults:
        raise typer.Exit(1)


def examine(texts: dict[str, str], now: datetime, *, without_secrets: bool = False) -> Report:
    """Everything that is wrong in the files `texts` (name to content), each object alone and all together."""
    checked = validation.check(texts)
    compilation = compile_snapshot(_snapshot(checked, without_secrets), None, now)
    together = (*_compiled_faults(checked, compilation.diagnostics), *_drill_faults(checked))
    return Report(
        files=len(texts),
        objects=sum(1 for document in checked.documents if validation.is_ours(document.value)),
        faults=tuple(sorted({*checked.faults, *together})),
        not_enforced=tuple(_conveniences(compilation)),
    )


def _snapshot(checked: Checked, without_secrets: bool) -> Snapshot:
    # What kubectl would refuse never reaches the operator; its faults are told already, and those of a pool that
    # is missing for that reason alone would only hide them.
    refused = {(fault.file, fault.subject) for fault in checked.faults}
    there = [d.value for d in checked.documents if isinstance(d.value, dict) and _whole(d, refused)]
    return from_manifests(there, _assumed_secrets(checked) if without_secrets else ())


def _whole(document: Document, refused: set[tuple[str, str]]) -> bool:
    return (
        not validation.is_ours(document.value) or (document.file, validation.subject_of(document.value)) not in refused
    )


def _assumed_secrets(checked: Checked) -> Iterator[SecretFacts]:
    for document in checked.sound:
        if document.value["kind"] == "ProviderPool":
            pool = ProviderPool.from_manifest(document.value)
            if pool.spec.credentials:
                secret = pool.spec.credentials.secret_ref
                yield SecretFacts(namespace=pool.metadata.namespace, name=secret.name, keys=(secret.key,), digest="")


def _compiled_faults(checked: Checked, diagnostics: Iterable[Diagnostic]) -> Iterator[Fault]:
    places = {validation.subject_of(document.value): document for document in checked.documents}
    said = {(fault.subject, fault.path, fault.message) for fault in checked.faults}
    for diagnostic in diagnostics:
        subject = f"{diagnostic.kind} {diagnostic.key}"
        if (subject, diagnostic.field, diagnostic.message) not in said:
            finding = Finding(path=diagnostic.field, found="", message=diagnostic.message)
            yield validation.fault_at(places[subject], finding, diagnostic.reason)


def _drill_faults(checked: Checked) -> Iterator[Fault]:
    """What the operator would skip or refuse to run."""
    routes = {validation.subject_of(document.value) for document in checked.documents}
    for document in checked.sound:
        if document.value["kind"] != "FallbackDrill":
            continue
        drill = FallbackDrill.from_manifest(document.value)
        for gap in unenforced(drill.spec).bounds:
            finding = Finding(path=gap.path, found=gap.value, message=gap.words)
            yield validation.fault_at(document, finding, DrillReason.NOT_SUPPORTED)
        route = f"{drill.metadata.namespace}/{drill.spec.route_ref.name}"
        if f"LLMRoute {route}" not in routes:
            message = f"no LLMRoute {route} is there: correct the name, or declare the route"
            finding = Finding(path="spec.routeRef.name", found=drill.spec.route_ref.name, message=message)
            yield validation.fault_at(document, finding, DrillReason.ROUTE_NOT_FOUND)


def _conveniences(compilation: Compilation) -> Iterator[WithoutEffect]:
    for route in compilation.routes:
        for each in route.not_enforced:
            yield WithoutEffect(subject=f"LLMRoute {route.key}", path=each.field, since=each.since)


def _as_json(report: Report) -> str:
    return json.dumps(
        {
            "files": report.files,
            "objects": report.objects,
            "faults": [asdict(fault) for fault in report.faults],
            "notEnforced": [asdict(each) for each in report.not_enforced],
        },
        indent=2,
        ensure_ascii=False,
    )


def _as_lines(report: Report) -> Iterator[str]:
    grouped: dict[tuple[str, str], list[Fault]] = {}
    for fault in report.faults:
        grouped.setdefault((fault.file, fault.subject), []).append(fault)
    for (file, subject), faults in grouped.items():
        yield f"{subject} in {file}" if subject else file
        for fault in faults:
            yield f"  line {fault.line}: {f'{fault.path}: ' if fault.path else ''}{_told(fault)}"
        yield ""
    for (subject, since), fields in _by_subject(report.not_enforced).items():
        yield f"{subject}: without effect until {since}: {', '.join(fields)}"
    yield "{} in {}, {}".format(
        _counted(report.objects, "object"), _counted(report.files, "file"), _counted(len(report.faults), "fault")
    )


def _by_subject(conveniences: Iterable[WithoutEffect]) -> dict[tuple[str, str], list[str]]:
    grouped: dict[tuple[str, str], list[str]] = {}
    for each in conveniences:
        grouped.setdefault((each.subject, each.since), []).append(each.path)
    return grouped


def _told(fault: Fault) -> str:
    found = f" (found {fault.found})" if fault.found and fault.found != "nothing" else ""
    return f"{fault.message}{found}{f'; {fault.hint}' if fault.hint else ''}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

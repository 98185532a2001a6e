"""`turnout compile`: what a folder of manifests would program, and why not, without a cluster.

The same compiler and renderers as in the operator; the folder is the whole world and nothing was accepted before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import yaml

from turnout_operator.amounts import dollars, span
from turnout_operator.api import ProviderPool
from turnout_operator.api.documents import Document, parse
from turnout_operator.api.fault import Fault
from turnout_operator.cli import folder
from turnout_operator.compiler import compile as compile_snapshot
from turnout_operator.ir import Compilation, CompiledRoute, Service
from turnout_operator.render import hpa, quota
from turnout_operator.snapshot import SecretFacts, Snapshot, from_manifests


class Output(StrEnum):
    """What is printed: `table` for people, `json` everything, `ir` the compiled contracts, `envoy` what sidecars are told, `objects`
    what is written to the cluster."""

    TABLE = "table"
    JSON = "json"
    IR = "ir"
    ENVOY = "envoy"
    OBJECTS = "objects"


def compile_(
    paths: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders or files of manifests.")],
    output: Annotated[Output, typer.Option("-o", "--output", help="What to print.")] = Output.TABLE,
    recursive: Annotated[
        bool, typer.Option("-R", "--recursive", help="Read folders inside folders too, as kubectl does.")
    ] = False,
    without_secrets: Annotated[
        bool,
        typer.Option("--without-secrets", help="Secrets live elsewhere: take those that pools name as being there."),
    ] = False,
) -> None:
    """Print what a folder of manifests would program. Exits 1 when something is not accepted, 2 when there is nothing to read."""
    documents, unread = _documents(folder.texts(paths, recursive))
    snapshot = _snapshot(documents, without_secrets)
    compilation = compile_snapshot(snapshot, None, datetime.now(UTC))
    typer.echo("\n".join(_printed(output, compilation, unread)))
    for fault in _said_beside(output, compilation, unread):
        typer.echo(fault, err=True)
    if compilation.diagnostics or unread:
        raise typer.Exit(1)


def objects(compilation: Compilation) -> list[dict[str, Any]]:
    """Every object that the operator would write for these manifests, status and ledger aside."""
    made = (hpa.autoscaler(pool) for pool in compilation.pools)
    return [each for each in made if each is not None]


def _documents(texts: dict[str, str]) -> tuple[list[Document], list[Fault]]:
    documents: list[Document] = []
    faults: list[Fault] = []
    for file in sorted(texts):
        read, unread = parse(file, texts[file])
        documents.extend(read)
        faults.extend(unread)
    return documents, faults


def _snapshot(documents: list[Document], without_secrets: bool) -> Snapshot:
    manifests = [d.value for d in documents if isinstance(d.value, dict)]
    snapshot = from_manifests(manifests)
    return from_manifests(manifests, _assumed(snapshot.pools)) if without_secrets else snapshot


def _assumed(pools: Iterable[ProviderPool]) -> Iterator[SecretFacts]:
    for pool in pools:
        if pool.spec.credentials is not None:
            ref = pool.spec.credentials.secret_ref
            yield SecretFacts(namespace=pool.metadata.namespace, name=ref.name, keys=(ref.key,), digest="")


def _printed(output: Output, compilation: Compilation, unread: list[Fault]) -> Iterator[str]:
    match output:
        case Output.TABLE:
            yield from _table(compilation, unread)
        case Output.JSON:
            yield json.dumps(_everything(compilation, unread), indent=2, ensure_ascii=False)
        case Output.IR:
            yield _yaml({"routes": _plain(compilation.routes), "pools": _plain(compilation.pools)})
        case Output.OBJECTS:
            yield yaml.safe_dump_all(objects(compilation), sort_keys=False, width=120, allow_unicode=True).rstrip()
        case Output.ENVOY:
            yield json.dumps(_envoy(compilation), indent=2, ensure_ascii=False)


def _said_beside(output: Output, compilation: Compilation, unread: list[Fault]) -> Iterator[str]:
    """Faults go to standard error where standard output has no place for them."""
    if output in (Output.IR, Output.OBJECTS, Output.ENVOY):
        yield from _faults(compilation, unread)


def _everything(compilation: Compilation, unread: list[Fault]) -> dict[str, Any]:
    return {
        "routes": _plain(compilation.routes),
        "pools": _plain(compilation.pools),
        "objects": objects(compilation),
        "accounts": _plain(quota.definitions(compilation)),
        "outcomes": _plain(compilation.outcomes),
        "faults": [*(asdict(f) for f in unread), *_plain(compilation.diagnostics)],
    }


def _envoy(compilation: Compilation) -> dict[str, Any]:
    # Importing Envoy's types takes longer than compiling, so only whoever prints them pays for it.
    from turnout_operator.render.envoy import Edge, message, resources

    resolved = frozenset(s for pool in compilation.pools for s in pool.secrets)
    told = {}
    for namespace in sorted({r.namespace for r in compilation.routes}):
        made = resources(compilation.routes_of(namespace), compilation.pools_of(namespace), resolved, Edge())
        told[namespace] = {
            "policyVersion": made.policy_version,
            "clusters": [message.decode(message.CLUSTER, r.body) for r in made.clusters],
            "listeners": [message.decode(message.LISTENER, r.body) for r in made.listeners],
            "extensions": [message.decode(message.EXTENSION, r.body) for r in made.extensions],
            "secrets": [s.name for s in made.secrets],
        }
    return told


def _table(compilation: Compilation, unread: list[Fault]) -> Iterator[str]:
    served = {r.key: r for r in compilation.routes}
    rows = [_row(o.key, o.service, served.get(o.key)) for o in compilation.outcomes if o.kind == "LLMRoute"]
    yield from _aligned(("ROUTE", "IN SERVICE", "WORST CASE", "ATTEMPTS", "LATENCY", "DEAREST", "CANDIDATES"), rows)
    pools = {p.key: p for p in compilation.pools}
    yield ""
    yield from _aligned(
        ("POOL", "IN SERVICE", "DIALECT", "ENDPOINTS", "MODELS"),
        [
            (o.key, _in_service(o.service), *_pool_facts(pools.get(o.key)))
            for o in compilation.outcomes
            if o.kind == "ProviderPool"
        ],
    )
    accounts = [
        (q.account, q.scope.value, q.window.value, f"${dollars(q.amount)}", q.time_zone)
        for q in quota.definitions(compilation)
    ]
    if accounts:
        yield ""
        yield from _aligned(("ACCOUNT", "SCOPE", "WINDOW", "LIMIT", "ZONE"), accounts)
    scaled = [_autoscaler_row(o) for o in objects(compilation)]
    if scaled:
        yield ""
        yield from _aligned(("AUTOSCALER", "TARGET", "REPLICAS", "IN FLIGHT EACH"), scaled)
    faults = list(_faults(compilation, unread))
    if faults:
        yield ""
        yield from faults


def _row(key: str, service: Service, route: CompiledRoute | None) -> tuple[str, ...]:
    if route is None:
        return (key, _in_service(service), "", "", "", "", "")
    worst = route.worst_case
    candidates = ", ".join(f"{c.name} ({c.pool} {c.model})" for c in route.policy.candidates)
    cost = f"${dollars(worst.cost)}"
    return (key, _in_service(service), cost, str(worst.attempts), span(worst.latency), worst.dearest, candidates)


def _pool_facts(pool: Any) -> tuple[str, str, str]:
    if pool is None:
        return ("", "", "")
    endpoints = ", ".join(f"{d.endpoint} {d.host}:{d.port}" for d in pool.destinations)
    return (pool.policy.dialect.value, endpoints, ", ".join(m.name for m in pool.policy.models))


def _autoscaler_row(manifest: dict[str, Any]) -> tuple[str, ...]:
    meta, spec = manifest["metadata"], manifest["spec"]
    target = spec["scaleTargetRef"]
    each = spec["metrics"][0]["external"]["target"]["averageValue"]
    replicas = f"{spec['minReplicas']} to {spec['maxReplicas']}"
    return (f"{meta['namespace']}/{meta['name']}", f"{target['kind']} {target['name']}", replicas, each)


def _in_service(service: Service) -> str:
    return "yes" if service is Service.CURRENT else "no"


def _faults(compilation: Compilation, unread: list[Fault]) -> Iterator[str]:
    for fault in unread:
        yield f"{fault.file} line {fault.line}: {fault.message}"
    before = ""
    for found in compilation.diagnostics:
        subject = f"{found.kind} {found.key}"
        if subject != before:
            yield subject
        before = subject
        where = f"{found.field}: " if found.field else ""
        yield f"  {found.reason}: {where}{found.message}"


def _aligned(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _plain(values: Iterable[msgspec.Struct]) -> list[Any]:
    return [msgspec.to_builtins(v) for v in values]


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=120, allow_unicode=True).rstrip()

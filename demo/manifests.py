"""The examples as the demo applies them: stand-in providers on ports of their own, and limits that a minute can exhaust. Pure but for reading."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from demo.workload import DRAFT, SUPPORT

Manifest = dict[str, Any]
EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "local"
SMALL_TENANT = "globex"
SMALL_DAY, SMALL_TENANT_DAY = "0.02", "0.15"
CHANGES = (
    f"{SUPPORT}: ${SMALL_DAY} a day instead of $200",
    f"{DRAFT}: ${SMALL_TENANT_DAY} a day for tenant {SMALL_TENANT} instead of $5",
    "pools: an open breaker looks again after 5 s instead of 30 s",
)
"""What `for_one_minute` changes, for people."""


def read(folder: Path) -> tuple[Manifest, ...]:
    """Every document of the folder's files, in order."""
    texts = [path.read_text() for path in sorted(folder.glob("*.yaml"))]
    return tuple(document for text in texts for document in yaml.safe_load_all(text) if document)


def of_kind(manifests: Iterable[Manifest], kind: str) -> tuple[Manifest, ...]:
    """Those of one kind."""
    return tuple(m for m in manifests if m["kind"] == kind)


def with_ports(manifests: Sequence[Manifest], ports: Mapping[str, int]) -> tuple[Manifest, ...]:
    """Each pool's endpoints lead to `ports[pool]` on loopback."""
    changed = copy.deepcopy(list(manifests))
    for pool in of_kind(changed, "ProviderPool"):
        for endpoint in pool["spec"]["endpoints"]:
            endpoint["url"] = _with_port(endpoint["url"], ports[pool["metadata"]["name"]])
    return tuple(changed)


def for_one_minute(manifests: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """`CHANGES`: a demo in which nothing runs out proves nothing."""
    changed = copy.deepcopy(list(manifests))
    for route in of_kind(changed, "LLMRoute"):
        for limit in route["spec"]["budget"]["limits"]:
            which = (route["metadata"]["name"], limit["name"])
            if which == (SUPPORT, "day"):
                limit["cost"] = SMALL_DAY
            elif which == (DRAFT, "tenant-day"):
                limit["overrides"] = [{"subjects": [SMALL_TENANT], "cost": SMALL_TENANT_DAY}]
    for pool in of_kind(changed, "ProviderPool"):
        pool["spec"]["health"] = {"openFor": "5s", "maxOpenFor": "10s"}
    return tuple(changed)


def keys(manifests: Sequence[Manifest]) -> dict[str, str]:
    """The provider keys that the examples' Secrets hold, by Secret; they open nothing but the stand-ins."""
    return {m["metadata"]["name"]: str(m["stringData"]["apiKey"]) for m in of_kind(manifests, "Secret")}


def _with_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.hostname}:{port}").geturl()

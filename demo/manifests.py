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
LOWERED = (
    f"{SUPPORT}: $0.06 a day instead of $200",
    f"{DRAFT}: $0.25 a day for the tenant {SMALL_TENANT} instead of $5",
)
"""What `with_small_limits` changes, for people."""


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


def with_small_limits(manifests: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """`LOWERED`: a demo in which nothing runs out proves nothing."""
    changed = copy.deepcopy(list(manifests))
    for route in of_kind(changed, "LLMRoute"):
        for limit in route["spec"]["budget"]["limits"]:
            match route["metadata"]["name"], limit["name"]:
                case "support-answer", "day":
                    limit["cost"] = "0.06"
                case "case-draft", "tenant-day":
                    limit["overrides"] = [{"subjects": [SMALL_TENANT], "cost": "0.25"}]
    return tuple(changed)


def keys(manifests: Sequence[Manifest]) -> dict[str, str]:
    """The provider keys that the examples' Secrets hold, by Secret; they open nothing but the stand-ins."""
    return {m["metadata"]["name"]: str(m["stringData"]["apiKey"]) for m in of_kind(manifests, "Secret")}


def _with_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.hostname}:{port}").geturl()

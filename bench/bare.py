"""Bare Envoy: the same binary with a router and nothing else."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cores import pinned
from bench.ports import free, wait_for
from bench.upstream import Upstream
from turnout_sidecar.envoy import launcher

URL = "type.googleapis.com/"
PLENTY = {"thresholds": [{"max_connections": 4096, "max_requests": 4096, "max_pending_requests": 4096}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Where to ask, and the process that has the proxy's core."""

    plain: int
    stream: int
    process: int


@contextmanager
def bare(upstream: Upstream, core: int) -> Iterator[Proxy]:
    plain, stream = free(2)
    document = {
        "static_resources": {
            "listeners": [_listener("plain", plain), _listener("stream", stream)],
            "clusters": [_cluster("plain", upstream.plain), _cluster("stream", upstream.stream)],
        }
    }
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as place:
        config = Path(place) / "bare.json"
        config.write_text(json.dumps(document))
        command = launcher.command(launcher.find_envoy(), config, log_level="error")
        process = subprocess.Popen(pinned(core, command), stderr=subprocess.DEVNULL)
        try:
            wait_for(plain)
            wait_for(stream)
            yield Proxy(plain=plain, stream=stream, process=process.pid)
        finally:
            process.terminate()
            process.wait(20)


def _listener(name: str, port: int) -> dict[str, Any]:
    manager = {
        "@type": URL + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "generate_request_id": False,
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name}}]}
            ]
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": URL + "envoy.extensions.filters.http.router.v3.Router"}}
        ],
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": PLENTY,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }

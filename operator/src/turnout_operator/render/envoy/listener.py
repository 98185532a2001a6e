"""Where applications reach the sidecar, and where the sidecar reaches itself for a drill's probes.

Envoy's defaults "are not safe" for untrusted clients by its own words; the values here are its edge guide's, save that streams have no
idle timeout: a first token may take longer than any such bound, and the engine keeps the route's deadlines. The request timeout bounds
how long a body may take to arrive; it is off as soon as the engine has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from turnout_operator.render.envoy.access_log import access_log
from turnout_operator.render.envoy.extension import ENGINE, discovery
from turnout_operator.render.envoy.local_reply import local_reply_config
from turnout_operator.render.envoy.message import URL

INGRESS = "turnout-ingress"
SELF = "turnout-self"
"""An internal listener: no address, so nothing outside this process reaches it. The bootstrap's cluster of that name does."""

MAX_BODY = 1 << 20
"""Of a request. The engine's filter collects it and asks Envoy for a buffer of this size (`sidecar/native/filter.c`)."""
STREAM_WINDOW = 64 * 1024
CONNECTION_WINDOW = 1 << 20
MAX_STREAMS = 100
MAX_HEADERS_KB = 60
MAX_HEADERS = 100
TRUSTED_CA = "/etc/ssl/certs/ca-certificates.crt"
"""Debian's and Ubuntu's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What the place of a sidecar decides, not its policy."""

    address: str = "127.0.0.1"
    port: int = 15001
    """0: any free port, then to be read from the admin interface."""
    access_log: str = ""
    """File for the access log; empty: standard output."""
    trusted_ca: str = TRUSTED_CA
    """Certificate authorities that providers are verified against, on the sidecar's disk."""


def ingress(edge: Edge) -> dict[str, Any]:
    """The listener for applications: HTTP/1.1 and HTTP/2 without TLS, for a loopback address in a pod."""
    return {
        "name": INGRESS,
        "address": {"socket_address": {"address": edge.address, "port_value": edge.port}},
        "enable_reuse_port": False,  # one worker; and a taken port is an error, not two programs taking turns
        "per_connection_buffer_limit_bytes": MAX_BODY,
        "filter_chains": [{"filters": [_http("ingress", access_log(edge.access_log, probe=False))]}],
    }


def own(edge: Edge) -> dict[str, Any]:
    """The same way for the sidecar's own probes, so that what a drill sees is what a client would."""
    return {
        "name": SELF,
        "internal_listener": {},
        "per_connection_buffer_limit_bytes": MAX_BODY,
        "filter_chains": [{"filters": [_http("self", access_log(edge.access_log, probe=True))]}],
    }


def _http(stat_prefix: str, log: list[dict[str, Any]]) -> dict[str, Any]:
    manager = {
        "@type": URL + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": stat_prefix,
        "codec_type": "AUTO",
        **_protocol(),
        **_hygiene(),
        "local_reply_config": local_reply_config(MAX_BODY),
        "access_log": log,
        "route_config": {
            "name": "all",
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "non_forwarding_action": {}}]}
            ],
        },
        "http_filters": [{"name": ENGINE, "config_discovery": discovery()}],
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def _protocol() -> dict[str, Any]:
    return {
        "common_http_protocol_options": {
            "idle_timeout": "3600s",
            "max_headers_count": MAX_HEADERS,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": MAX_STREAMS,
            "initial_stream_window_size": STREAM_WINDOW,
            "initial_connection_window_size": CONNECTION_WINDOW,
        },
        "max_request_headers_kb": MAX_HEADERS_KB,
        "request_headers_timeout": "10s",
        "request_timeout": "30s",
        "stream_idle_timeout": "0s",
        "stream_flush_timeout": "60s",
        "drain_timeout": "5s",
    }


def _hygiene() -> dict[str, Any]:
    return {
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "server_header_transformation": "PASS_THROUGH",
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
    }

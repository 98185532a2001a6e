"""One provider endpoint as an Envoy cluster.

A cluster never changes under its name (see `clusters`): whoever changes what stands here raises `clusters.SHAPE`.
Envoy connects and encrypts; deadlines, retries and breakers are the engine's, so there are none here but the connect timeout.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from turnout_operator.clusters import Credential, Destination
from turnout_operator.render.envoy.header_secret import HeaderSecret
from turnout_operator.render.envoy.message import URL

GENUINE = "x-turnout-genuine"
"""Stands on every head that the provider itself sent, and on none that Envoy made up for a failure (503 for a refused connect, 504)."""

CONNECT_TIMEOUT = "2s"
SECRET_TIMEOUT = "2s"
"""How long a cluster waits for its key before it fails requests: the default of 15 s would hold up the sidecar's start."""
IDLE = "60s"
BUFFER = 64 * 1024
"""Bytes of an answer that Envoy keeps for one upstream connection before it stops reading."""
WINDOW = 256 * 1024
PLENTY = 1 << 20
"""Circuit breakers count nothing here: the engine's concurrency and budgets are the bound, and they give words with a refusal."""


def cluster(destination: Destination, *, trusted_ca: str) -> dict[str, Any]:
    """The cluster of that name. `trusted_ca` is the file of certificate authorities on the sidecar's own disk."""
    literal = _is_address(destination.host)
    made: dict[str, Any] = {
        "name": destination.cluster,
        "alt_stat_name": destination.cluster.replace("/", "_"),
        "type": "STATIC" if literal else "STRICT_DNS",
        "connect_timeout": CONNECT_TIMEOUT,
        "per_connection_buffer_limit_bytes": BUFFER,
        "load_assignment": _assignment(destination),
        "circuit_breakers": {"thresholds": [_threshold("DEFAULT"), _threshold("HIGH")]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _http(destination)
        },
    }
    if not literal:
        made["dns_lookup_family"] = "V4_PREFERRED"
    if destination.tls:
        made["transport_socket"] = _tls(destination, literal=literal, trusted_ca=trusted_ca)
    return made


def _assignment(destination: Destination) -> dict[str, Any]:
    address = {"address": destination.host, "port_value": destination.port}
    endpoint = {"endpoint": {"address": {"socket_address": address}}}
    return {"cluster_name": destination.cluster, "endpoints": [{"lb_endpoints": [endpoint]}]}


def _threshold(priority: str) -> dict[str, Any]:
    counts = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"priority": priority} | dict.fromkeys(counts, PLENTY)


def _http(destination: Destination) -> dict[str, Any]:
    """HTTP/2 where TLS can agree on it, HTTP/1.1 elsewhere; and the filters that every request and answer passes."""
    http2 = {"initial_stream_window_size": WINDOW, "initial_connection_window_size": 4 * WINDOW}
    protocols: dict[str, Any] = (
        {"auto_config": {"http2_protocol_options": http2}}
        if destination.tls
        else {"explicit_http_config": {"http_protocol_options": {}}}
    )
    credential = [] if destination.credential is None else [_credential(destination.credential)]
    return {
        "@type": URL + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": IDLE},
        "http_filters": [*credential, _genuine(), _codec()],
        **protocols,
    }


def _credential(credential: Credential) -> dict[str, Any]:
    """Envoy puts the key on, last of all and over whatever stood there, so that the engine never holds one."""
    generic: dict[str, Any] = {
        "@type": URL + "envoy.extensions.http.injected_credentials.generic.v3.Generic",
        "credential": {
            "name": HeaderSecret.of(credential).name,
            "sds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": SECRET_TIMEOUT},
        },
        "header": credential.header,
    }
    injector = {
        "@type": URL + "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
        "overwrite": True,
        "credential": {"name": "envoy.http.injected_credentials.generic", "typed_config": generic},
    }
    return {"name": "envoy.filters.http.credential_injector", "typed_config": injector}


def _genuine() -> dict[str, Any]:
    """Overwrites what a provider might have sent under that name: the mark is ours."""
    append = {"header": {"key": GENUINE, "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    mutation = {
        "@type": URL + "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        "mutations": {"response_mutations": [{"append": append}]},
    }
    return {"name": "envoy.filters.http.header_mutation", "typed_config": mutation}


def _codec() -> dict[str, Any]:
    typed = {"@type": URL + "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"}
    return {"name": "envoy.filters.http.upstream_codec", "typed_config": typed}


def _tls(destination: Destination, *, literal: bool, trusted_ca: str) -> dict[str, Any]:
    """Verified against the system's authorities and against the name, always: nothing switches it off."""
    san = {"san_type": "IP_ADDRESS" if literal else "DNS", "matcher": {"exact": destination.sni or destination.host}}
    context: dict[str, Any] = {
        "@type": URL + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "validation_context": {
                "trusted_ca": {"filename": trusted_ca},
                "match_typed_subject_alt_names": [san],
            },
        },
    }
    if destination.sni and not literal:
        context["sni"] = destination.sni
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

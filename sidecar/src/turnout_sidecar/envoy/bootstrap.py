"""Envoy's bootstrap as plain JSON: what a sidecar must know before anybody can tell it anything. Pure.

JSON and not xds-protos, because those lack the bootstrap extension's type and its `metrics_namespace`.
"""

import hashlib
import ipaddress
from typing import Any

import msgspec

from turnout_sidecar.envoy.settings import EXTENSION, LIBRARY, STATS, Settings
from turnout_sidecar.policy.model import SCHEMAS_READ

URL = "type.googleapis.com/"
XDS = "turnout-control-xds"
REPORT = "turnout-control-report"
SELF = "turnout-self"
"""Both the internal listener, which comes by LDS, and the cluster that leads to it."""
_SELF_ENTRY = "turnout-self-entry"
_SELF_INNER = "turnout-self-inner"
TOKEN = "turnout-control-token"

_HTTP = URL + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TOKENS = [4**n for n in range(14)]
_DURATIONS = [10 * 2**n for n in range(14)]
_FIRST_TOKEN = [1, 5, 10, 20, 40, 60, 80, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000]
BUCKETS = (("token_usage", _TOKENS), ("time_to_first", _FIRST_TOKEN), ("duration", _DURATIONS))
"""OpenTelemetry's boundaries for GenAI metrics, times in milliseconds: Envoy's histograms take integers."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """Who this sidecar is. The control plane believes the token, and of the node only what it cannot know otherwise."""

    id: str
    namespace: str
    version: str


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Without a `ca_file` there would be nothing to verify against, so there is no default for it."""

    ca_file: str
    server_name: str


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """Another place where the control plane may be: only the leader listens, the others refuse the connection."""

    host: str
    xds_port: int
    report_port: int


class ControlPlane(msgspec.Struct, frozen=True, kw_only=True):
    host: str
    xds_port: int
    report_port: int
    standby: tuple[Replica, ...] = ()
    """In a cluster a Service leads to the leader; without one, these are tried too, and those that refuse are left out."""
    tls: Tls | None = None
    token_sds: str = ""
    """Path of a file with `token_secret`'s document. Empty: no token is sent, which only `serve`'s own loopback accepts."""

    @property
    def authority(self) -> str:
        return self.tls.server_name if self.tls is not None else self.host


class Admin(msgspec.Struct, frozen=True, kw_only=True):
    """On loopback at `port` (0: any free one), or on a Unix socket at `path` that only this user may open."""

    port: int = 0
    path: str = ""


def bootstrap(
    *,
    node: Node,
    control: ControlPlane,
    admin: Admin,
    epoch_dir: str = "",
    drain_ms: int = 5_000,
    heap_bytes: int = 512 << 20,
    max_connections: int = 10_000,
) -> dict[str, Any]:
    """The whole document. Policies, clusters, listeners and keys all come by ADS."""
    settings = Settings(
        epoch_dir=epoch_dir,
        report_cluster=REPORT,
        report_authority=control.authority,
        self_cluster=SELF,
        drain_ms=drain_ms,
    )
    return static(node=node, admin=admin, settings=settings, heap_bytes=heap_bytes, max_connections=max_connections) | {
        "static_resources": {
            "clusters": [_xds_cluster(control), _report_cluster(control), *_self_clusters(node, epoch_dir)],
            "listeners": [_self_entry(node, epoch_dir)],
        },
        "dynamic_resources": _dynamic(),
    }


def static(
    *, node: Node, admin: Admin, settings: Settings, heap_bytes: int = 512 << 20, max_connections: int = 10_000
) -> dict[str, Any]:
    """All but clusters and discovery: what the benchmark and the shell's own tests give listeners of their own."""
    return {
        "node": _node(node),
        "admin": _admin(admin),
        "bootstrap_extensions": [_internal_listener(), _engine(settings)],
        "stats_config": _stats(),
        "layered_runtime": {"layers": [{"name": "turnout", "static_layer": _runtime()}]},
        "overload_manager": _overload(heap_bytes, max_connections),
    }


def token_secret(token_file: str) -> dict[str, Any]:
    """The content of the file at `token_sds`: a secret that Envoy reads from `token_file` again whenever that is replaced."""
    secret = {
        "@type": URL + "envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": TOKEN,
        "generic_secret": {"secret": {"filename": token_file}},
    }
    return {"resources": [secret]}


def encode(document: dict[str, Any]) -> bytes:
    """Byte-stable JSON."""
    return msgspec.json.encode(document, order="deterministic")


def _node(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "cluster": node.namespace,
        "metadata": {
            "turnout.dev/policy-schemas": list(SCHEMAS_READ),
            "turnout.dev/namespace": node.namespace,
            "turnout.dev/version": node.version,
        },
    }


def _admin(admin: Admin) -> dict[str, Any]:
    if admin.path:
        return {"address": {"pipe": {"path": admin.path, "mode": 0o600}}}
    return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin.port}}}


def _internal_listener() -> dict[str, Any]:
    typed = {"@type": URL + "envoy.extensions.bootstrap.internal_listener.v3.InternalListener"}
    return {"name": "envoy.bootstrap.internal_listener", "typed_config": typed}


def _engine(settings: Settings) -> dict[str, Any]:
    typed = {
        "@type": URL + "envoy.extensions.bootstrap.dynamic_modules.v3.DynamicModuleBootstrapExtension",
        "dynamic_module_config": {
            "name": LIBRARY,
            "do_not_close": True,
            # libpython's symbols must be seen by Python's own extension modules.
            "load_globally": True,
            "metrics_namespace": STATS,
        },
        "extension_name": EXTENSION,
        "extension_config": {
            "@type": URL + "google.protobuf.StringValue",
            "value": msgspec.json.encode(settings).decode(),
        },
    }
    return {"name": "turnout", "typed_config": typed}


def _stats() -> dict[str, Any]:
    return {
        "histogram_bucket_settings": [{"match": {"contains": word}, "buckets": buckets} for word, buckets in BUCKETS]
    }


def _runtime() -> dict[str, Any]:
    return {"envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix": True}


def _overload(heap_bytes: int, max_connections: int) -> dict[str, Any]:
    monitors = URL + "envoy.extensions.resource_monitors."
    connections = {
        "@type": monitors + "downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": max_connections,
    }
    heap = {"@type": monitors + "fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": heap_bytes}
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": connections},
            {"name": "envoy.resource_monitors.fixed_heap", "typed_config": heap},
        ],
        "actions": [
            _above("envoy.overload_actions.shrink_heap", 0.9),
            _above("envoy.overload_actions.stop_accepting_requests", 0.95),
        ],
    }


def _above(action: str, share: float) -> dict[str, Any]:
    trigger = {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": share}}
    return {"name": action, "triggers": [trigger]}


def _dynamic() -> dict[str, Any]:
    # The defaults let a sidecar wait 7 to 19 seconds for a control plane that is back.
    grpc = {
        "envoy_grpc": {
            "cluster_name": XDS,
            "retry_policy": {"retry_back_off": {"base_interval": "0.2s", "max_interval": "1s"}},
        }
    }
    ads = {"ads": {}, "resource_api_version": "V3"}
    return {
        "ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [grpc]},
        "lds_config": ads,
        "cds_config": ads,
    }


def _xds_cluster(control: ControlPlane) -> dict[str, Any]:
    keepalive = {"connection_keepalive": {"interval": "10s", "timeout": "5s"}}
    places = [(control.host, control.xds_port), *((r.host, r.xds_port) for r in control.standby)]
    return _control_cluster(XDS, control, places, {"http2_protocol_options": keepalive}, "h2")


def _report_cluster(control: ControlPlane) -> dict[str, Any]:
    places = [(control.host, control.report_port), *((r.host, r.report_port) for r in control.standby)]
    return _control_cluster(REPORT, control, places, {"http_protocol_options": {}}, "http/1.1")


def _control_cluster(
    name: str, control: ControlPlane, places: list[tuple[str, int]], protocol: dict[str, Any], alpn: str
) -> dict[str, Any]:
    literal = all(_is_address(host) for host, _ in places)
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}} for host, port in places
    ]
    options: dict[str, Any] = {"@type": _HTTP, "explicit_http_config": protocol}
    if control.token_sds:
        codec = {"@type": URL + "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"}
        options["http_filters"] = [
            _token(control.token_sds),
            {"name": "envoy.filters.http.upstream_codec", "typed_config": codec},
        ]
    made: dict[str, Any] = {
        "name": name,
        "type": "STATIC" if literal else "STRICT_DNS",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }
    if len(places) > 1:
        made["health_checks"] = [_listening()]
        made["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
    if control.tls is not None:
        made["transport_socket"] = _tls(control.tls, alpn)
    return made


def _listening() -> dict[str, Any]:
    """A replica that stands by refuses the connection, which a first health check sees before any call is lost to it."""
    return {
        "timeout": "1s",
        "interval": "1s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "no_traffic_interval": "1s",
        "tcp_health_check": {},
    }


def _token(path: str) -> dict[str, Any]:
    """A token in `initial_metadata` would be read once; this one is put on each stream and call, as it is then."""
    source = {"path_config_source": {"path": path}, "resource_api_version": "V3"}
    generic = {
        "@type": URL + "envoy.extensions.http.injected_credentials.generic.v3.Generic",
        "credential": {"name": TOKEN, "sds_config": source},
        "header": "authorization",
        "header_value_prefix": "Bearer ",
    }
    injector = {
        "@type": URL + "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
        "overwrite": True,
        "credential": {"name": "envoy.http.injected_credentials.generic", "typed_config": generic},
    }
    return {"name": "envoy.filters.http.credential_injector", "typed_config": injector}


def _tls(tls: Tls, alpn: str) -> dict[str, Any]:
    san = {"san_type": "IP_ADDRESS" if _is_address(tls.server_name) else "DNS", "matcher": {"exact": tls.server_name}}
    context = {
        "@type": URL + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": tls.server_name,
        "common_tls_context": {
            "alpn_protocols": [alpn],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "validation_context": {"trusted_ca": {"filename": tls.ca_file}, "match_typed_subject_alt_names": [san]},
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _self_clusters(node: Node, epoch_dir: str) -> list[dict[str, Any]]:
    """The way to the sidecar's own listener. It has a step in the middle: an internal listener lives on the worker, and the calls
    of the main thread, where probes come from, cannot connect to it (tried: 503)."""
    inner = {"envoy_internal_address": {"server_listener_name": SELF}}
    return [_local_cluster(SELF, _self_address(node, epoch_dir)), _local_cluster(_SELF_INNER, inner)]


def _self_entry(node: Node, epoch_dir: str) -> dict[str, Any]:
    typed = {
        "@type": URL + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "self_entry",
        "cluster": _SELF_INNER,
    }
    return {
        "name": _SELF_ENTRY,
        "address": _self_address(node, epoch_dir),
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": typed}]}],
    }


def _self_address(node: Node, epoch_dir: str) -> dict[str, Any]:
    """An abstract Unix socket: no file that a read-only or deep directory could refuse. Who else in the pod's network namespace
    finds it has found one more way to the same listener; what makes a request a probe is the run's token."""
    name = hashlib.sha256(f"{node.id}\0{epoch_dir}".encode()).hexdigest()[:32]
    return {"pipe": {"path": f"@turnout-self-{name}"}}


def _local_cluster(name: str, address: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

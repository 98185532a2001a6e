"""How one object names another."""

from __future__ import annotations

from turnout_operator.api.model import Model
from turnout_operator.api.types import DataKey, Name, Namespace, ObjectName, Port


class PoolRef(Model):
    """A ProviderPool; without a namespace, the route's own."""

    name: Name
    namespace: Namespace | None = None


class RouteRef(Model):
    """An LLMRoute; without a namespace, the referring object's own."""

    name: Name
    namespace: Namespace | None = None


class OwnRouteRef(Model):
    """An LLMRoute of the same namespace."""

    name: Name


class GatewayRef(Model):
    """A shared gateway Deployment of the same sidecar."""

    name: Name
    namespace: Namespace | None = None


class CandidateRef(Model):
    """A candidate of the same route, by name."""

    name: Name


class KeyRef(Model):
    """One key of a ConfigMap or Secret in the object's namespace."""

    name: ObjectName
    key: DataKey


class ConfigMapSource(Model):
    """Content that lies in a ConfigMap."""

    config_map_key_ref: KeyRef


class SecretSource(Model):
    """A value that lies in a Secret; it reaches Envoy by SDS and never Python."""

    secret_ref: KeyRef


class LocalService(Model):
    """A Service in the pool's namespace."""

    name: Name
    port: Port

"""The kinds that the operator touches, each with the path the API server serves it under."""

from dataclasses import dataclass

FIELD_MANAGER = "turnout-operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Path of the collection, or of one object or its subresource."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


LLM_ROUTES = Resource(group="turnout.dev", version="v1alpha1", plural="llmroutes", kind="LLMRoute")
PROVIDER_POOLS = Resource(group="turnout.dev", version="v1alpha1", plural="providerpools", kind="ProviderPool")
FALLBACK_DRILLS = Resource(group="turnout.dev", version="v1alpha1", plural="fallbackdrills", kind="FallbackDrill")
NAMESPACES = Resource(group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False)
SECRETS = Resource(group="", version="v1", plural="secrets", kind="Secret")
CONFIG_MAPS = Resource(group="", version="v1", plural="configmaps", kind="ConfigMap")
EVENTS = Resource(group="", version="v1", plural="events", kind="Event")
HPAS = Resource(group="autoscaling", version="v2", plural="horizontalpodautoscalers", kind="HorizontalPodAutoscaler")
LEASES = Resource(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease")
ENDPOINT_SLICES = Resource(group="discovery.k8s.io", version="v1", plural="endpointslices", kind="EndpointSlice")
TOKEN_REVIEWS = Resource(
    group="authentication.k8s.io", version="v1", plural="tokenreviews", kind="TokenReview", namespaced=False
)

WATCHED = (LLM_ROUTES, PROVIDER_POOLS, FALLBACK_DRILLS, NAMESPACES)

"""The three kinds as pydantic models: the single source of crds/, docs/reference/ and every Python value of a manifest."""

from turnout_operator.api.fallbackdrill import FallbackDrill, FallbackDrillSpec
from turnout_operator.api.llmroute import LLMRoute, LLMRouteSpec
from turnout_operator.api.metadata import InvalidManifestError, ObjectMeta, Resource
from turnout_operator.api.providerpool import ProviderPool, ProviderPoolSpec

GROUP = "turnout.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

__all__ = [
    "API_VERSION",
    "GROUP",
    "VERSION",
    "FallbackDrill",
    "FallbackDrillSpec",
    "InvalidManifestError",
    "LLMRoute",
    "LLMRouteSpec",
    "ObjectMeta",
    "ProviderPool",
    "ProviderPoolSpec",
    "Resource",
]

"""Which requests a route takes, at which door, and who is asking."""

from __future__ import annotations

from typing import Annotated

from turnout_operator.api.model import Model, Rule, as_set, by_name, exactly_one
from turnout_operator.api.references import GatewayRef
from turnout_operator.api.types import ClaimName, HeaderName, HeaderValue, ModelName, Name, Region


class Sidecars(Model):
    """The sidecars of the route's namespace."""


class AttachTo(Model):
    """The door a route serves at: exactly one of `sidecars` (the default) and `gateway`."""

    cel_rules = (exactly_one("sidecars", "gateway"),)
    sidecars: Sidecars | None = None
    gateway: GatewayRef | None = None


class HeaderMatch(Model):
    """A header that must have exactly this value."""

    name: HeaderName
    value: HeaderValue


class Match(Model):
    """A request matches when it names one of `models` (if any stand here) and carries every header."""

    cel_rules = (
        Rule(
            cel="(has(self.models) && size(self.models) > 0) || (has(self.headers) && size(self.headers) > 0)",
            message="a match without models and headers would take every request: write models or headers",
        ),
    )
    models: Annotated[tuple[ModelName, ...], as_set(most=32)] = ()
    headers: Annotated[tuple[HeaderMatch, ...], by_name(most=8)] = ()


class HeaderSource(Model):
    """A request header by name."""

    name: HeaderName


class ClaimSource(Model):
    """A claim of the verified JWT."""

    name: ClaimName


class ServiceAccountSource(Model):
    """The verified ServiceAccount of the caller, as namespace/name."""


class ApiKeySource(Model):
    """The name that the verified API key is registered under."""


class IdentitySource(Model):
    """Where an identity comes from: exactly one of `header`, `claim`, `serviceAccount`, `apiKey`.

    Headers are believed only from a trusted party: in a pod, from the application over loopback.
    """

    cel_rules = (exactly_one("header", "claim", "serviceAccount", "apiKey"),)
    header: HeaderSource | None = None
    claim: ClaimSource | None = None
    service_account: ServiceAccountSource | None = None
    api_key: ApiKeySource | None = None


class IdentityPart(IdentitySource):
    """One identity; `required` refuses requests that lack it."""

    required: bool = False


class IdentityLabel(IdentitySource):
    """A named fact about the request for the access log and cost attribution."""

    name: Name


class Identity(Model):
    """Who is asking: the tenant and user that limits count for, the agent run, and labels for attribution."""

    tenant: IdentityPart | None = None
    user: IdentityPart | None = None
    run: IdentityPart | None = None
    labels: Annotated[tuple[IdentityLabel, ...], by_name(most=16)] = ()


class DataPolicy(Model):
    """Hard filters on candidates: a pool that breaks one may not serve this route."""

    regions: Annotated[tuple[Region, ...], as_set(most=16)] = ()
    """Where requests may be processed; empty means anywhere."""
    allow_retention: bool = True
    """Whether the provider may keep prompts and answers."""
    allow_training: bool = False
    """Whether the provider may train on them."""

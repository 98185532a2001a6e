"""ProviderPool: the endpoints, keys, models and prices of one provider account or one self-hosted service."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from turnout_operator.api import spans
from turnout_operator.api.budget import PoolLimit
from turnout_operator.api.law import demand
from turnout_operator.api.metadata import SHORT_NAME, Resource
from turnout_operator.api.model import Model, Rule, as_set, by_name, exactly_one, listed
from turnout_operator.api.pooled_model import PooledModel
from turnout_operator.api.providerpool_status import ProviderPoolStatus
from turnout_operator.api.references import LocalService, RouteRef, SecretSource
from turnout_operator.api.types import Count, Duration, Name, ObjectName, Owner, Percent, Region, Url, Weight


class Dialect(StrEnum):
    """The provider's wire format."""

    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"
    AZURE_OPENAI = "AzureOpenAI"
    BEDROCK = "Bedrock"
    GEMINI = "Gemini"


_INSECURE_ALLOWED = "(has(self.allowInsecure) && self.allowInsecure)"
_PRIVATE_HOST = (
    "(?i)^https?://("
    "[0-9]+([.][0-9]+){0,2}|0x[0-9a-f.x]+|([0-9]+[.])*0[0-9]+([.][0-9]+)*|"  # addresses in one number, in hex, in octal
    "(0|10|127|169[.]254|192[.]168|172[.](1[6-9]|2[0-9]|3[01])|100[.](6[4-9]|[789][0-9]|1[01][0-9]|12[0-7]))[.][0-9.]+|"
    "[^a-zA-Z0-9].*|"  # IPv6 literals: no provider is known by one
    "[^./:]+|"  # a single label: a Service of the same namespace
    "[^/:]+[.](local|localhost|internal|svc|lan)"
    ")[.]?(:[0-9]+)?(/|$)"
)
"""Hosts that a public provider never has; RE2, read by the apiserver and by `turnout check`. Names that resolve to such an address are
not seen here."""


class Endpoint(Model):
    """Where the provider listens: exactly one of `url` and `serviceRef`."""

    cel_rules = (
        exactly_one("url", "serviceRef"),
        Rule(
            cel=f"!has(self.url) || {_INSECURE_ALLOWED} || self.url.startsWith('https://')",
            message="the url is not https, so the key and the prompts travel in the clear: write https, or allowInsecure: true",
            at=".url",
        ),
        Rule(
            cel=f"!has(self.url) || {_INSECURE_ALLOWED} || !self.url.matches('{_PRIVATE_HOST}')",
            message=(
                "the url points into a private network: use serviceRef for a Service of the cluster, "
                "or write allowInsecure: true"
            ),
            at=".url",
        ),
    )
    name: Name
    url: Url | None = None
    """https and public unless `allowInsecure` stands beside it."""
    service_ref: LocalService | None = None
    region: Region | None = None
    weight: Weight = 1
    allow_insecure: bool = False
    """Allows http and private addresses for this endpoint."""


class PoolBudget(Model):
    """What all routes together may spend at this pool."""

    limits: Annotated[tuple[PoolLimit, ...], by_name(most=16)] = ()


class Reservation(Model):
    """A share of the pool's capacity that is kept for one route."""

    route_ref: RouteRef
    percent: Percent


class Saturation(Model):
    """When to warn that the provider's quota will not last."""

    warn_percent: Percent = 80
    lead_time: Duration | None = None


class PoolCapacity(Model):
    """How the provider's quota is divided."""

    cel_rules = (
        Rule(
            cel=(
                "!has(self.reserved) || self.reserved.all(r, self.reserved.filter(o, "
                "o.routeRef.name == r.routeRef.name && "
                "(has(o.routeRef.__namespace__) ? o.routeRef.__namespace__ : '') == "
                "(has(r.routeRef.__namespace__) ? r.routeRef.__namespace__ : '')).size() == 1)"
            ),
            message="two reservations for one route: write one",
            at=".reserved",
        ),
    )
    reserved: Annotated[tuple[Reservation, ...], listed(most=32)] = ()
    saturation: Saturation | None = None


class Health(Model):
    """The breaker of each model of this pool: open means that traffic is stopped."""

    cel_rules = (
        spans.positive("openFor"),
        Rule(
            cel=spans.compared_with_defaults(
                "self.openFor", "<=", "self.maxOpenFor", defaults={"self.openFor": "30s", "self.maxOpenFor": "5m"}
            ),
            message="openFor (30s unless written) is above maxOpenFor (5m unless written): write openFor <= maxOpenFor",
            at=".openFor",
        ),
    )
    consecutive_failures: Count = 5
    open_for: Duration = Duration("30s")
    half_open_probes: Count = 1
    max_open_for: Duration = Duration("5m")


class Retention(StrEnum):
    """What the provider keeps of prompts and answers."""

    NONE = "None"
    ABUSE_MONITORING = "AbuseMonitoring"
    KEPT = "Kept"


class PoolDataPolicy(Model):
    """What the provider does with data; routes filter on it."""

    regions: Annotated[tuple[Region, ...], as_set(most=16)] = ()
    retention: Retention = Retention.KEPT
    training: bool = True


class OnAbort(StrEnum):
    """What the provider bills when a stream is cut."""

    STOPS = "Stops"
    CONTINUES = "Continues"


class NamespacesFrom(StrEnum):
    """Whose routes may use the pool."""

    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


LabelText = Annotated[str, Field(max_length=63)]
LabelKey = Annotated[str, Field(max_length=317)]


class LabelOperator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(Model):
    """One comparison of a label selector."""

    cel_rules = (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            message="In and NotIn need values, Exists and DoesNotExist have none",
            at=".values",
        ),
    )
    key: LabelKey
    operator: LabelOperator
    values: Annotated[tuple[LabelText, ...], as_set(most=16)] = ()


class LabelSelector(Model):
    """Namespaces by their labels; all parts must hold."""

    match_labels: Annotated[dict[LabelKey, LabelText], Field(max_length=16, default_factory=dict)]
    match_expressions: Annotated[tuple[LabelRequirement, ...], listed(most=8)] = ()


class AllowedNamespaces(Model):
    """The grant of the pool's owner."""

    cel_rules = (
        Rule(
            cel="(has(self.from) && self.from == 'Selector') == has(self.selector)",
            message="a selector and from: Selector go together: write both, or neither",
            at=".selector",
        ),
    )
    from_: Annotated[NamespacesFrom, Field(alias="from")] = NamespacesFrom.SAME
    selector: LabelSelector | None = None


class ScaleTargetRef(Model):
    """The workload that serves the model."""

    api_version: Annotated[str, Field(strict=True, min_length=1, max_length=128)]
    kind: Annotated[str, Field(strict=True, min_length=1, max_length=63)]
    name: ObjectName


class Autoscaling(Model):
    """Self-hosted only: becomes a HorizontalPodAutoscaler."""

    cel_rules = (
        Rule(
            cel="!has(self.minReplicas) || self.minReplicas <= self.maxReplicas",
            message="minReplicas is above maxReplicas",
            at=".minReplicas",
        ),
    )
    scale_target_ref: ScaleTargetRef
    min_replicas: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    max_replicas: Annotated[int, Field(strict=True, ge=1, le=1000)]
    in_flight_per_replica: Count
    """In flight plus queued, as an AverageValue."""
    startup: Duration | None = None
    """How long a new replica takes to serve."""


class ProviderPoolSpec(Model):
    """What can be asked here, at what price, and by whom."""

    cel_rules = (
        demand(
            ".owner", "has(self.owner)", "no owner: write who answers for this pool, for example owner: team-platform"
        ),
        demand(
            ".endpoints",
            "has(self.endpoints) && size(self.endpoints) > 0",
            'no endpoints: write at least one, for example {name: eu, url: "https://eu.api.openai.com/v1"}',
        ),
        demand(
            ".models",
            "has(self.models) && size(self.models) > 0",
            "no models: write at least one with its price, "
            'for example {name: gpt-5-mini, pricing: {input: "0.25", output: "2.00"}}',
        ),
    )
    owner: Owner | None = None
    dialect: Dialect = Dialect.OPENAI
    endpoints: Annotated[tuple[Endpoint, ...], by_name(most=16)] = ()
    credentials: SecretSource | None = None
    """The key, put on by Envoy from the Secret; without it requests carry none."""
    models: Annotated[tuple[PooledModel, ...], by_name(most=64)] = ()
    budget: PoolBudget = PoolBudget()
    capacity: PoolCapacity | None = None
    health: Health = Health()
    data_policy: PoolDataPolicy = PoolDataPolicy()
    abort: OnAbort = OnAbort.CONTINUES
    """Continues unless it is written: then a cut stream is charged in full."""
    allowed_namespaces: AllowedNamespaces = AllowedNamespaces()
    autoscaling: Autoscaling | None = None


class ProviderPool(Resource):
    """A pool and what became of it."""

    cel_rules = (SHORT_NAME,)
    kind: Literal["ProviderPool"] = "ProviderPool"
    spec: ProviderPoolSpec
    status: ProviderPoolStatus = ProviderPoolStatus()

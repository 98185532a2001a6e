"""What the compiler promises, for the renderers: the sidecar's policy and every fact beside it that becomes an object or a status.

Frozen values in integer units (milliseconds, nano-USD), built only by `compiler`; msgspec keeps them as JSON between two lives of the
operator, because the last accepted generation stays in service across a restart.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from turnout_operator.clusters import Destination, SecretKey
from turnout_sidecar.policy import model as policy
from turnout_sidecar.policy.units import Millis, NanoUSD


class Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all values here."""


class Window(StrEnum):
    """The calendar span after which an account starts anew."""

    MINUTE = "Minute"
    HOUR = "Hour"
    DAY = "Day"
    MONTH = "Month"


class Override(Fact, frozen=True):
    """Another amount for one subject."""

    subject: str
    amount: NanoUSD


class QuotaLimit(Fact, frozen=True):
    """One cost limit as the ledger keeps it. An account is ``<account>/<subject>``, subject ``-`` where the scope has none."""

    account: str
    """``<namespace>/<route:NAME | share:NAME | pool:NAME>/<limit name>``: what `policy.Limit.account` holds."""
    name: str
    scope: policy.Scope
    amount: NanoUSD
    window: Window
    time_zone: str
    """IANA name; windows begin at its midnight (Minute and Hour: at its full minute or hour)."""
    overrides: tuple[Override, ...] = ()
    """Sorted by subject."""

    def amount_of(self, subject: str) -> NanoUSD:
        """The limit of one subject."""
        return next((o.amount for o in self.overrides if o.subject == subject), self.amount)


class WorstCase(Fact, frozen=True):
    """The most one request can take over retries, fallbacks and repairs, clamping not counted."""

    attempts: int
    cost: NanoUSD
    latency: Millis
    dearest: str
    """The candidate whose attempt costs most."""
    dearest_attempt: NanoUSD


class NotEnforced(Fact, frozen=True):
    """A declared convenience that nothing acts on yet, and the version that will."""

    field: str
    since: str


class DataPolicy(Fact, frozen=True):
    """What a pool must promise to serve the route."""

    regions: tuple[str, ...]
    allow_retention: bool
    allow_training: bool


class TimeSpan(Fact, frozen=True):
    """From a wall-clock time without an offset, read in `time_zone`, for a duration."""

    start: str
    duration: Millis
    time_zone: str


class DrillFacts(Fact, frozen=True):
    """When a route is rehearsed and what each rehearsal may do; what must be seen follows from `policy.degradation`."""

    schedule: str
    time_zone: str
    faults: tuple[str, ...]
    fault_duration: Millis
    max_cost: NanoUSD
    max_age: Millis
    allowed_windows: tuple[TimeSpan, ...]
    exclusion_windows: tuple[TimeSpan, ...]
    starting_deadline: Millis
    keep_successful: int
    keep_failed: int
    suspend: bool


class CompiledRoute(Fact, frozen=True):
    """One accepted generation of one route."""

    policy: policy.Route
    worst_case: WorstCase
    quota: tuple[QuotaLimit, ...]
    data_policy: DataPolicy
    drills: DrillFacts
    not_enforced: tuple[NotEnforced, ...] = ()

    @property
    def key(self) -> str:
        """``namespace/name``"""
        return self.policy.key

    @property
    def namespace(self) -> str:
        """Whose sidecars run it."""
        return self.policy.origin.namespace

    @property
    def generation(self) -> int:
        """The generation in service; an object that was edited since may have a newer one."""
        return self.policy.origin.generation

    @property
    def pools(self) -> tuple[str, ...]:
        """Keys of the pools it uses, sorted."""
        return tuple(sorted({candidate.pool for candidate in self.policy.candidates}))


class ScalingFacts(Fact, frozen=True):
    """What becomes a HorizontalPodAutoscaler in the pool's namespace."""

    api_version: str
    kind: str
    name: str
    min_replicas: int
    max_replicas: int
    in_flight_per_replica: int
    startup: Millis


class GrantFrom(StrEnum):
    """Whose routes may use a pool."""

    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


class Requirement(Fact, frozen=True):
    """One comparison of a namespace's labels: In | NotIn | Exists | DoesNotExist."""

    key: str
    operator: str
    values: tuple[str, ...]


class Grant(Fact, frozen=True):
    """What the pool's owner allows; `requirements` count for `Selector` only, and all must hold."""

    allowed: GrantFrom
    requirements: tuple[Requirement, ...] = ()


class Approval(Fact, frozen=True):
    """The risk classes one model may serve."""

    model: str
    risks: tuple[policy.Risk, ...]


class Unusable(Fact, frozen=True):
    """A declared model that no route can be accepted with, and why."""

    model: str
    reason: str
    words: str


class PoolData(Fact, frozen=True):
    """What the provider does with prompts and answers."""

    regions: tuple[str, ...]
    """Where it processes them, endpoints' regions included; empty when nothing is stated."""
    retains: bool
    trains: bool


class CompiledPool(Fact, frozen=True):
    """One accepted generation of one pool; its owner's grant, approvals and statements are always the current ones."""

    policy: policy.Pool
    destinations: tuple[Destination, ...]
    """One for each `policy.endpoints`, in the same order."""
    quota: tuple[QuotaLimit, ...]
    scaling: ScalingFacts | None
    grant: Grant = Grant(allowed=GrantFrom.SAME)
    approvals: tuple[Approval, ...] = ()
    data: PoolData = PoolData(regions=(), retains=True, trains=True)
    unusable: tuple[Unusable, ...] = ()
    uid: str = ""
    """Of the ProviderPool, for owner references."""
    not_enforced: tuple[NotEnforced, ...] = ()

    @property
    def key(self) -> str:
        """``namespace/name``"""
        return self.policy.key

    @property
    def generation(self) -> int:
        """The generation in service."""
        return self.policy.origin.generation

    @property
    def secrets(self) -> tuple[SecretKey, ...]:
        """The Secret keys Envoy needs to reach it, sorted."""
        return tuple(sorted({d.credential.secret for d in self.destinations if d.credential is not None}))


class Accepted(Fact, frozen=True):
    """The last accepted generation of everything: what stays in service when an edit is refused. Kept between lives as JSON."""

    routes: tuple[CompiledRoute, ...] = ()
    pools: tuple[CompiledPool, ...] = ()

    def route(self, key: str) -> CompiledRoute | None:
        """The route of that key."""
        return next((r for r in self.routes if r.key == key), None)

    def pool(self, key: str) -> CompiledPool | None:
        """The pool of that key."""
        return next((p for p in self.pools if p.key == key), None)


def encode_accepted(accepted: Accepted) -> bytes:
    """Byte-stable JSON."""
    return msgspec.json.encode(accepted, order="deterministic")


def decode_accepted(document: bytes) -> Accepted:
    """What `encode_accepted` wrote. Raises `msgspec.MsgspecError` where another version wrote something else."""
    return msgspec.json.decode(document, type=Accepted)


class Condition(StrEnum):
    """The condition of an object that a diagnostic makes False."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    AUTOSCALING_READY = "AutoscalingReady"


class Diagnostic(Fact, frozen=True):
    """One fault of one object: where it stands, what was found with its numbers, and what would be right."""

    kind: str
    namespace: str
    name: str
    generation: int
    condition: Condition
    reason: str
    """CamelCase, of the closed lists in `api.conditions`."""
    field: str
    """Such as ``spec.budget.limits[0].cost``; empty for the object as a whole."""
    message: str

    @property
    def key(self) -> str:
        """``namespace/name``"""
        return f"{self.namespace}/{self.name}"

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"{self.kind} {self.key} {where}{self.message} ({self.reason})"


class Service(StrEnum):
    """What runs of an object."""

    CURRENT = "Current"
    """The generation that was looked at."""
    LAST_GOOD = "LastGood"
    """An earlier generation: this one was refused."""
    STOPPED = "Stopped"
    """Nothing: something it needs was taken away."""
    REFUSED = "Refused"
    """Nothing: no generation of it was ever accepted."""


class Outcome(Fact, frozen=True):
    """What became of one object."""

    kind: str
    namespace: str
    name: str
    generation: int
    """The generation that was looked at."""
    served: int | None
    """The generation in service."""
    service: Service

    @property
    def key(self) -> str:
        """``namespace/name``"""
        return f"{self.namespace}/{self.name}"


class Compilation(Fact, frozen=True):
    """Everything that is in service now, and every fault of every object; sorted, so equal input gives equal bytes."""

    routes: tuple[CompiledRoute, ...]
    pools: tuple[CompiledPool, ...]
    diagnostics: tuple[Diagnostic, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def accepted(self) -> Accepted:
        """What the next compilation gets as its last accepted state."""
        return Accepted(routes=self.routes, pools=self.pools)

    def routes_of(self, namespace: str) -> tuple[CompiledRoute, ...]:
        """What the sidecars of that namespace run."""
        return tuple(r for r in self.routes if r.namespace == namespace)

    def pools_of(self, namespace: str) -> tuple[CompiledPool, ...]:
        """The pools that the sidecars of that namespace may see: those its routes use."""
        used = {key for route in self.routes_of(namespace) for key in route.pools}
        return tuple(p for p in self.pools if p.key in used)

    def faults_of(self, kind: str, key: str) -> tuple[Diagnostic, ...]:
        """The diagnostics of one object."""
        return tuple(d for d in self.diagnostics if d.kind == kind and d.key == key)

    def outcome_of(self, kind: str, key: str) -> Outcome | None:
        """What became of one object."""
        return next((o for o in self.outcomes if o.kind == kind and o.key == key), None)

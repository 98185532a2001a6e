"""The condition types and the closed list of their reasons: what tools match on and the reference documents."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from turnout_operator.api.model import Observed
from turnout_operator.api.types import Time


class ConditionType(StrEnum):
    """Every condition any kind may carry."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    PROGRAMMED = "Programmed"
    REHEARSED = "Rehearsed"
    DEGRADATION_ACTIVE = "DegradationActive"
    AUTOSCALING_READY = "AutoscalingReady"
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    PAUSED = "Paused"
    COMPLETE = "Complete"
    FAILED = "Failed"


class ConditionStatus(StrEnum):
    """The three values Kubernetes gives a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class AcceptedReason(StrEnum):
    """Whether the object can be kept as a promise, looked at with everything it refers to."""

    ACCEPTED = "Accepted"
    INVALID = "Invalid"
    """A field is wrong in a way that CEL in the CRD cannot see, such as a cron line, a zone or an expression."""
    NOT_ENFORCEABLE = "NotEnforceable"
    """A bound is declared that this version does not enforce."""
    CONFLICTED = "Conflicted"
    """An older route claims the same requests at the same attachment."""
    UNKNOWN_PRICE = "UnknownPrice"
    UNKNOWN_TOKENIZER = "UnknownTokenizer"
    WORST_CASE_EXCEEDS_LIMIT = "WorstCaseExceedsLimit"
    DEADLINES_DO_NOT_FIT = "DeadlinesDoNotFit"
    TARGETS_OUT_OF_ORDER = "TargetsOutOfOrder"
    TOKENS_DO_NOT_FIT = "TokensDoNotFit"
    """A candidate's context window or output limit cannot hold the token budget."""
    UNREACHABLE_RULE = "UnreachableRule"
    NOT_APPROVED = "NotApproved"
    """A candidate's model is not approved for the route's risk class."""
    DATA_POLICY = "DataPolicy"
    """A candidate's pool breaks the route's data policy."""
    UNSUPPORTED_API = "UnsupportedApi"
    INSECURE_ENDPOINT = "InsecureEndpoint"
    NOT_REHEARSABLE = "NotRehearsable"
    """A drill names a fault whose path the route does not declare, or a candidate it does not have."""


class ResolvedRefsReason(StrEnum):
    """Whether everything the object names is there and may be used."""

    RESOLVED_REFS = "ResolvedRefs"
    POOL_NOT_FOUND = "PoolNotFound"
    MODEL_NOT_FOUND = "ModelNotFound"
    SECRET_NOT_FOUND = "SecretNotFound"
    SECRET_KEY_NOT_FOUND = "SecretKeyNotFound"
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
    SERVICE_NOT_FOUND = "ServiceNotFound"
    ROUTE_NOT_FOUND = "RouteNotFound"
    NOT_ALLOWED = "NotAllowed"
    """The pool does not allow this route's namespace."""
    POOL_NOT_ACCEPTED = "PoolNotAccepted"


class ProgrammedReason(StrEnum):
    """Whether every connected sidecar runs this generation, by its own ACK."""

    PROGRAMMED = "Programmed"
    NO_SIDECARS = "NoSidecars"
    PENDING = "Pending"
    REJECTED = "Rejected"
    """A sidecar refused the policy; the message holds its words."""
    NOT_ACCEPTED = "NotAccepted"
    LAST_GOOD = "LastGood"
    """The last accepted generation stays in service, this one does not run."""
    CLUSTERS_NOT_READY = "ClustersNotReady"


class RehearsedReason(StrEnum):
    """Whether every declared degradation path was proved recently enough."""

    REHEARSED = "Rehearsed"
    NEVER = "NeverRehearsed"
    TOO_OLD = "TooOld"
    DRILL_FAILED = "DrillFailed"
    SUSPENDED = "Suspended"
    PENDING = "Pending"


class DegradationReason(StrEnum):
    """Whether requests are being served by a degradation path now."""

    INACTIVE = "Inactive"
    ACTIVE = "Active"
    UNKNOWN = "Unknown"


class AutoscalingReason(StrEnum):
    """The state of a self-hosted pool's HorizontalPodAutoscaler."""

    NOT_REQUESTED = "NotRequested"
    READY = "AutoscalerReady"
    PENDING = "Pending"
    TARGET_NOT_FOUND = "TargetNotFound"
    TARGET_OWNED = "TargetOwnedByAnother"
    UNABLE_TO_SCALE = "UnableToScale"


class ReadyReason(StrEnum):
    """The first reason that Accepted, ResolvedRefs or Programmed gave when one of them is not True, else Ready."""

    READY = "Ready"
    NOT_ACCEPTED = "NotAccepted"
    REFS_NOT_RESOLVED = "RefsNotResolved"
    NOT_PROGRAMMED = "NotProgrammed"
    PENDING = "Pending"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    PAUSED = "Paused"


class DrillReason(StrEnum):
    """Why a drill stands where it stands, or how it ended."""

    PENDING = "Pending"
    RUNNING = "Running"
    PASSED = "Passed"
    PATH_DIFFERS = "PathDiffers"
    """The observed path is not the one the route declares."""
    TOO_FEW_SAMPLES = "TooFewSamples"
    OPERATOR_RESTARTED = "OperatorRestarted"
    ABORTED_BY_REQUEST = "AbortedByRequest"
    ABORTED_BY_GUARD = "AbortedByGuard"
    ROUTE_NOT_READY = "RouteNotReady"
    ROUTE_NOT_FOUND = "RouteNotFound"
    NO_SIDECARS = "NoSidecars"
    MISSED_START = "MissedStart"
    NOT_RECOVERED = "NotRecovered"
    COST_EXCEEDED = "CostExceeded"
    NOT_SUPPORTED = "NotSupported"
    NOT_REHEARSABLE = "NotRehearsable"
    """No probe would meet the fault where the drill wants it."""
    DEGRADATION_ACTIVE = "DegradationActive"
    """The route is degraded already: an incident is no time for a rehearsal."""
    ANOTHER_DRILL = "AnotherDrill"
    """A drill runs on a pool that this one would touch."""
    OUTSIDE_WINDOW = "OutsideWindow"
    SUSPENDED = "Suspended"
    CONTROL_FAILED = "ControlFailed"
    """Probes without the fault were not answered as the plan says, so the others prove nothing."""
    PREVIEWED = "Previewed"
    INTERNAL_ERROR = "InternalError"


class Condition(Observed):
    """One Kubernetes condition; `lastTransitionTime` moves only when `status` does."""

    type: Annotated[str, Field(max_length=64)]
    status: ConditionStatus
    reason: Annotated[str, Field(max_length=64)] = ""
    message: Annotated[str, Field(max_length=32768)] = ""
    last_transition_time: Time | None = None
    observed_generation: int | None = None


ConditionList = Annotated[
    tuple[Condition, ...],
    Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]
"""The field every status has: a map by type, so that server-side apply merges entry by entry."""

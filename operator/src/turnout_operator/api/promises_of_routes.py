"""What this version does about every field of an LLMRoute's spec."""

from __future__ import annotations

from turnout_operator.api import proofs
from turnout_operator.api.budget import WhenTokensExceeded
from turnout_operator.api.degradation import Step
from turnout_operator.api.enforcement import Bound, ByValue, Convenience, Descriptive, Enforced, Held, Promises
from turnout_operator.api.enums import Api, DrillFault, Enforce, LimitScope
from turnout_operator.api.latency import IdempotencyKey, Jitter
from turnout_operator.api.output import Commit, Rescue

_SPEC: Promises = {
    "owner": Enforced(proof=proofs.LAW),
    "feature": Convenience(),
    "risk": Enforced(proof=proofs.RISK),
    "workload": Enforced(proof=proofs.LAW),
    "attachTo.sidecars": Enforced(proof=proofs.PROGRAMMED_NAMESPACE),
    "attachTo.gateway": Bound(),
    "apis": ByValue(
        marks={
            Api.CHAT_COMPLETIONS: Enforced(proof=proofs.CHAT_COMPLETIONS),
            Api.RESPONSES: Bound(),
            Api.MESSAGES: Bound(),
            Api.EMBEDDINGS: Bound(),
        }
    ),
    "matches": Enforced(proof=proofs.MATCHES),
    "identity.tenant.header": Enforced(proof=proofs.TENANT),
    "identity.tenant.required": Enforced(proof=proofs.IDENTITY_REQUIRED),
    "identity.user.header": Enforced(proof=proofs.ACCESS_LOG),
    "identity.user.required": Enforced(proof=proofs.IDENTITY_REQUIRED),
    "identity.run.header": Enforced(proof=proofs.ACCESS_LOG),
    "identity.run.required": Enforced(proof=proofs.IDENTITY_REQUIRED),
    **{
        f"identity.{part}.{source}": Bound()
        for part in ("tenant", "user", "run")
        for source in ("claim", "serviceAccount", "apiKey")
    },
    "identity.labels": Convenience(),
    "dataPolicy": Enforced(proof=proofs.DATA_POLICY),
    "candidates": Enforced(proof=proofs.CANDIDATES),
    "routing.rules": Enforced(proof=proofs.RULES),
    "routing.default": Enforced(proof=proofs.CANDIDATES),
    "routing.cascade": Bound(),
    "routing.hedge": Bound(),
    "preset": Enforced(proof=proofs.PRESET),
    "load": Descriptive(),
    "batch": Bound(),
    "promptVersion": Convenience(),
    "exceptions": Convenience(),
    "gates": Bound(),
    "alerts": Convenience(),
    "output": Bound(),
    "streaming.commit": ByValue(
        marks={Commit.FIRST_CONTENT: Enforced(proof=proofs.FIRST_CONTENT), Commit.VALIDATED: Bound()}
    ),
    "streaming.rescue": ByValue(
        marks={Rescue.ERROR: Enforced(proof=proofs.RESCUE_ERROR), Rescue.CONTINUE: Bound(), Rescue.REPLAY: Bound()}
    ),
    "concurrency": Bound(),
    "cache.none": Enforced(proof=proofs.LAW),
    "cache.prompt": Convenience(),
    "cache.response": Convenience(),
    "cache.semantic": Convenience(),
    "cache.embedding": Convenience(),
}

_BUDGET: Promises = {
    "tokens.maxInput": Enforced(proof=proofs.MAX_INPUT),
    "tokens.maxOutput": Enforced(proof=proofs.MAX_OUTPUT),
    "tokens.maxContext": Bound(),
    "tokens.maxToolResult": Bound(),
    "tokens.maxConversation": Bound(),
    "tokens.whenExceeded": ByValue(
        marks={WhenTokensExceeded.REJECT: Enforced(proof=proofs.MAX_INPUT), WhenTokensExceeded.TRIM: Bound()}
    ),
    "maxJudgeCalls": Held(why="nothing calls a judge", proof=proofs.NO_OTHER_CALLS),
    "limits[].name": Enforced(proof=proofs.ACCOUNTS),
    "limits[].scope": ByValue(
        marks={
            LimitScope.REQUEST: Enforced(proof=proofs.REQUEST_LIMIT),
            LimitScope.ROUTE: Enforced(proof=proofs.ROUTE_LIMIT),
            LimitScope.TENANT: Enforced(proof=proofs.TENANT_LIMIT),
            LimitScope.USER: Bound(),
            LimitScope.RUN: Bound(),
            LimitScope.POOL: Bound(),
        }
    ),
    "limits[].window": Enforced(proof=proofs.WINDOWS),
    "limits[].timeZone": Enforced(proof=proofs.WINDOWS),
    "limits[].cost": Enforced(proof=proofs.ROUTE_LIMIT),
    "limits[].requests": Bound(),
    "limits[].tokens": Bound(),
    "limits[].share": Enforced(proof=proofs.SHARE),
    "limits[].enforce": ByValue(
        marks={
            Enforce.HARD: Enforced(proof=proofs.ROUTE_LIMIT),
            Enforce.SOFT: Bound(),
            Enforce.SHADOW: Convenience(),
        }
    ),
    "limits[].allowance": Held(why="enforce: Soft is refused, and it stands only there", proof=proofs.NO_SOFT_LIMITS),
    "limits[].overrides[].subjects": Enforced(proof=proofs.OVERRIDES),
    "limits[].overrides[].cost": Enforced(proof=proofs.OVERRIDES),
    "limits[].overrides[].requests": Bound(),
    "limits[].overrides[].tokens": Bound(),
    "limits[].plans": Bound(),
    "maxHoldWait": Enforced(proof=proofs.HOLD_WAIT),
    "maxLeaseWait": Enforced(proof=proofs.LEASE_WAIT),
    "agentRun": Bound(),
}

_LATENCY: Promises = {
    **{
        f"{part}.{percentile}": Convenience()
        for part in ("timeToFirstToken", "total")
        for percentile in ("p50", "p95", "p99")
    },
    "timeToFirstToken.deadline": Enforced(proof=proofs.FIRST_TOKEN_DEADLINE),
    "total.deadline": Enforced(proof=proofs.TOTAL_DEADLINE),
    "stall": Enforced(proof=proofs.STALL),
}

_ATTEMPTS: Promises = {
    "max": Enforced(proof=proofs.MAX_ATTEMPTS),
    "maxPerCandidate": Enforced(proof=proofs.MAX_PER_CANDIDATE),
    "deadline": Enforced(proof=proofs.ATTEMPT_DEADLINE),
    "retryOn": Enforced(proof=proofs.RETRY_ON),
    "backoff.base": Enforced(proof=proofs.BACKOFF),
    "backoff.max": Enforced(proof=proofs.BACKOFF),
    "backoff.jitter": ByValue(marks={Jitter.FULL: Enforced(proof=proofs.BACKOFF), Jitter.NONE: Convenience()}),
    "honorRetryAfter": Enforced(proof=proofs.RETRY_AFTER),
    "retryBudget": Enforced(proof=proofs.RETRY_BUDGET),
    "idempotencyKey": ByValue(marks={key: Enforced(proof=proofs.IDEMPOTENCY_KEY) for key in IdempotencyKey}),
}

_ENFORCED_STEPS = frozenset({"candidate", "respond"})

_DEGRADATION: Promises = {
    "paths[].faults": Enforced(proof=proofs.DEGRADATION),
    **{
        f"paths[].steps[].{field.alias}": Enforced(proof=proofs.DEGRADATION)
        if field.alias in _ENFORCED_STEPS
        else Bound()
        for field in Step.model_fields.values()
    },
}

REHEARSED_FAULTS = (
    DrillFault.UNAVAILABLE,
    DrillFault.RATE_LIMITED,
    DrillFault.TOO_SLOW,
    DrillFault.OVER_BUDGET,
    DrillFault.INVALID_OUTPUT,
)

_DRILLS: Promises = {
    "schedule": Enforced(proof=proofs.DRILL_SCHEDULE),
    "timeZone": Enforced(proof=proofs.DRILL_ZONE),
    "faults": ByValue(
        marks={
            fault: Enforced(proof=proofs.DRILL_FAULTS) if fault in REHEARSED_FAULTS else Bound() for fault in DrillFault
        }
    ),
    "faultDuration": Enforced(proof=proofs.DRILL_DURATION),
    "maxCost": Enforced(proof=proofs.DRILL_COST),
    "maxAge": Enforced(proof=proofs.REHEARSED),
    "live.allowed": ByValue(marks={True: Bound(), False: Enforced(proof=proofs.LIVE_DRILLS)}),
    "live.maxPercent": Held(why="no drill touches real traffic", proof=proofs.LIVE_DRILLS),
    "allowedWindows": Enforced(proof=proofs.DRILL_WINDOWS),
    "exclusionWindows": Enforced(proof=proofs.DRILL_WINDOWS),
    "startingDeadline": Enforced(proof=proofs.DRILL_SCHEDULE),
    "successfulDrillsHistoryLimit": Enforced(proof=proofs.DRILL_HISTORY),
    "failedDrillsHistoryLimit": Enforced(proof=proofs.DRILL_HISTORY),
    "suspend": Enforced(proof=proofs.DRILL_SUSPEND),
}


def _below(parent: str, promises: Promises) -> Promises:
    return {f"{parent}.{path}": mark for path, mark in promises.items()}


ROUTE_PROMISES: Promises = {
    **_below("spec", _SPEC),
    **_below("spec.budget", _BUDGET),
    **_below("spec.latency", _LATENCY),
    **_below("spec.attempts", _ATTEMPTS),
    **_below("spec.degradation", _DEGRADATION),
    **_below("spec.drills", _DRILLS),
}

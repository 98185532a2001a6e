"""What this version does about every field of a ProviderPool's spec."""

from __future__ import annotations

from turnout_operator.api import proofs
from turnout_operator.api.enforcement import Bound, ByValue, Convenience, Descriptive, Enforced, Held, Promises
from turnout_operator.api.enums import Enforce
from turnout_operator.api.pooled_model import Tokenizer
from turnout_operator.api.providerpool import Dialect

POOL_PROMISES: Promises = {
    "spec.owner": Enforced(proof=proofs.POOL_OWNER),
    "spec.dialect": ByValue(
        marks={
            Dialect.OPENAI: Enforced(proof=proofs.CHAT_COMPLETIONS),
            Dialect.ANTHROPIC: Enforced(proof=proofs.ANTHROPIC),
            Dialect.AZURE_OPENAI: Bound(),
            Dialect.BEDROCK: Bound(),
            Dialect.GEMINI: Bound(),
        }
    ),
    "spec.endpoints[].name": Enforced(proof=proofs.ENDPOINTS),
    "spec.endpoints[].url": Enforced(proof=proofs.ENDPOINTS),
    "spec.endpoints[].serviceRef": Enforced(proof=proofs.ENDPOINTS),
    "spec.endpoints[].weight": Enforced(proof=proofs.WEIGHTS),
    "spec.endpoints[].region": Enforced(proof=proofs.DATA_POLICY),
    "spec.endpoints[].allowInsecure": Enforced(proof=proofs.INSECURE),
    "spec.credentials": Enforced(proof=proofs.CREDENTIALS),
    "spec.models[].name": Enforced(proof=proofs.CANDIDATES),
    "spec.models[].class": Descriptive(),
    "spec.models[].contextWindow": Enforced(proof=proofs.CONTEXT_WINDOW),
    "spec.models[].maxOutputTokens": Enforced(proof=proofs.CONTEXT_WINDOW),
    # Bytes bound every tokenizer from above, so a named one only makes bounds tighter.
    "spec.models[].tokenizer": ByValue(
        marks={
            Tokenizer.BYTES: Enforced(proof=proofs.MAX_INPUT),
            Tokenizer.O200K_BASE: Convenience(),
            Tokenizer.CL100K_BASE: Convenience(),
        }
    ),
    "spec.models[].capabilities": Convenience(),
    "spec.models[].approvedFor": Enforced(proof=proofs.RISK),
    "spec.models[].pricing.input": Enforced(proof=proofs.PRICES),
    "spec.models[].pricing.output": Enforced(proof=proofs.PRICES),
    "spec.models[].pricing.cachedInput": Enforced(proof=proofs.PRICES),
    "spec.models[].pricing.cacheWrite5m": Enforced(proof=proofs.PRICES),
    "spec.models[].pricing.cacheWrite1h": Enforced(proof=proofs.PRICES),
    "spec.models[].pricing.batchPercent": Held(why="nothing is sent as a batch", proof=proofs.NO_BATCHES),
    # A price that is not charged would let an account be exceeded, so these keep a pool from being accepted.
    "spec.models[].pricing.tiers": Bound(),
    "spec.models[].pricing.image": Held(why="requests with images are refused", proof=proofs.NOTHING_UNPRICED),
    "spec.models[].pricing.toolUse": Held(
        why="requests for server-side tools are refused", proof=proofs.NOTHING_UNPRICED
    ),
    "spec.models[].pricing.perHour": Convenience(),
    "spec.models[].capacity": Convenience(),
    "spec.budget.limits[].name": Enforced(proof=proofs.ACCOUNTS),
    "spec.budget.limits[].scope": Enforced(proof=proofs.POOL_LIMIT),
    "spec.budget.limits[].window": Enforced(proof=proofs.WINDOWS),
    "spec.budget.limits[].timeZone": Enforced(proof=proofs.WINDOWS),
    "spec.budget.limits[].cost": Enforced(proof=proofs.POOL_LIMIT),
    "spec.budget.limits[].requests": Bound(),
    "spec.budget.limits[].tokens": Bound(),
    "spec.budget.limits[].enforce": ByValue(
        marks={
            Enforce.HARD: Enforced(proof=proofs.POOL_LIMIT),
            Enforce.SOFT: Bound(),
            Enforce.SHADOW: Convenience(),
        }
    ),
    "spec.budget.limits[].allowance": Held(
        why="enforce: Soft is refused, and it stands only there", proof=proofs.NO_SOFT_LIMITS
    ),
    "spec.capacity": Convenience(),
    "spec.health": Enforced(proof=proofs.BREAKER),
    "spec.dataPolicy": Enforced(proof=proofs.DATA_POLICY),
    "spec.abort": Enforced(proof=proofs.ABORT),
    "spec.allowedNamespaces": Enforced(proof=proofs.ALLOWED_NAMESPACES),
    "spec.autoscaling.scaleTargetRef": Enforced(proof=proofs.AUTOSCALING),
    "spec.autoscaling.minReplicas": Enforced(proof=proofs.AUTOSCALING),
    "spec.autoscaling.maxReplicas": Enforced(proof=proofs.AUTOSCALING),
    "spec.autoscaling.inFlightPerReplica": Enforced(proof=proofs.AUTOSCALING),
    "spec.autoscaling.startup": Enforced(proof=proofs.AUTOSCALING),
}

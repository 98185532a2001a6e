"""The cache decision: entries, or `none` with a reason."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from turnout_operator.api.model import Model, Rule, as_set
from turnout_operator.api.types import Decimal, Duration, Percent, Text, TokenCount


class CacheScope(StrEnum):
    """Who may be answered from an entry."""

    USER = "User"
    TENANT = "Tenant"
    NAMESPACE = "Namespace"


class StablePrefix(StrEnum):
    """The part of the prompt that is marked for the provider's prompt cache."""

    SYSTEM = "System"
    SYSTEM_AND_TOOLS = "SystemAndTools"


class Invalidation(StrEnum):
    """A change that makes entries stale."""

    SOURCE_VERSION = "SourceVersion"
    INDEX_VERSION = "IndexVersion"
    ACCESS_LIST = "AccessList"
    ROLE = "Role"
    PROMPT_VERSION = "PromptVersion"
    MODEL_VERSION = "ModelVersion"
    TOOL_VERSION = "ToolVersion"
    CASE_STATUS = "CaseStatus"
    POLICY_VERSION = "PolicyVersion"


class NoCache(Model):
    """Nothing is cached, and why."""

    reason: Text


class PromptCache(Model):
    """Marks a stable prefix for the provider's own cache."""

    stable_prefix: StablePrefix
    min_tokens: TokenCount | None = None
    ttl: Duration | None = None
    target_hit_percent: Percent | None = None


class ResponseCache(Model):
    """Answers equal requests from memory."""

    scope: CacheScope
    ttl: Duration
    max_temperature: Decimal | None = None
    max_stale: Duration | None = None
    invalidate_on: Annotated[tuple[Invalidation, ...], as_set(most=9)] = ()


class SemanticCache(Model):
    """Answers similar requests from memory, within a budget of false hits."""

    scope: CacheScope
    ttl: Duration
    threshold: Decimal
    max_false_hit_percent: Decimal
    audit_percent: Percent


class EmbeddingCache(Model):
    """Answers equal inputs of the embeddings endpoint from memory."""

    scope: CacheScope
    ttl: Duration


class Cache(Model):
    """A decision is required: at least one entry, or `none`."""

    cel_rules = (
        Rule(
            cel="has(self.none) != (has(self.prompt) || has(self.response) || has(self.semantic) || has(self.embedding))",
            message="a cache decision is what is cached, or none with a reason: write entries, or none, not both and not neither",
        ),
    )
    none: NoCache | None = None
    prompt: PromptCache | None = None
    response: ResponseCache | None = None
    semantic: SemanticCache | None = None
    embedding: EmbeddingCache | None = None

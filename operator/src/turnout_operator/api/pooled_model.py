"""One model of a pool: what it can do, what it costs, for what it is approved."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from turnout_operator.api.enums import Risk
from turnout_operator.api.model import Blame, Model, Rule, as_set, by_name, listed
from turnout_operator.api.types import ModelName, Name, Percent, Price, TokenCount, TokenRate


class ModelClass(StrEnum):
    """A model's weight class."""

    SMALL = "Small"
    MEDIUM = "Medium"
    FRONTIER = "Frontier"
    EMBEDDING = "Embedding"


class Tokenizer(StrEnum):
    """How input is bounded: `Bytes` is the provable bound max(UTF-8 bytes, NFKC bytes)."""

    BYTES = "Bytes"
    O200K_BASE = "o200k_base"
    CL100K_BASE = "cl100k_base"


class Capability(StrEnum):
    """Something that not every model can do."""

    STREAMING = "Streaming"
    TOOLS = "Tools"
    JSON_SCHEMA = "JSONSchema"
    VISION = "Vision"
    PROMPT_CACHE = "PromptCache"
    PREFILL = "Prefill"
    BATCH = "Batch"
    LOGPROBS = "Logprobs"


class PriceTier(Model):
    """Other prices above a number of input tokens."""

    above_input: TokenCount
    input: Price | None = None
    output: Price | None = None
    cached_input: Price | None = None


class ToolPrice(Model):
    """The price of one call of a server-side tool, in US dollars."""

    name: Name
    per_call: Price


class Pricing(Model):
    """US dollars per million tokens, as providers print them; `image` is per image, `perHour` per replica and hour."""

    input: Price | None = None
    output: Price | None = None
    cached_input: Price | None = None
    """`input` unless it is written."""
    cache_write5m: Annotated[Price | None, Field(alias="cacheWrite5m")] = None
    cache_write1h: Annotated[Price | None, Field(alias="cacheWrite1h")] = None
    batch_percent: Percent | None = None
    """The share of the price that batches pay."""
    tiers: Annotated[tuple[PriceTier, ...], listed(most=8)] = ()
    image: Price | None = None
    tool_use: Annotated[tuple[ToolPrice, ...], by_name(most=16)] = ()
    per_hour: Price | None = None


class ModelCapacity(Model):
    """The provider's quota for this model; 0 means that none is stated."""

    requests_per_minute: TokenRate | None = None
    tokens_per_minute: TokenRate | None = None
    input_tokens_per_minute: TokenRate | None = None
    output_tokens_per_minute: TokenRate | None = None
    max_concurrency: TokenRate | None = None


class PooledModel(Model):
    """A model under the name that the provider knows it by."""

    cel_rules = (
        Rule(
            cel=(
                "!has(self.contextWindow) || !has(self.maxOutputTokens) || self.maxOutputTokens <= self.contextWindow"
            ),
            message="maxOutputTokens is above contextWindow: the output is a part of the context",
            at=".maxOutputTokens",
        ),
        Rule(
            cel="!has(self.pricing) || has(self.pricing.input)",
            message='a price list without the price of input: write pricing.input, "0" where it is free',
            at=".pricing.input",
            blame=Blame.REQUIRED,
        ),
        Rule(
            cel="!has(self.pricing) || has(self.pricing.output) || (has(self.class) && self.class == 'Embedding')",
            message='a price list without the price of output: write pricing.output, "0" where it is free',
            at=".pricing.output",
            blame=Blame.REQUIRED,
        ),
    )
    name: ModelName
    class_: Annotated[ModelClass | None, Field(alias="class")] = None
    context_window: TokenCount | None = None
    max_output_tokens: TokenCount | None = None
    tokenizer: Tokenizer = Tokenizer.BYTES
    capabilities: Annotated[tuple[Capability, ...], as_set(most=8)] = ()
    approved_for: Annotated[tuple[Risk, ...], as_set(most=3)] = (Risk.LOW, Risk.STANDARD)
    """Risk classes this model may serve, decided by the pool's owner."""
    pricing: Pricing | None = None
    """Without a price no route is accepted that could reach this model."""
    capacity: ModelCapacity | None = None

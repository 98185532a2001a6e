"""Every error that Turnout itself can answer with: a closed list, each with status, type and whether asking again can help.

The SDKs of both vendors obey `x-should-retry` before anything else (measured); without it a 429 costs three attempts of
the client's, and one of them sleeps a `retry-after` of any length. So it stands on every refusal.
"""

from enum import StrEnum
from typing import NamedTuple

from turnout_sidecar.core.budget import Shortfall, ShortfallKind
from turnout_sidecar.messages import ClientError, ProviderError, Refusal, RequestFault
from turnout_sidecar.policy.model import FaultClass, RespondStep
from turnout_sidecar.policy.units import Millis


class Code(StrEnum):
    UNKNOWN_URL = "unknown_url"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    MODEL_NOT_FOUND = "model_not_found"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    IDENTITY_REQUIRED = "identity_required"
    IDENTITY_INVALID = "identity_invalid"
    BUDGET_EXHAUSTED = "budget_exhausted"
    BUDGET_HELD = "budget_held"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    UPSTREAM_RATE_LIMITED = "upstream_rate_limited"
    UPSTREAM_TOO_SLOW = "upstream_too_slow"
    UPSTREAM_INVALID_OUTPUT = "upstream_invalid_output"
    PROVIDER_REFUSED = "provider_refused"
    INTERNAL_ERROR = "internal_error"


class _Shape(NamedTuple):
    status: int
    type: str
    should_retry: bool = False


_INVALID = "invalid_request_error"
_SHAPES: dict[str, _Shape] = {
    **{fault: _Shape(400, _INVALID) for fault in RequestFault},
    Code.UNKNOWN_URL: _Shape(404, _INVALID),
    Code.METHOD_NOT_ALLOWED: _Shape(405, _INVALID),
    Code.MODEL_NOT_FOUND: _Shape(404, _INVALID),
    Code.CONTEXT_LENGTH_EXCEEDED: _Shape(400, _INVALID),
    Code.IDENTITY_REQUIRED: _Shape(401, "authentication_error"),
    Code.IDENTITY_INVALID: _Shape(400, _INVALID),
    Code.BUDGET_EXHAUSTED: _Shape(429, "insufficient_quota"),
    Code.BUDGET_HELD: _Shape(429, "insufficient_quota", should_retry=True),
    Code.UPSTREAM_UNAVAILABLE: _Shape(503, "server_error"),
    Code.UPSTREAM_RATE_LIMITED: _Shape(429, "rate_limit_exceeded"),
    Code.UPSTREAM_TOO_SLOW: _Shape(504, "server_error"),
    Code.UPSTREAM_INVALID_OUTPUT: _Shape(502, "server_error"),
    Code.PROVIDER_REFUSED: _Shape(400, _INVALID),
    Code.INTERNAL_ERROR: _Shape(500, "server_error"),
}

_FAULT_CODES: dict[FaultClass, Code] = {
    FaultClass.UNAVAILABLE: Code.UPSTREAM_UNAVAILABLE,
    FaultClass.RATE_LIMITED: Code.UPSTREAM_RATE_LIMITED,
    FaultClass.TOO_SLOW: Code.UPSTREAM_TOO_SLOW,
    FaultClass.OVER_BUDGET: Code.BUDGET_EXHAUSTED,
    FaultClass.INVALID_OUTPUT: Code.UPSTREAM_INVALID_OUTPUT,
}

_FAULT_WORDS: dict[FaultClass, str] = {
    FaultClass.UNAVAILABLE: "No provider of this route can be reached.",
    FaultClass.RATE_LIMITED: "The providers of this route limit its rate.",
    FaultClass.TOO_SLOW: "No provider of this route answered in time.",
    FaultClass.OVER_BUDGET: "The budget of this route does not allow this request.",
    FaultClass.INVALID_OUTPUT: "No provider of this route gave a valid answer.",
}

HELD_RETRY_AFTER = Millis(1_000)
"""Holds last as long as attempts do, some seconds; leases arrive within one report. A guess between them."""


def refusal(code: Code | RequestFault, message: str, param: str = "", retry_after: Millis | None = None) -> Refusal:
    shape = _SHAPES[code]
    return Refusal(
        status=shape.status,
        code=code,
        type=shape.type,
        message=message,
        param=param,
        should_retry=shape.should_retry,
        retry_after=retry_after,
    )


def of_client(error: ClientError) -> Refusal:
    return refusal(error.fault, error.message, error.param)


def of_budget(shortfall: Shortfall) -> Refusal:
    """`budget_exhausted` is final until the window ends; `budget_held` is worth another try soon."""
    limit = shortfall.account.rsplit("/", 1)[0] if "/" in shortfall.account else shortfall.account
    if shortfall.kind is ShortfallKind.EXHAUSTED:
        words = f"The budget '{limit}' is spent, or what is left of it cannot pay for this request."
        return refusal(Code.BUDGET_EXHAUSTED, words, retry_after=shortfall.retry_after)
    words = (
        f"The budget '{limit}' is held by requests in flight."
        if shortfall.kind is ShortfallKind.HELD
        else f"No part of the budget '{limit}' is leased to this sidecar yet."
    )
    return refusal(Code.BUDGET_HELD, words, retry_after=HELD_RETRY_AFTER)


def of_step(fault: FaultClass, step: RespondStep, shortfall: Shortfall | None) -> Refusal:
    """The declared last word of a degradation path. What the route leaves open, the fault fills in."""
    found = of_budget(shortfall) if shortfall is not None else refusal(_FAULT_CODES[fault], _FAULT_WORDS[fault])
    retry_after = found.retry_after if step.retry_after is None else step.retry_after
    return Refusal(
        status=step.status,
        code=step.code or found.code,
        type=found.type,
        message=step.message or found.message,
        should_retry=found.should_retry or step.retry_after is not None,
        retry_after=retry_after,
    )


def of_provider(status: int, error: ProviderError) -> Refusal:
    """The provider found fault with the request itself, so the client must hear it, but never in the provider's own text."""
    words = ", ".join(f"{name} {word}" for name, word in (("type", error.type), ("code", error.code)) if word)
    message = f"The provider refused the request with status {status}" + (f" ({words})." if words else ".")
    shape = _SHAPES[Code.PROVIDER_REFUSED]
    return Refusal(status=status, code=Code.PROVIDER_REFUSED, type=shape.type, message=message, param=error.param)


def of_broken_stream(fault: FaultClass) -> Refusal:
    """For the error event that ends a stream after its first content."""
    return refusal(_FAULT_CODES[fault], "The stream broke before the answer was whole. What came is not the answer.")


def internal(entry: str) -> Refusal:
    return refusal(Code.INTERNAL_ERROR, f"Turnout failed in {entry}. This is a bug of Turnout's; it has been counted.")

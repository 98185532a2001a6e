"""What OpenAI chat completions look like coming back: the fields that are read, and nothing of the others is lost by it,
because answers between equal dialects travel as bytes."""

import re

import msgspec
from msgspec import Raw, Struct

from turnout_sidecar.messages import Malformed, ProviderError, ProviderErrorKind, Usage
from turnout_sidecar.policy.units import Tokens


class PromptDetails(Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(Struct, gc=False):
    reasoning_tokens: int | None = None


class WireUsage(Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class WireFunction(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class WireToolCall(Struct, gc=False):
    index: int = 0
    id: str | None = None
    function: WireFunction | None = None


class WireText(Struct, gc=False):
    """A message or a delta: both have these."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: list[WireToolCall] | None = None
    reasoning_content: str | None = None
    """what several self-hosted servers call their visible reasoning"""


class WireChoice(Struct, gc=False):
    message: WireText
    finish_reason: str | None = None
    index: int = 0


class WireCompletion(Struct, gc=False):
    choices: list[WireChoice]
    id: str = ""
    model: str = ""
    created: int = 0
    usage: WireUsage | None = None


class WireDelta(Struct, gc=False):
    delta: WireText
    finish_reason: str | None = None
    index: int = 0


class WireChunk(Struct, gc=False):
    choices: list[WireDelta]
    usage: WireUsage | None = None
    error: Raw | None = None


class ChunkName(Struct, gc=False):
    """Read once a stream."""

    id: str = ""
    model: str = ""
    created: int = 0


class _WireError(Struct, gc=False):
    type: str | None = None
    code: str | int | None = None
    param: str | None = None


class _ErrorBody(Struct, gc=False):
    error: _WireError | str


_decode_completion = msgspec.json.Decoder(WireCompletion).decode
_decode_error = msgspec.json.Decoder(_ErrorBody).decode
_SAFE = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}").fullmatch
_SECRETIVE = re.compile(r"^(sk|org|proj|key|acct|user|req)[-_]", re.IGNORECASE).match


def completion(body: bytes) -> WireCompletion:
    """Raises `Malformed`."""
    try:
        wire = _decode_completion(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as e:
        raise Malformed(str(e)) from None
    if not wire.choices:
        raise Malformed("an answer without choices")
    return wire


def error_in(body: bytes) -> ProviderError | None:
    """The error that an answer carries in place of a completion, under whatever status."""
    try:
        wire = _decode_error(body).error
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return _named(_WireError() if isinstance(wire, str) else wire)


def raw_error(body: bytes) -> ProviderError:
    """The error object of an event that has one."""
    return error_in(b'{"error":' + body + b"}") or ProviderError(kind=ProviderErrorKind.SERVER)


def _named(wire: _WireError) -> ProviderError:
    type_, code = safe_word(wire.type), safe_word(wire.code)
    words = {type_, code}
    if words & {"rate_limit_exceeded", "rate_limit_error", "insufficient_quota", "requests", "tokens"}:
        kind = ProviderErrorKind.RATE_LIMITED
    elif words & {"overloaded_error", "overloaded", "server_overloaded"}:
        kind = ProviderErrorKind.OVERLOADED
    elif words & {"authentication_error", "permission_error", "invalid_api_key", "model_not_found"}:
        kind = ProviderErrorKind.ACCESS
    elif "invalid_request_error" in words:
        kind = ProviderErrorKind.REQUEST
    else:
        kind = ProviderErrorKind.SERVER
    return ProviderError(kind=kind, type=type_, code=code, param=safe_word(wire.param))


def safe_word(word: object) -> str:
    """A provider's word if it is a plain name; error bodies quote keys, organisations and prompts, so nothing else passes."""
    text = str(word) if isinstance(word, str | int) else ""
    return text if _SAFE(text) and not _SECRETIVE(text) else ""


def usage(wire: WireUsage) -> Usage:
    """OpenAI's `prompt_tokens` includes what was read from or written to a cache. A contradiction is read the dearest way."""
    details = wire.prompt_tokens_details or _NO_PROMPT_DETAILS
    cached = max(details.cached_tokens or 0, 0)
    written = max(details.cache_write_tokens or 0, 0)
    whole = max(wire.prompt_tokens, 0)
    if cached + written > whole:
        return Usage(input=Tokens(whole + cached + written), output=Tokens(max(wire.completion_tokens, 0)))
    reasoning = wire.completion_tokens_details.reasoning_tokens if wire.completion_tokens_details else 0
    return Usage(
        input=Tokens(whole - cached - written),
        cached_input=Tokens(cached),
        cache_write_5m=Tokens(written),
        output=Tokens(max(wire.completion_tokens, 0)),
        reasoning=Tokens(reasoning or 0),
    )


_NO_PROMPT_DETAILS = PromptDetails()

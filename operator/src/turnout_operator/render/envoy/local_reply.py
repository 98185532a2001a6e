"""What a client reads when Envoy answers by itself, before or instead of the engine: the OpenAI error shape, with words.

Envoy's own bodies are often empty or name its internals, so each status has a sentence of ours. The engine's refusals do not pass here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalReply:
    """One status that Envoy gives by itself. `retry`: whether the same request may fare better soon."""

    status: int
    code: str
    message: str
    retry: bool = False

    @property
    def kind(self) -> str:
        """OpenAI's `type` of an error."""
        return "server_error" if self.status >= 500 else "invalid_request_error"


def replies(max_body: int) -> tuple[LocalReply, ...]:
    """Every status we know Envoy to answer with; `max_body` in bytes."""
    too_large = f"The request body is larger than the {max_body} bytes that are accepted."
    return (
        LocalReply(
            status=400, code="bad_request", message="The request is not well-formed HTTP, or it breaks a limit."
        ),
        LocalReply(status=403, code="forbidden", message="The request was refused."),
        LocalReply(status=404, code="not_found", message="There is nothing at this path."),
        LocalReply(status=408, code="request_timeout", message="The request did not arrive in time.", retry=True),
        LocalReply(status=413, code="request_too_large", message=too_large),
        LocalReply(status=426, code="upgrade_required", message="HTTP/1.0 is not spoken here; use HTTP/1.1 or HTTP/2."),
        LocalReply(status=431, code="headers_too_large", message="The request headers are too large or too many."),
        LocalReply(status=500, code="not_configured", message="The sidecar has no policy yet.", retry=True),
        LocalReply(status=503, code="overloaded", message="The sidecar can take no more requests now.", retry=True),
        LocalReply(status=504, code="gateway_timeout", message="The answer did not come in time.", retry=True),
    )


def local_reply_config(max_body: int) -> dict[str, Any]:
    """The mappers, first match wins, closed by one for statuses nobody thought of."""
    return {
        "mappers": [_mapper(reply) for reply in replies(max_body)],
        "body_format": _body("%LOCAL_REPLY_BODY%", "server_error", "local_reply_%RESPONSE_CODE%"),
    }


def _mapper(reply: LocalReply) -> dict[str, Any]:
    comparison = {
        "op": "EQ",
        "value": {"default_value": reply.status, "runtime_key": f"turnout.local_reply_{reply.status}"},
    }
    retry = {"key": "x-should-retry", "value": "true" if reply.retry else "false"}
    return {
        "filter": {"status_code_filter": {"comparison": comparison}},
        "body_format_override": _body(reply.message, reply.kind, reply.code),
        "headers_to_add": [{"header": retry, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
    }


def _body(message: str, kind: str, code: str) -> dict[str, Any]:
    return {"json_format": {"error": {"message": message, "type": kind, "param": None, "code": code}}}

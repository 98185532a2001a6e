"""The one gate that every request passes, whatever its endpoint: what it is, whose it is, and how much it can use at most.

Unknown paths and models end here. Nothing is forwarded that has not become an `Admitted`.
"""

from typing import NamedTuple

from turnout_sidecar.core import identity, refusals
from turnout_sidecar.core.faults import Overlay, Rehearsal
from turnout_sidecar.core.host import Host
from turnout_sidecar.core.normalise import token_bound
from turnout_sidecar.core.refusals import Code
from turnout_sidecar.core.runtime import Claim, Runtime, ServedRoute
from turnout_sidecar.core.signals import DRILL_HEADER
from turnout_sidecar.messages import ChatRequest, ClientDialect, ClientError, Refusal
from turnout_sidecar.policy.units import Millis, Tokens

CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
_METHODS = {CHAT: "POST", MODELS: "GET"}


class Listing(NamedTuple):
    """The client asks which models there are."""

    body: bytes


class Refused(NamedTuple):
    """`route` is known where the refusal is the route's own; `allow` belongs to a 405."""

    refusal: Refusal
    route: ServedRoute | None = None
    allow: str = ""


class Admitted(NamedTuple):
    route: ServedRoute
    request: ChatRequest
    tenant: str
    user: str
    run: str
    input_bound: Tokens
    """before the provider's overhead"""
    output_cap: Tokens
    """for one choice: the lowest of what client and route allow"""
    rehearsal: Rehearsal | None


def admit(
    runtime: Runtime,
    dialect: ClientDialect,
    overlay: Overlay,
    host: Host,
    method: str,
    path: str,
    body: bytes,
    now: Millis,
) -> Admitted | Listing | Refused:
    path = path.partition("?")[0]
    allowed = _METHODS.get(path)
    if allowed is None:
        return Refused(refusals.refusal(Code.UNKNOWN_URL, f"Unknown request URL: {method} {path[:200]}."))
    if method != allowed:
        words = f"Not allowed to {method[:16]} on {path} (HINT: use {allowed})."
        return Refused(refusals.refusal(Code.METHOD_NOT_ALLOWED, words), allow=allowed)
    if path == MODELS:
        return Listing(dialect.encode_models(runtime.models))
    try:
        request = dialect.decode_request(body)
    except ClientError as e:
        return Refused(refusals.of_client(e))
    route = match(runtime, request.model, host)
    if route is None:
        words = f"The model '{request.model[:200]}' is no route of this sidecar. GET {MODELS} lists them."
        return Refused(refusals.refusal(Code.MODEL_NOT_FOUND, words, "model"))
    return _admit_to(route, request, overlay, host, now)


def match(runtime: Runtime, model: str, host: Host) -> ServedRoute | None:
    """The route that claims this request: by its model first, then those that take any model."""
    for claims in (runtime.claims.get(model, ()), runtime.anywhere):
        for claim in claims:
            if not claim.match.headers or _headers_equal(claim, host):
                return claim.route
    return None


def _headers_equal(claim: Claim, host: Host) -> bool:
    return all(host.header(wanted.name) == wanted.value for wanted in claim.match.headers)


def _admit_to(
    route: ServedRoute, request: ChatRequest, overlay: Overlay, host: Host, now: Millis
) -> Admitted | Refused:
    policy = route.policy
    tenant = identity.subject(host, policy.tenant, "tenant")
    if isinstance(tenant, Refusal):
        return Refused(tenant, route)
    user = identity.NOBODY if policy.user is None else identity.subject(host, policy.user, "user")
    if isinstance(user, Refusal):
        return Refused(user, route)
    run = identity.NOBODY if policy.run is None else identity.subject(host, policy.run, "agent run")
    if isinstance(run, Refusal):
        return Refused(run, route)
    bound = token_bound(request.normal)
    if bound > policy.tokens.max_input:
        words = (
            f"This route takes at most {policy.tokens.max_input} input tokens; the request may be {bound}, "
            "counted as bytes of the normalised request. Shorten the messages."
        )
        return Refused(refusals.refusal(Code.CONTEXT_LENGTH_EXCEEDED, words, "messages"), route)
    cap = policy.tokens.max_output if request.max_output is None else min(request.max_output, policy.tokens.max_output)
    rehearsal = overlay.find(host.header(DRILL_HEADER), route.key, now) if overlay else None
    return Admitted(route, request, tenant, user, run, bound, Tokens(cap), rehearsal)

"""What an answer says about itself in its head, and what the access log is told. Never silent, and the same on every host."""

from collections.abc import Iterator

from turnout_sidecar.core import signals
from turnout_sidecar.core.admission import Admitted
from turnout_sidecar.core.attempt import Attempt
from turnout_sidecar.core.journey import Journey
from turnout_sidecar.core.purse import Purse
from turnout_sidecar.messages import Headers, Refusal, Usage
from turnout_sidecar.policy.units import NanoUSD

JSON: Headers = ((b"content-type", b"application/json"),)
SERVED = frozenset({"ok", "cut", "client_gone"})
"""How a request ended that a candidate had served, in whole or in part."""


def length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(body)


def answer_head(admitted: Admitted, journey: Journey, purse: Purse, attempt: Attempt, body: bytes) -> Headers:
    """Of a whole answer, whose cost is known."""
    lane = attempt.lane
    head = lane.stream_head if attempt.request.stream else lane.plain_head
    cost = (b"x-turnout-cost", signals.dollars(purse.charged).encode())
    return (*head, length(body), cost, *_told(admitted, journey, attempt))


def stream_head(admitted: Admitted, journey: Journey, purse: Purse, attempt: Attempt) -> Headers:
    """Of a stream that has begun: its cost is known at its end only, so the head names the bound."""
    bound = NanoUSD(purse.charged + (0 if attempt.settled else attempt.held.amount))
    cost = (b"x-turnout-cost-bound", signals.dollars(bound).encode())
    return (*attempt.lane.stream_head, cost, *_told(admitted, journey, attempt))


def refusal_head(refusal: Refusal, body: bytes) -> Headers:
    """Of any refusal. `x-should-retry` stands on all of them: without it the SDKs decide by themselves."""
    retry = (b"x-should-retry", b"true" if refusal.should_retry else b"false")
    if refusal.retry_after is None:
        return (*JSON, length(body), retry)
    return (*JSON, length(body), retry, (b"retry-after", b"%d" % -(-refusal.retry_after // 1_000)))


def refused_after(admitted: Admitted, journey: Journey, purse: Purse) -> Headers:
    """What a refusal of an admitted request adds."""
    attempts = (b"x-turnout-attempts", b"%d" % journey.attempts)
    cost = (b"x-turnout-cost", signals.dollars(purse.charged).encode())
    return (attempts, cost, *journey.headers(), *_path(admitted, journey, ""))


def _told(admitted: Admitted, journey: Journey, attempt: Attempt) -> Headers:
    told: Headers = ((b"x-turnout-attempts", b"%d" % journey.attempts),)
    if attempt.held.clamped:
        told = (*told, (b"x-turnout-max-tokens", b"%d" % attempt.held.cap))
    if journey.reason:
        told = (*told, *journey.headers())
    if admitted.rehearsal is not None:
        told = (*told, *_path(admitted, journey, f"{attempt.lane.name}:ok"))
    return told


def _path(admitted: Admitted, journey: Journey, last: str) -> Headers:
    """Probes see the whole way; clients have no use for it."""
    if admitted.rehearsal is None:
        return ()
    return ((b"x-turnout-path", ",".join([*journey.path, last] if last else journey.path).encode()),)


def facts(
    admitted: Admitted, journey: Journey, purse: Purse, ended: str, usage: Usage | None
) -> Iterator[tuple[str, str | int]]:
    """For the access log, under the names that its format knows."""
    for name, subject in (("tenant", admitted.tenant), ("user", admitted.user), ("run", admitted.run)):
        if subject != "-":
            yield name, subject
    if ended in SERVED:
        yield "candidate", journey.lane.name
        yield "model", journey.lane.model.name
    yield "attempts", journey.attempts
    if usage is not None:
        yield "input_tokens", usage.all_input
        yield "output_tokens", usage.output
    yield "cost_nano_usd", purse.charged
    if journey.step:
        yield "step", journey.step
    if journey.path:
        yield "path", ",".join(journey.path)

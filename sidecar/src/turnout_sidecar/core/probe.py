"""One probe of a drill: the request as a client would send it, and what its answer says about the path it took.

Probes are plain chat completions in the OpenAI dialect. Only headers and body of the answer count as evidence: what the engine knows
beyond them is no proof that a client was told.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from turnout_sidecar.core.host import Headers
from turnout_sidecar.policy.report import DrillOrder, ProbeResult
from turnout_sidecar.policy.units import Millis, NanoUSD

MARK = "x-turnout-drill"
"""Carries a token of the run; the engine strips it, and without a valid one no request is part of any drill."""
PATH = b"/v1/chat/completions"
DEFAULT_PROMPT = "This is a rehearsal. Reply with the single word: ready"
_NANO_DIGITS = 9


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A request to send to the sidecar's own listener."""

    run: str
    index: int
    control: bool
    recovery: bool
    """sent after the fault ended, to see the route whole again"""
    path: bytes
    headers: Headers
    """without pseudo-headers, `host` and `content-length`, which are the shell's"""
    body: bytes
    timeout: Millis


class ProbeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. Names of headers in lower case; `failure` is why no answer came, then the rest is empty."""

    status: int = 0
    headers: Mapping[str, str] = {}
    body: bytes = b""
    failure: str = ""
    sent: bool = True
    """False: the request never left, so its failure says nothing about the route"""


def request(order: DrillOrder, index: int, token: str, *, control: bool, recovery: bool = False) -> Probe:
    """The probe of that number. Prompts go round; control and faulted probes of one number ask the same."""
    prompts = order.prompts or (DEFAULT_PROMPT,)
    body = {
        "model": order.model or order.route.partition("/")[2],
        "messages": [{"role": "user", "content": prompts[index % len(prompts)]}],
        "max_tokens": order.max_output,
    }
    headers = [(b"content-type", b"application/json"), (MARK.encode(), token.encode())]
    headers += [(name.encode(), value.encode()) for name, value in order.headers]
    return Probe(
        run=order.run,
        index=index,
        control=control,
        recovery=recovery,
        path=PATH,
        headers=tuple(headers),
        body=msgspec.json.encode(body),
        timeout=order.timeout,
    )


def result(probe: Probe, answer: ProbeAnswer, at: Millis, duration: Millis) -> ProbeResult:
    """The answer as evidence. Never raises: an unreadable answer is evidence too."""
    headers = answer.headers
    return ProbeResult(
        index=probe.index,
        control=probe.control,
        at=at,
        status=answer.status,
        candidate=headers.get("x-turnout-candidate", ""),
        attempts=_number(headers.get("x-turnout-attempts", "")),
        degraded=headers.get("x-turnout-degraded", ""),
        step=headers.get("x-turnout-step", ""),
        path=_path(headers.get("x-turnout-path", "")),
        signalled=_signalled(answer.body),
        cost=_nano(headers.get("x-turnout-cost", "")),
        duration=duration,
        error=answer.failure[:200],
    )


def healthy(answer: ProbeAnswer) -> bool:
    """An answer as if there had never been a fault."""
    return not answer.failure and answer.status == 200 and "x-turnout-degraded" not in answer.headers


def _signalled(body: bytes) -> bool:
    """The body says by itself that it is degraded: a client that sees no headers still knows."""
    try:
        document: Any = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return False
    return isinstance(document, dict) and bool(document.get("turnout"))


def _path(written: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in written.split(",") if part.strip())[:20]


def _number(written: str) -> int:
    return int(written) if written.isdecimal() and len(written) < 6 else 0


def _nano(written: str) -> NanoUSD:
    """US dollars as a decimal string, in nano-USD; what is not one is no amount."""
    whole, _, fraction = written.partition(".")
    if (
        not whole.isdecimal()
        or len(whole) > 9
        or len(fraction) > _NANO_DIGITS
        or (fraction and not fraction.isdecimal())
    ):
        return NanoUSD(0)
    return NanoUSD(int(whole + fraction.ljust(_NANO_DIGITS, "0")))

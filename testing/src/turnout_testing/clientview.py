"""What a client has of an answer, as lines for people: the same from any host."""

import json
from collections.abc import Mapping

_SHOWN = (
    "allow",
    "content-type",
    "retry-after",
    "x-should-retry",
)
_NO_FIXTURE = 1_000_000_000  # a date that was read off a clock, and not out of a script


def lines(status: int, headers: Mapping[str, str], body: bytes, end: str) -> list[str]:
    """`end`: clean, reset, left, or empty while under way."""
    if not status:
        return [f"no answer{f' ({end})' if end else ''}"]
    shown = [f"status {status}"]
    for name in sorted(headers):
        if name in _SHOWN or name.startswith("x-turnout-"):
            shown.append(f"{name}: {headers[name]}")
    if headers.get("content-type", "").startswith("text/event-stream"):
        shown += _events(body)
    elif body:
        shown.append(_body(body))
    shown.append(f"end {end or 'not yet'}")
    return shown


def _body(body: bytes) -> str:
    try:
        document = json.loads(body)
    except ValueError:
        return f"body cut {body!r}"
    if document.get("created", 0) > _NO_FIXTURE:
        document["created"] = "now"
    return f"body {json.dumps(document, sort_keys=True)}"


def _events(body: bytes) -> list[str]:
    *events, rest = body.decode().split("\n\n")
    shown = [_event(event.removeprefix("data: ")) for event in events]
    return [*shown, f"event cut {rest!r}"] if rest else shown


def _event(payload: str) -> str:
    if payload == "[DONE]":
        return "event [DONE]"
    document = json.loads(payload)
    words = [f"model={document['model']}"]
    for choice in document["choices"]:
        delta = choice["delta"]
        words += [f"{name}={json.dumps(value)}" for name, value in sorted(delta.items())]
        if choice["finish_reason"] is not None:
            words.append(f"finish={choice['finish_reason']}")
    for name in ("usage", "error", "turnout"):
        if document.get(name) is not None:
            words.append(f"{name}={json.dumps(document[name], sort_keys=True)}")
    return "event " + " ".join(words)

"""JSON from clients, read strictly: one reading only, and a bounded price for reading it.

Two readers of `{"max_tokens":1,"max_tokens":4096}` may disagree, so a name that stands twice is refused
(RFC 8259 section 4 leaves it open; proxies were robbed by it). The common case costs a few byte scans; the slow, exact
reader runs only where those cannot tell.
"""

import json
import re
from typing import NoReturn

import msgspec

from turnout_sidecar.messages import ClientError, RequestFault

MAX_NAMES = 10_000
MAX_DEPTH = 64

_SPACED = re.compile(rb'"[ \t\r\n]').search


def check_names(body: bytes, normal: bytes) -> None:
    """Refuses a name that stands twice in one object, given `body` and `normal`, its compact re-encoding.

    Each name of `normal` is one `":`; a name that stood twice would be one more in `body`. That count misleads only where
    white space precedes a colon or a quote is written as an escape, and then, or where the counts differ, `read` decides.
    """
    names = normal.count(b'":')
    if names > MAX_NAMES:
        raise ClientError(RequestFault.INVALID_JSON, f"The request holds more than {MAX_NAMES} names.")
    if body.count(b'":') != names or b"u0022" in body or _SPACED(body):
        read(body)


def read(text: bytes) -> object:
    """The value of `text`. Raises `ClientError` for anything that two readers could take differently, or that is too deep."""
    names = 0

    def gather(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal names
        names += len(pairs)
        found = dict(pairs)
        if len(found) != len(pairs):
            _refuse_twice([name for name, _ in pairs])
        if names > MAX_NAMES:
            raise ClientError(RequestFault.INVALID_JSON, f"The request holds more than {MAX_NAMES} names.")
        return found

    try:
        value: object = json.loads(text, object_pairs_hook=gather, parse_constant=_refuse_constant)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as e:
        raise ClientError(RequestFault.INVALID_JSON, f"The request is no JSON: {e}") from None
    _check_depth(value, MAX_DEPTH)
    return value


def decode_error(error: Exception) -> ClientError:
    """What `msgspec` or the interpreter said about a client's JSON, as words for the client."""
    if isinstance(error, RecursionError):
        return _too_deep()
    words, _, path = str(error).partition(" - at `$")
    param = path.rstrip("`").removeprefix(".")
    if words.startswith("Object contains unknown field `"):
        name = words.split("`")[1]
        param = f"{param}.{name}" if param else name
        return ClientError(RequestFault.UNKNOWN_PARAMETER, f"Unknown parameter: '{param}'.", param)
    if words.startswith("Object missing required field `"):
        name = words.split("`")[1]
        param = f"{param}.{name}" if param else name
        return ClientError(RequestFault.MISSING_PARAMETER, f"Missing required parameter: '{param}'.", param)
    if isinstance(error, msgspec.ValidationError):
        return ClientError(RequestFault.INVALID_VALUE, f"Invalid value for '{param or 'the request'}': {words}.", param)
    return ClientError(RequestFault.INVALID_JSON, f"The request is no JSON: {words}.")


def _check_depth(value: object, left: int) -> None:
    if left < 0:
        raise _too_deep()
    if isinstance(value, dict):
        for item in value.values():
            _check_depth(item, left - 1)
    elif isinstance(value, list):
        for item in value:
            _check_depth(item, left - 1)


def _too_deep() -> ClientError:
    return ClientError(RequestFault.INVALID_JSON, f"The request is nested deeper than {MAX_DEPTH}.")


def _refuse_constant(constant: str) -> NoReturn:
    raise ClientError(RequestFault.INVALID_JSON, f"{constant} is no JSON number.")


def _refuse_twice(names: list[str]) -> NoReturn:
    twice = next(name for i, name in enumerate(names) if name in names[:i])
    raise ClientError(RequestFault.INVALID_JSON, f"The name {twice[:64]!r} stands twice in one object.", twice[:64])

"""Who asks: the credential of a request, and the name under which it is billed. The key itself is never shown."""

import hashlib
import hmac
from collections.abc import Sequence

from turnout_operator.sim.http1 import Request
from turnout_operator.sim.profile import Dialect

NOBODY = "(no key)"


def presented(request: Request, dialect: Dialect) -> str:
    """The key that the request carries in its dialect's place; empty without one.

    Anthropic takes `x-api-key` and, from newer SDKs, a bearer token too.
    """
    if dialect is Dialect.ANTHROPIC and b"x-api-key" in request.headers:
        return request.header(b"x-api-key")
    scheme, _, key = request.header(b"authorization").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def name(key: str) -> str:
    """The name of a key on the bill and in the log: a digest, so that neither holds the key."""
    return f"key-{hashlib.sha256(key.encode()).hexdigest()[:12]}" if key else NOBODY


def accepted(key: str, keys: Sequence[str]) -> bool:
    """True when no keys are demanded, or this is one of them."""
    return not keys or any(hmac.compare_digest(key.encode(), good.encode()) for good in keys)

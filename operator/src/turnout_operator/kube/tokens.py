"""Who is at the other end: a projected ServiceAccount token, reviewed by the API server for our audience.

The identity names snapshots, grants and epochs, so it is the pod's, not only the account's. Reviews are remembered for a
minute by the token's hash; a token itself is never kept, logged or compared.
"""

import hashlib
import threading
from time import monotonic

from turnout_operator.identity import Identity, ReviewUnavailable, TokenRefused
from turnout_operator.kube.client import ApiError, Client, Unreachable
from turnout_operator.kube.resources import TOKEN_REVIEWS

__all__ = ["AUDIENCE", "Identity", "ReviewUnavailable", "TokenRefused", "TokenReviewer"]

AUDIENCE = "turnout"
_REMEMBER = 60.0
_MOST_REMEMBERED = 10_000


class TokenReviewer:
    """Thread-safe; blocking."""

    def __init__(self, client: Client, audience: str = AUDIENCE) -> None:
        self._client = client
        self._audience = audience
        self._known: dict[bytes, tuple[float, Identity]] = {}
        self._lock = threading.Lock()

    def review(self, token: str) -> Identity:
        digest = hashlib.sha256(token.encode()).digest()
        with self._lock:
            known = self._known.get(digest)
        if known is not None and monotonic() - known[0] < _REMEMBER:
            return known[1]
        identity = self._ask(token)
        with self._lock:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[digest] = (monotonic(), identity)
        return identity

    def _ask(self, token: str) -> Identity:
        body = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": TOKEN_REVIEWS.kind,
            "spec": {"token": token, "audiences": [self._audience]},
        }
        try:
            status = self._client.create(TOKEN_REVIEWS, None, body)["status"]
        except (ApiError, Unreachable) as e:
            raise ReviewUnavailable(f"the token could not be reviewed: {e}") from e
        if not status.get("authenticated"):
            raise TokenRefused(
                f"the token is not valid for audience {self._audience!r}: {status.get('error', 'not authenticated')}; "
                "mount a projected ServiceAccount token with that audience"
            )
        return _identity(status["user"])


def _identity(user: dict[str, object]) -> Identity:
    name = str(user.get("username", ""))
    prefix, _, rest = name.partition("system:serviceaccount:")
    namespace, _, account = rest.partition(":")
    if prefix or not namespace or not account:
        raise TokenRefused(f"{name!r} is no ServiceAccount; sidecars present a projected ServiceAccount token")
    extra = user.get("extra")
    extra = extra if isinstance(extra, dict) else {}

    def first(key: str) -> str:
        values = extra.get(f"authentication.kubernetes.io/{key}") or [""]
        return str(values[0])

    return Identity(namespace=namespace, service_account=account, pod=first("pod-name"), pod_uid=first("pod-uid"))

"""Who a sidecar is: vouched for by a token, and the key under which snapshots, grants and epochs are kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A sidecar. `key` names it everywhere; without a pod binding (tests, tools) the account stands for it."""

    namespace: str
    service_account: str
    pod: str = ""
    pod_uid: str = ""

    @property
    def key(self) -> str:
        """``namespace/<pod uid or account>``"""
        return f"{self.namespace}/{self.pod_uid or self.service_account}"


class TokenRefused(Exception):  # noqa: N818
    """Nobody vouches for this token; the message says why and what to present instead, and never holds the token."""


class ReviewUnavailable(Exception):  # noqa: N818
    """Whoever could vouch cannot be asked now; try again."""


Authenticate = Callable[[str], Awaitable[Identity]]
"""A bearer token to its identity. Raises `TokenRefused` or `ReviewUnavailable`."""

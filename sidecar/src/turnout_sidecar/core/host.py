"""What an exchange needs of the world. Two implementations: `turnout_testing.fakehost` and `turnout_sidecar.envoy.host`.

The exchange is sans I/O: the shell calls its `on_…` methods with the time, it calls this protocol. Nothing here
blocks, and no method calls back into the exchange before it returns.
"""

from enum import StrEnum
from typing import NamedTuple, Protocol

from turnout_sidecar.policy.model import Endpoint
from turnout_sidecar.policy.units import Millis

Headers = tuple[tuple[bytes, bytes], ...]


class StartFailure(StrEnum):
    """Why no upstream stream was opened: nothing was sent, nothing can be billed."""

    NO_CLUSTER = "NoCluster"
    CANNOT_SERVE = "CannotServe"


class Head(NamedTuple):
    """The head of an upstream answer, reduced to what decides. `genuine`: the provider said it (an upstream filter marks it);
    otherwise Envoy made it up for a failure that it met (refused connect, reset before the head, timeout)."""

    status: int
    content_type: str
    retry_after: str
    """raw value or empty"""
    genuine: bool
    detail: str = ""
    """Envoy's words for a head that is not genuine, where known"""


class Host(Protocol):
    def header(self, name: str) -> str:
        """The client's request header (lower-case name), or empty."""
        ...

    def start(self, endpoint: Endpoint, path: str, headers: Headers, body: bytes) -> int | StartFailure:
        """Opens an upstream stream with the whole request; its id, by which the shell names it in `on_attempt_…`."""
        ...

    def cancel(self, stream: int) -> None:
        """Resets an upstream stream; no further event of it will arrive."""
        ...

    def send_head(self, status: int, headers: Headers) -> None: ...

    def send_data(self, data: bytes, *, end: bool) -> None: ...

    def reset_soon(self) -> None:
        """Resets the client's stream on a later turn, so that what was sent before still arrives (HTTP/2 loses it otherwise)."""
        ...

    def alarm(self, at: Millis | None) -> None:
        """One alarm an exchange: `on_alarm` at or soon after `at` (monotonic milliseconds); replaces the earlier one."""
        ...

    def record(self, name: str, value: str | int) -> None:
        """One fact for the access log (dynamic metadata ``turnout:<name>``)."""
        ...

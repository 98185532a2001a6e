"""How an attempt can fail: one table from what happened to what follows. Closed: there is no other failure."""

from enum import Enum
from typing import NamedTuple

from turnout_sidecar.messages import ProviderError, ProviderErrorKind
from turnout_sidecar.policy.model import FaultClass, RetryClass


class Bill(Enum):
    """What the provider may charge for it. In doubt, charge."""

    NOTHING = "nothing"
    """nothing reached a model"""
    ABORTED = "aborted"
    """a stream that was cut: what it may have generated until then"""
    ALL = "all"
    """the whole bound: an answer may have been made that we did not get to read"""


class Consequence(NamedTuple):
    """`label` is the outcome in metrics."""

    label: str
    fault: FaultClass
    retry: RetryClass | None
    bill: Bill
    ill: bool
    """counts against the breaker: pacing (429) is not ill health"""


class Failure(Enum):
    CONNECT = Consequence("connect", FaultClass.UNAVAILABLE, RetryClass.CONNECT, Bill.NOTHING, True)
    RESET = Consequence("reset", FaultClass.UNAVAILABLE, RetryClass.RESET, Bill.ABORTED, True)
    SERVER_ERROR = Consequence("server_error", FaultClass.UNAVAILABLE, RetryClass.SERVER_ERROR, Bill.NOTHING, True)
    GATEWAY_ERROR = Consequence("gateway_error", FaultClass.UNAVAILABLE, RetryClass.SERVER_ERROR, Bill.ALL, True)
    ERROR_EVENT = Consequence("error_event", FaultClass.UNAVAILABLE, RetryClass.SERVER_ERROR, Bill.ABORTED, True)
    ACCESS = Consequence("access", FaultClass.UNAVAILABLE, None, Bill.NOTHING, True)
    RATE_LIMITED = Consequence("rate_limited", FaultClass.RATE_LIMITED, RetryClass.RATE_LIMITED, Bill.NOTHING, False)
    FIRST_TOKEN = Consequence("first_token", FaultClass.TOO_SLOW, RetryClass.FIRST_TOKEN_DEADLINE, Bill.ABORTED, True)
    STALL = Consequence("stall", FaultClass.TOO_SLOW, RetryClass.FIRST_TOKEN_DEADLINE, Bill.ABORTED, True)
    ATTEMPT_DEADLINE = Consequence("attempt_deadline", FaultClass.TOO_SLOW, None, Bill.ABORTED, True)
    TOTAL_DEADLINE = Consequence("total_deadline", FaultClass.TOO_SLOW, None, Bill.ABORTED, False)
    MALFORMED = Consequence("malformed", FaultClass.INVALID_OUTPUT, None, Bill.ALL, True)
    OVER_CAP = Consequence("over_cap", FaultClass.INVALID_OUTPUT, None, Bill.ALL, True)

    @property
    def what(self) -> Consequence:
        consequence: Consequence = self.value
        return consequence


_GATEWAY = frozenset({502, 504, *range(520, 528)})
_ACCESS = frozenset({401, 402, 403, 404})


def of_status(status: int) -> Failure | None:
    """For a status that the provider itself gave; None where the body decides: success, or a fault of the request's.

    A provider bills no answer that it refused itself. A gateway in front of it cannot know what happened behind, so 502, 504
    and the 52x of content networks are charged.
    """
    if status in (429, 529):
        return Failure.RATE_LIMITED
    if status in _GATEWAY:
        return Failure.GATEWAY_ERROR
    if status >= 500 or status == 408:
        return Failure.SERVER_ERROR
    if status in _ACCESS:
        return Failure.ACCESS
    if status < 200 or 200 < status < 400:
        return Failure.MALFORMED
    return None


_BY_KIND: dict[ProviderErrorKind, Failure] = {
    ProviderErrorKind.RATE_LIMITED: Failure.RATE_LIMITED,
    ProviderErrorKind.OVERLOADED: Failure.RATE_LIMITED,
    ProviderErrorKind.SERVER: Failure.SERVER_ERROR,
    ProviderErrorKind.ACCESS: Failure.ACCESS,
    ProviderErrorKind.REQUEST: Failure.SERVER_ERROR,
}


def of_error(error: ProviderError, *, begun: bool) -> Failure:
    """For an error under status 200: the whole answer, or an event. After the provider began, it may have generated."""
    return Failure.ERROR_EVENT if begun else _BY_KIND[error.kind]


def of_synthetic(words: str) -> Failure:
    """For an answer that Envoy made up. Only what surely never left is a failed connect.

    Envoy's words: "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, …",
    "no healthy upstream", "upstream request timeout". "connection termination" is a reset after the request was sent.
    """
    said = words.lower()
    never_sent = (
        "connection failure",
        "connection timeout",
        "delayed connect error",
        "no healthy upstream",
        "overflow",
    )
    return Failure.CONNECT if any(phrase in said for phrase in never_sent) else Failure.RESET

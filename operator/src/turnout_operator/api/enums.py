"""The closed sets that more than one kind speaks of."""

from __future__ import annotations

from enum import StrEnum


class Risk(StrEnum):
    """How much harm a wrong answer does; a pool's owner decides which models may serve which class."""

    LOW = "Low"
    STANDARD = "Standard"
    HIGH = "High"


class Workload(StrEnum):
    """Who waits: only Interactive needs a first-token budget."""

    INTERACTIVE = "Interactive"
    BACKGROUND = "Background"
    EVALUATION = "Evaluation"


class Api(StrEnum):
    """An endpoint that clients of a route may call."""

    CHAT_COMPLETIONS = "ChatCompletions"
    RESPONSES = "Responses"
    MESSAGES = "Messages"
    EMBEDDINGS = "Embeddings"


class FaultClass(StrEnum):
    """Why a route leaves its plan; each stands in exactly one degradation path."""

    UNAVAILABLE = "Unavailable"
    RATE_LIMITED = "RateLimited"
    TOO_SLOW = "TooSlow"
    OVER_BUDGET = "OverBudget"
    INVALID_OUTPUT = "InvalidOutput"


class DrillFault(StrEnum):
    """A fault that a drill can inject."""

    UNAVAILABLE = "Unavailable"
    RATE_LIMITED = "RateLimited"
    TOO_SLOW = "TooSlow"
    OVER_BUDGET = "OverBudget"
    INVALID_OUTPUT = "InvalidOutput"
    STREAM_CUT = "StreamCut"
    STALL = "Stall"
    FLAPPING = "Flapping"
    CONTEXT_TOO_LONG = "ContextTooLong"
    CONTENT_FILTERED = "ContentFiltered"

    @property
    def rehearses(self) -> FaultClass:
        """The degradation path this fault leads into; faults without a path of their own fall under Unavailable."""
        try:
            return FaultClass(self.value)
        except ValueError:
            return FaultClass.UNAVAILABLE


class LimitScope(StrEnum):
    """Whom a limit counts for."""

    REQUEST = "Request"
    USER = "User"
    TENANT = "Tenant"
    ROUTE = "Route"
    RUN = "Run"
    POOL = "Pool"


class Window(StrEnum):
    """The calendar span after which an account starts anew, in the limit's time zone."""

    MINUTE = "Minute"
    HOUR = "Hour"
    DAY = "Day"
    MONTH = "Month"


class Enforce(StrEnum):
    """What a limit does when it is reached."""

    HARD = "Hard"
    SOFT = "Soft"
    SHADOW = "Shadow"


class Verdict(StrEnum):
    """How a drill ended; without evidence it is Inconclusive, never Passed."""

    PASSED = "Passed"
    FAILED = "Failed"
    ABORTED = "Aborted"
    INCONCLUSIVE = "Inconclusive"
    SKIPPED = "Skipped"
    ERROR = "Error"

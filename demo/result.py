"""What became of one request, as the application saw it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from demo.workload import Ask


class Outcome(StrEnum):
    """Exactly one for each request."""

    ANSWERED = "answered"
    REFUSED = "refused"  # an error answer, with a code that says why
    BROKEN = "broken"  # a stream that ended in an error event or a reset: said, not silent
    SHORT = "short"  # an answer that looks whole and is not
    LOST = "lost"  # no answer at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Times in milliseconds. Texts are empty where nothing was said."""

    ask: Ask
    outcome: Outcome
    status: int
    code: str = ""
    """Of a refusal, or the exception's name."""
    candidate: str = ""
    degraded: str = ""
    step: str = ""
    attempts: int = 0
    finish: str = ""
    tokens: int = 0
    """Of the answer, counted from its text."""
    clamped: int | None = None
    """The cap on the answer that the sidecar put in place of the application's."""
    first_token_ms: float | None = None
    """Of streams."""
    total_ms: float = 0.0
    words: str = ""
    """Of the error."""

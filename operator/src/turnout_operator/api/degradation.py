"""What happens when the plan does not hold: a declared path for every fault class, never silent."""

from __future__ import annotations

from typing import Annotated

from turnout_operator.api.enums import FaultClass
from turnout_operator.api.model import Model, Rule, as_set, exactly_one, listed
from turnout_operator.api.references import CandidateRef
from turnout_operator.api.types import Duration, ErrorStatus, Name, Text, TokenCount


class CachedResponse(Model):
    """Serve a cached answer that is at most `maxAge` old."""

    max_age: Duration


class TrimContext(Model):
    """Shorten the request to `maxInput` tokens and try again."""

    max_input: TokenCount


class Partial(Model):
    """Serve what there is of the answer, marked as partial."""


class Approval(Model):
    """Wait for a person to approve, at most until `deadline`."""

    deadline: Duration


class QueueStep(Model):
    """Accept the request and run it later on a batch route; a terminal step."""

    route: Name
    deadline: Duration


class Respond(Model):
    """Refuse in the client's dialect; a terminal step."""

    status: ErrorStatus
    message: Text | None = None
    retry_after: Duration | None = None


class Step(Model):
    """Exactly one of these."""

    cel_rules = (exactly_one("candidate", "cachedResponse", "trimContext", "partial", "approval", "queue", "respond"),)
    candidate: CandidateRef | None = None
    cached_response: CachedResponse | None = None
    trim_context: TrimContext | None = None
    partial: Partial | None = None
    approval: Approval | None = None
    queue: QueueStep | None = None
    respond: Respond | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the step always ends the request."""
        return self.respond is not None or self.queue is not None


class DegradationPath(Model):
    """For these fault classes, these steps in order; the last one is terminal."""

    cel_rules = (
        Rule(
            cel=(
                "has(self.steps) && size(self.steps) > 0 && "
                "(has(self.steps[size(self.steps) - 1].respond) || has(self.steps[size(self.steps) - 1].queue))"
            ),
            message=(
                "the path does not end: let its last step be one that always works, "
                "for example {respond: {status: 503}}, or a queue"
            ),
            at=".steps",
        ),
        Rule(
            cel="!has(self.steps) || self.steps.filter(s, has(s.respond)).size() <= 1",
            message="nothing follows a respond step: let only the last step be respond",
            at=".steps",
        ),
    )
    faults: Annotated[tuple[FaultClass, ...], as_set(most=5, least=1)]
    steps: Annotated[tuple[Step, ...], listed(most=8)] = ()


class Degradation(Model):
    """Each of the five fault classes stands in exactly one path."""

    cel_rules = tuple(
        Rule(
            cel=f"!has(self.paths) || self.paths.filter(p, '{fault}' in p.faults).size() <= 1",
            message=f"{fault} stands in more than one path: name it in exactly one",
            at=".paths",
        )
        for fault in FaultClass
    )
    paths: Annotated[tuple[DegradationPath, ...], listed(most=5)] = ()

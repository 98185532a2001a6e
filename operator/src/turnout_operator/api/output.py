"""What an answer must be, how it is streamed, and how many requests are served at once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from turnout_operator.api.model import Model, Rule, as_set, by_name
from turnout_operator.api.references import ConfigMapSource
from turnout_operator.api.types import Count, Duration, Expression, Few, Name, Weight


class OutputCheck(StrEnum):
    """A check that an answer must pass; InvalidOutput otherwise."""

    NON_EMPTY = "NonEmpty"
    SCHEMA = "Schema"
    NO_REFUSAL = "NoRefusal"


class Output(Model):
    """Checks on answers and how often one may be repaired."""

    cel_rules = (
        Rule(
            cel="(has(self.checks) && 'Schema' in self.checks) == has(self.schema)",
            message="a schema and the check Schema go together: write both, or neither",
            at=".schema",
        ),
        Rule(
            cel="!has(self.maxRepairs) || self.maxRepairs == 0 || (has(self.checks) && size(self.checks) > 0)",
            message="a repair follows a failed check, and there are no checks: write checks, or leave maxRepairs out",
            at=".maxRepairs",
        ),
    )
    schema_: Annotated[ConfigMapSource | None, Field(alias="schema")] = None
    """The JSON schema that `checks: [Schema]` holds answers against."""
    checks: Annotated[tuple[OutputCheck, ...], as_set(most=3)] = ()
    max_repairs: Few = 0


class Commit(StrEnum):
    """When a stream's head goes to the client: from then on no fallback is possible."""

    FIRST_CONTENT = "FirstContent"
    VALIDATED = "Validated"


class Rescue(StrEnum):
    """What follows a cut or stall after commit."""

    ERROR = "Error"
    CONTINUE = "Continue"
    REPLAY = "Replay"


class Streaming(Model):
    """How streams are committed and rescued."""

    commit: Commit = Commit.FIRST_CONTENT
    rescue: Rescue = Rescue.ERROR


class Priority(Model):
    """A class of waiting requests and its share of the turns."""

    name: Name
    weight: Weight
    when: Expression | None = None
    """The first priority whose expression holds takes the request; one without takes all."""


class WaitingQueue(Model):
    """Where requests above the bounds wait, and how long."""

    cel_rules = (
        Rule(
            cel="!has(self.priorities) || self.priorities.filter(p, !has(p.when)).size() <= 1",
            message="two priorities without `when` both take all requests: let at most one stand without",
            at=".priorities",
        ),
    )
    max_depth: Count
    max_wait: Duration
    priorities: Annotated[tuple[Priority, ...], by_name(most=8)] = ()


class Concurrency(Model):
    """How many requests of the route are served at once."""

    max_in_flight: Count | None = None
    max_per_tenant: Count | None = None
    queue: WaitingQueue | None = None

"""What an answer must be, how it is streamed, and how many requests are served at once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from turnout_operator.api.model import Model, as_set, by_name
from turnout_operator.api.references import ConfigMapSource
from turnout_operator.api.types import Count, Duration, Expression, Few, Name, Weight


class OutputCheck(StrEnum):
    """A check that an answer must pass; InvalidOutput otherwise."""

    NON_EMPTY = "NonEmpty"
    SCHEMA = "Schema"
    NO_REFUSAL = "NoRefusal"


class Output(Model):
    """Checks on answers and how often one may be repaired."""

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

    max_depth: Count
    max_wait: Duration
    priorities: Annotated[tuple[Priority, ...], by_name(most=8)] = ()


class Concurrency(Model):
    """How many requests of the route are served at once."""

    max_in_flight: Count | None = None
    max_per_tenant: Count | None = None
    queue: WaitingQueue | None = None

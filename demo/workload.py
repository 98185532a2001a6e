"""Who asks what, when and through which sidecar: the trace's rows made into requests of an organisation. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from demo import trace
from demo.trace import Row

SUPPORT, DRAFT = "support-answer", "case-draft"
TENANTS = ("acme", "globex", "initech")
SUPPORT_TOKENS = 1_900
"""Longer prompts go to the route for long ones; the bound of `support-answer` is in bytes."""
MAX_TOKENS = 800
"""What applications ask for: above every answer of the trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request. `at` is in seconds after the replay began."""

    number: int
    at: float
    route: str
    tenant: str
    sidecar: int
    stream: bool
    prompt: str
    output_tokens: int

    @property
    def tag(self) -> str:
        """The end user as providers see it: with it each line of their bills belongs to one request."""
        return f"{self.route}.{self.tenant}.{self.number}"


def asks(rows: Sequence[Row], *, speed: float, sidecars: int) -> tuple[Ask, ...]:
    """The trace's requests, `speed` times as fast. Routes, tenants, sidecars and streaming alternate with different periods."""
    begin = rows[0].offset_ms
    return tuple(
        Ask(
            number=number,
            at=(row.offset_ms - begin) / 1000 / speed,
            route=DRAFT if row.input_tokens > SUPPORT_TOKENS or number % 2 else SUPPORT,
            tenant=TENANTS[(number // 2) % len(TENANTS)],
            sidecar=number // 3 % sidecars,
            stream=number % 5 < 3,
            prompt=trace.prompt(row, number),
            output_tokens=row.output_tokens,
        )
        for number, row in enumerate(rows)
    )


def of_tag(tag: str) -> tuple[str, str] | None:
    """Route and tenant of a tag that `Ask.tag` made; None for any other, such as a probe's."""
    parts = tag.split(".")
    return (parts[0], parts[1]) if len(parts) == 3 and parts[2].isdigit() else None

"""The provider's bill: what each key, model and end user was charged. The oracle for everyone else's accounting.

A request is charged once, when it ends, in the same turn of the loop that writes the last bytes of its answer: who has
read the whole answer finds it on the bill. With a journal file every charge is written there first, so the bill
survives the process (not the machine: nothing is synced).
"""

import io
from pathlib import Path
from typing import Any

import msgspec

from turnout_operator.sim.pricing import Usage

_MAX_LINES = 20_000  # more subjects than this share one line, so that a client cannot fill the memory
_OTHERS = "(others)"


class Line(msgspec.Struct, frozen=True, rename="camel"):
    """Money in 10^-9 USD. `aborted`: how many of the requests the client left early."""

    key: str
    model: str
    tag: str
    requests: int = 0
    aborted: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = msgspec.field(default=0, name="costNanoUSD")


class Charge(msgspec.Struct, frozen=True, rename="camel"):
    """One request's charge, as the journal keeps it."""

    key: str
    model: str
    tag: str
    usage: Usage
    cost_nano_usd: int = msgspec.field(name="costNanoUSD")
    aborted: bool = False


class Bill(msgspec.Struct, frozen=True, rename="camel"):
    """Totals and the lines they are the sum of, sorted by key, model, tag."""

    requests: int
    aborted: int
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int = msgspec.field(name="costNanoUSD")
    lines: tuple[Line, ...]

    def of(self, *, key: str | None = None, model: str | None = None, tag: str | None = None) -> "Bill":
        """The part of the bill for this key, model or end user."""
        wanted = ((key, "key"), (model, "model"), (tag, "tag"))
        return summed(
            line for line in self.lines if all(value in (None, getattr(line, field)) for value, field in wanted)
        )


def summed(lines: Any) -> Bill:
    """The bill that has these lines."""
    kept = tuple(sorted(lines, key=lambda line: (line.key, line.model, line.tag)))
    return Bill(
        requests=sum(line.requests for line in kept),
        aborted=sum(line.aborted for line in kept),
        input_tokens=sum(line.input_tokens for line in kept),
        output_tokens=sum(line.output_tokens for line in kept),
        cost_nano_usd=sum(line.cost_nano_usd for line in kept),
        lines=kept,
    )


class _Sum:
    """A line under construction."""

    __slots__ = ("aborted", "cost", "input", "output", "requests")

    def __init__(self) -> None:
        self.requests = self.aborted = self.input = self.output = self.cost = 0


class Account:
    """The running bill, with its journal if there is one."""

    def __init__(self, journal: Path | None) -> None:
        self._sums: dict[tuple[str, str, str], _Sum] = {}
        self._journal = None if journal is None else _opened(journal, self._count)

    def charge(self, charge: Charge) -> None:
        """Writes the charge to the journal, then counts it."""
        if self._journal is not None:
            self._journal.write(msgspec.json.encode(charge) + b"\n")
        self._count(charge)

    def bill(self) -> Bill:
        return summed(
            Line(key, model, tag, s.requests, s.aborted, s.input, s.output, s.cost)
            for (key, model, tag), s in self._sums.items()
        )

    def reset(self) -> None:
        """Starts the bill, and its journal, anew."""
        self._sums.clear()
        if self._journal is not None:
            self._journal.seek(0)
            self._journal.truncate()

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def _count(self, charge: Charge) -> None:
        subject = (charge.key, charge.model, charge.tag)
        if subject not in self._sums and len(self._sums) >= _MAX_LINES:
            subject = (charge.key, charge.model, _OTHERS)
        line = self._sums.setdefault(subject, _Sum())
        line.requests += 1
        line.aborted += charge.aborted
        line.input += charge.usage.input
        line.output += charge.usage.output
        line.cost += charge.cost_nano_usd


def _opened(path: Path, count: Any) -> io.FileIO:
    """The journal, unbuffered, after all its charges were counted. A torn last line (a kill while writing) is cut off."""
    raw = path.read_bytes() if path.exists() else b""
    whole = raw[: raw.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            count(msgspec.json.decode(line, type=Charge))
        except msgspec.DecodeError as error:
            raise ValueError(f"{path}:{number}: not a line of a bill journal: {error}") from error
    journal = io.FileIO(path, "r+b" if path.exists() else "x+b")
    journal.truncate(len(whole))
    journal.seek(0, io.SEEK_END)
    return journal

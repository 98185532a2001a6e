"""Rows of the trace, and prompts that have exactly their tokens. Pure but for reading the file."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import NamedTuple

BYTES_PER_TOKEN = 4
"""The stand-in providers count a token of input for so many bytes."""
_FILLER = "the quick brown fox jumps over the lazy dog and writes it all down again "


class Row(NamedTuple):
    """One request of the trace."""

    offset_ms: int
    """After the first one."""
    input_tokens: int
    output_tokens: int


def read(path: Path, most: int) -> tuple[Row, ...]:
    """The first `most` rows. Raises `ValueError` where a column is no number, `OSError` where there is no file."""
    with path.open(newline="") as source:
        rows = itertools.islice(csv.DictReader(source), most)
        return tuple(Row(*(int(row[name]) for name in Row._fields)) for row in rows)


def prompt(row: Row, number: int) -> str:
    """ASCII text that a stand-in provider counts as the row's input tokens and answers with the row's output tokens.

    A row of less than some eight tokens gets a few more, because the directive needs its room. `number` makes equal rows differ.
    """
    directive = f"{number} [sim:output={row.output_tokens}] "
    size = row.input_tokens * BYTES_PER_TOKEN
    filler = _FILLER * (max(0, size - len(directive)) // len(_FILLER) + 1)
    return directive + filler[: max(0, size - len(directive))]

"""One thing that is wrong in a manifest, said to the person who must act."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """A fault inside one object: the field path as the apiserver writes it, what was found there, and the apiserver's sentence."""

    path: str
    found: str
    message: str
    hint: str = ""
    """What would be right, where the apiserver's sentence does not say it."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Fault:
    """A finding and where it stands; `line` counts from 1, `subject` is `Kind namespace/name` or empty where no object was read."""

    file: str
    line: int
    subject: str
    path: str
    found: str
    message: str
    hint: str = ""
    reason: str = "Invalid"
    """A reason of the condition the operator would set, see `conditions`."""

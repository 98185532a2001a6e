"""A value that is only ever shown on purpose."""

from __future__ import annotations

from typing import NoReturn


class Redacted:
    """Holds secret bytes. Prints, formats and fails to serialise as ``[redacted]``; only `reveal` gives the bytes."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The bytes, for the one place that sends them on."""
        return self._value

    def __repr__(self) -> str:
        return "[redacted]"

    def __format__(self, spec: str) -> str:
        return "[redacted]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Redacted) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Redacted, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a redacted value is not written anywhere")

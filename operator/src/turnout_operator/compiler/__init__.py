"""PURE: a snapshot of manifests -> what is promised, and every fault. Reads no clock, draws no chance, opens nothing."""

from turnout_operator.compiler.compilation import compile  # noqa: A004 - the word of the trade

__all__ = ["compile"]

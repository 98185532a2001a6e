"""Words into Envoy's own log."""

from enum import IntEnum

from _turnout_engine import lib


class Level(IntEnum):
    """The numbers are Envoy's."""

    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4
    CRITICAL = 5


def log(level: Level, words: str) -> None:
    message = f"turnout: {words}".encode(errors="replace")
    lib.turnout_log(level, message, len(message))

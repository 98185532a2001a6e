"""Which core the proxies under test have for themselves, and which one everything else shares."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

_PIN = "import os,sys; os.sched_setaffinity(0,{int(sys.argv[1])}); os.execvp(sys.argv[2],sys.argv[2:])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    proxy: int
    rest: int

    @property
    def shared(self) -> bool:
        return self.proxy == self.rest


def choose() -> Cores:
    """The last core is the proxy's: the first ones take the machine's interrupts."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(proxy=allowed[-1], rest=allowed[0])


def pinned(core: int, command: list[str]) -> list[str]:
    """The command on that core, with all threads that it will start."""
    return [sys.executable, "-c", _PIN, str(core), *command]


def move(process: int, core: int) -> None:
    """Every thread of a running process to that core."""
    for task in Path(f"/proc/{process}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def cpu_seconds(process: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

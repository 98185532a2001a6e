"""One long-running process of a bed: started, found again by its pid file, frozen, killed.

Two lives:
- tied: it dies with the process that started it, whatever kills that one (PR_SET_PDEATHSIG, set by setpriv from
  util-linux; a Python `preexec_fn` would run between fork and exec, where a program with gRPC threads must run nothing);
- detached: it outlives its starter and is found again by its pid file.

The kernel sends the death signal when the starting *thread* ends, not the process. All daemons are therefore started by
one thread that lives as long as the interpreter.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from turnout_testing import waiting

_SPAWNER = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="testbed-spawner")
_TAIL_CHARACTERS = 3000


class Daemon:
    """A process with a name, a log and a pid file in `folder`."""

    def __init__(self, name: str, folder: Path, *, tied: bool) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._pid_file = folder / f"{name}.pid"
        self._tied = tied
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Return the id of the running process, None where it does not run."""
        recorded = self._recorded()
        return recorded[0] if recorded and _birth(recorded[0]) == recorded[1] else None

    def start(self, argv: list[str]) -> None:
        """Start it unless it runs; true afterwards: its pid file names it. Says nothing about readiness."""
        if self.pid is None:
            self._child = _SPAWNER.submit(self._spawn, argv).result()
            self._pid_file.write_text(f"{self._child.pid} {_birth(self._child.pid)}")

    def terminate(self, within: float) -> None:
        """SIGTERM, and SIGKILL where it has not gone after `within` seconds; true afterwards: it is gone."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        try:
            self._await_end(within)
        except waiting.NeverHappenedError:
            self.kill()
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL; true afterwards: it is gone."""
        self._signal(signal.SIGKILL)
        self._await_end(30)

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open and nothing answers on them."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._signal(signal.SIGCONT)

    def log_tail(self) -> str:
        """Return the end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text[-_TAIL_CHARACTERS:]

    def _spawn(self, argv: list[str]) -> subprocess.Popen[bytes]:
        prefix = [_setpriv(), "--pdeathsig", "KILL", "--"] if self._tied else []
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal must not kill the bed under a test's own teardown.
            return subprocess.Popen(
                [*prefix, *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                start_new_session=True,
            )

    def _signal(self, number: signal.Signals) -> None:
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _await_end(self, within: float) -> None:
        waiting.until(self._is_gone, what=f"the end of {self.name}", within=within, every=0.01)

    def _is_gone(self) -> bool:
        if self._child is not None:
            self._child.poll()  # reaps it
        return self.pid is None

    def _recorded(self) -> tuple[int, str] | None:
        try:
            pid, birth = self._pid_file.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid), birth


def _setpriv() -> str:
    found = shutil.which("setpriv")
    if found is None:
        raise RuntimeError(
            "`setpriv` (package util-linux) is not on PATH: without it the test bed could outlive its tests"
        )
    return found


def _birth(pid: int) -> str | None:
    """Return the start time of a live process in clock ticks since boot; with it a reused pid is not mistaken for ours."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = stat.rpartition(")")[2].split()  # the name before may hold spaces and parentheses
    return None if state in "ZX" else rest[18]

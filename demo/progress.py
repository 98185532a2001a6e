"""What is shown while it runs: a line for each thing done, and below them what is being done now."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator

from rich import progress as bars
from rich.console import Console

from demo.result import Outcome, Result


class Progress:
    """On a terminal it moves; in a file it is lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def done(self, words: str) -> None:
        """One line, with the seconds since the beginning."""
        self._console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/dim]  ", end="")
        self._console.print(words, markup=False, highlight=False)

    @contextlib.contextmanager
    def working(self, words: str) -> Iterator[Callable[[str], None]]:
        """The block's function tells of its parts; each is a line of its own."""
        self.done(words)
        said = ""
        with self._console.status(words) as status:

            def tell(part: str) -> None:
                nonlocal said
                if part != said:
                    said = part
                    self.done(f"  {part}")
                    status.update(f"{words}: {part}")

            yield tell

    @contextlib.contextmanager
    def replaying(self, requests: int) -> Iterator[Watch]:
        """A bar of so many requests."""
        self.done(f"the trace is replayed: {requests} requests")
        columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn())
        with bars.Progress(*columns, bars.TimeElapsedColumn(), console=self._console, transient=True) as bar:
            watch = Watch(self, bar, bar.add_task("", total=requests))
            yield watch
        self.done(f"  {watch.counts()}")


class Watch:
    """Counts results while they come."""

    def __init__(self, progress: Progress, bar: bars.Progress, task: bars.TaskID) -> None:
        self._progress = progress
        self._bar = bar
        self._task = task
        self._counts: Counter[str] = Counter()
        self._told: set[str] = set()

    def say(self, words: str) -> None:
        """Something happened to the world."""
        self._progress.done(f"  {words}; until now: {self.counts()}")

    def heard(self, result: Result) -> None:
        """A request ended."""
        kind = "degraded" if result.outcome is Outcome.ANSWERED and result.degraded else result.outcome.value
        self._counts[kind] += 1
        why = result.degraded or (result.code if result.outcome is Outcome.REFUSED else "")
        first = f"{result.ask.route} {kind}: {why}"
        if why and first not in self._told:
            self._told.add(first)
            who = f" by {result.candidate}" * bool(result.candidate)
            self._progress.done(f"  first of its kind: {first}{who} (tenant {result.ask.tenant})")
        self._bar.update(self._task, advance=1, description=self.counts())

    def counts(self) -> str:
        """In words."""
        return ", ".join(f"{count} {kind}" for kind, count in self._counts.most_common()) or "nothing yet"

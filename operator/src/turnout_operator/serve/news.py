"""What `serve` tells while it runs: one value for each thing that happens, printed for people or as lines of JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

import msgspec
from rich.console import Console
from rich.table import Table

from turnout_operator.api.fault import Fault
from turnout_operator.ir import Compilation, CompiledRoute, Outcome, Service
from turnout_operator.serve.lines import Lines


class News(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", rename="camel"):
    """Base: `event` is the class' tag."""


class FaultLine(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong in the manifests."""

    file: str
    line: int
    subject: str
    path: str
    message: str
    reason: str


class RouteLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One route of the folder and what is in service of it."""

    route: str
    service: str
    generation: int
    served: int | None
    models: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    worst_case: str = ""
    """US dollars a request"""
    budgets: tuple[str, ...] = ()
    not_enforced: tuple[str, ...] = ()
    """Fields that are declared and have no effect in this version."""


class Loaded(News, frozen=True, tag="loaded"):
    """The folder was read. Objects with faults keep their last good generation, which `routes` tells."""

    policy_version: str
    routes: tuple[RouteLine, ...]
    faults: tuple[FaultLine, ...]


class Refused(News, frozen=True, tag="refused"):
    """The folder could not be read as a whole; nothing changed."""

    faults: tuple[FaultLine, ...]


class Programmed(News, frozen=True, tag="programmed"):
    """Envoy runs this policy, with all its clusters."""

    policy_version: str


class Complaint(News, frozen=True, tag="complaint"):
    """Envoy or the engine refused something; the last good policy serves."""

    words: str


class Listening(News, frozen=True, tag="listening"):
    """Requests are served at `address`."""

    address: str
    base_url: str


class Died(News, frozen=True, tag="envoy_died"):
    """Envoy ended by itself and is started again."""

    status: int
    again_in_seconds: float


class Stopped(News, frozen=True, tag="stopped"):
    """The end."""


Tell = Callable[[News], None]

WIDTH = 160
"""Characters of a line where no terminal says how many there are."""


def as_json(out: Lines) -> Tell:
    """One line of JSON for each."""

    def tell(news: News) -> None:
        out.write(msgspec.json.encode(news) + b"\n")

    return tell


def for_people(out: TextIO = sys.stderr) -> Tell:
    """Words and tables, on standard error, so that standard output holds the access log alone."""
    console = Console(file=out, highlight=False, soft_wrap=True, width=None if out.isatty() else WIDTH)

    def tell(news: News) -> None:
        _print(console, news)

    return tell


def loaded(compilation: Compilation, faults: tuple[Fault, ...], policy_version: str, spent: dict[str, int]) -> Loaded:
    """The news of one reading; `spent` in nano-USD by account."""
    routes = {route.key: route for route in compilation.routes}
    outcomes = [o for o in compilation.outcomes if o.kind == "LLMRoute"]
    return Loaded(
        policy_version=policy_version,
        routes=tuple(_line(outcome, routes.get(outcome.key), spent) for outcome in outcomes),
        faults=lines(faults),
    )


def lines(faults: tuple[Fault, ...]) -> tuple[FaultLine, ...]:
    """The faults as they are told."""
    return tuple(
        FaultLine(file=f.file, line=f.line, subject=f.subject, path=f.path, message=f.message, reason=f.reason)
        for f in faults
    )


def fault(words: str) -> FaultLine:
    """One without a place in a manifest."""
    return FaultLine(file="", line=0, subject="", path="", message=words, reason="Unreadable")


def dollars(nano: int) -> str:
    """An exact decimal, with cents at least."""
    whole, rest = divmod(abs(nano), 1_000_000_000)
    digits = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}{whole}.{digits}"


def _line(outcome: Outcome, route: CompiledRoute | None, spent: dict[str, int]) -> RouteLine:
    if route is None:
        return RouteLine(
            route=outcome.key, service=outcome.service, generation=outcome.generation, served=outcome.served
        )
    return RouteLine(
        route=outcome.key,
        service=outcome.service,
        generation=outcome.generation,
        served=outcome.served,
        models=tuple(model for match in route.policy.matches for model in match.models),
        candidates=tuple(c.name for c in route.policy.candidates),
        worst_case=dollars(route.worst_case.cost),
        budgets=tuple(
            f"{q.name} ${dollars(spent.get(q.account, 0))} of ${dollars(q.amount)} a {q.window.lower()}"
            for q in route.quota
        ),
        not_enforced=tuple(gap.field for gap in route.not_enforced),
    )


_SERVICE = {
    Service.CURRENT: "[green]serving[/]",
    Service.LAST_GOOD: "[yellow]last good[/]",
    Service.STOPPED: "[red]stopped[/]",
    Service.REFUSED: "[red]refused[/]",
}


def _print(console: Console, news: News) -> None:
    match news:
        case Loaded():
            console.print(_table(news))
            _print_faults(console, news.faults)
            for route in news.routes:
                if route.not_enforced:
                    fields = ", ".join(route.not_enforced)
                    console.print(f"note {route.route}: without effect in this version: {fields}", markup=False)
        case Refused():
            console.print("[red]nothing of this was taken over; what served before goes on[/]")
            _print_faults(console, news.faults)
        case Listening():
            console.print(f"listening on [bold]{news.base_url}[/]")
        case Programmed():
            console.print(f"policy {news.policy_version} is in force")
        case Complaint():
            console.print("[red]refused by the sidecar:[/]", end=" ")
            console.print(news.words, markup=False)
        case Died():
            console.print(f"[red]Envoy ended with {news.status}[/], starting it again in {news.again_in_seconds:g} s")
        case Stopped():
            console.print("stopped")


def _table(news: Loaded) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("route", "", "models", "candidates", "worst case", "budgets"):
        table.add_column(heading, overflow="fold")
    for route in news.routes:
        table.add_row(
            route.route,
            _SERVICE[Service(route.service)],
            ", ".join(route.models),
            " > ".join(route.candidates),
            f"${route.worst_case}" if route.worst_case else "",
            "\n".join(route.budgets),
        )
    return table


def _print_faults(console: Console, faults: tuple[FaultLine, ...]) -> None:
    for fault in faults:
        place = f"{fault.file}:{fault.line} " if fault.file else ""
        where = " ".join(part for part in (fault.subject, fault.path) if part)
        console.print(f"{place}{where}: {fault.message}", markup=False, style="red")

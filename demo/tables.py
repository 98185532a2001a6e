"""The summary as a person reads it."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from demo.summary import Latency, Summary, usd


def show(summary: Summary, console: Console) -> None:
    """Prints all of it."""
    console.print()
    console.print(_served(summary))
    if summary.not_served:
        console.print(_not_served(summary))
    console.print(_money(summary))
    console.print(_bills(summary))
    _drill(summary, console)
    console.print(Text("\n$ kubectl get llmroutes -A", style="bold"))
    console.print(Text(summary.routes.rstrip()), soft_wrap=True)
    _breaches(summary, console)


def _served(s: Summary) -> Table:
    title = f"{s.requests} requests: {s.answered} answered, {s.degraded} of them degraded; {s.refused} refused; {s.clamped} answers shortened to fit the budget"
    table = Table("route", "served by", "degraded, because", title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("answers", "TTFT p50", "p95", "total p50", "p95"):
        table.add_column(name, justify="right")
    for row in s.served:
        why = Text(row.why, style="yellow") if row.why else Text("-", style="dim")
        table.add_row(row.route, row.candidate, why, str(row.answers), *_times(row.first_token), *_times(row.total))
    return table


def _not_served(s: Summary) -> Table:
    table = Table("route", "what", "status", "reason", title="Not answered", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("requests", justify="right")
    for row in s.not_served:
        table.add_row(row.route, row.outcome, str(row.status or "-"), row.code, str(row.requests))
    return table


def _money(s: Summary) -> Table:
    title = "Budgets in US dollars: what the ledger counts, and what the providers' own bills say"
    table = Table("route", "limit", "tenant", title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("budget", "ledger", "leased", "billed", "used"):
        table.add_column(name, justify="right")
    for row in s.money:
        used = Text(f"{row.used_percent:.1f} %", style="yellow" if row.used_percent > 90 else "")
        tenant = row.tenant or "-"
        amounts = (row.budget, row.ledger_spent, row.ledger_held, row.providers_billed)
        table.add_row(row.route, row.limit, tenant, *amounts, used)
    return table


def _bills(s: Summary) -> Table:
    table = Table("provider", title="The providers' bills", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("requests", "input tokens", "output tokens", "billed"):
        table.add_column(name, justify="right")
    for row in s.bills:
        table.add_row(
            row.provider, str(row.requests), f"{row.input_tokens:,}", f"{row.output_tokens:,}", f"${row.billed}"
        )
    return table


def _drill(s: Summary, console: Console) -> None:
    d = s.drill
    style = "bold green" if d.verdict == "Passed" else "bold red"
    console.print(Text.assemble("\nDrill ", d.name, f", fault {d.fault}: ", (d.verdict or "no verdict", style)))
    console.print(f"  declared  {' -> '.join(d.expected)}", markup=False)
    console.print(f"  observed  {' -> '.join(d.observed)}   in {d.samples} probes for ${usd(d.cost)}", markup=False)
    if d.verdict != "Passed":
        console.print(f"  {d.words}", markup=False)


def _breaches(s: Summary, console: Console) -> None:
    console.print()
    if not s.breaches:
        console.print(Text("Every bound held.", style="bold green"))
    for breach in s.breaches:
        console.print(Text(f"BROKEN  {breach}", style="bold red"))


def _times(latency: Latency) -> tuple[str, str]:
    return _ms(latency.p50), _ms(latency.p95)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} ms"

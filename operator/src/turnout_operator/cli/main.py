"""The `turnout` command, also reached as `kubectl turnout`.

A subcommand's module is imported only when it is called: `turnout check` in a pre-commit hook must not pay for grpc and kopf,
and a program that lacks one part still lists all of them in its help.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass
from typing import Any

import typer
import typer.core
import typer.main


@dataclass(frozen=True, slots=True, kw_only=True)
class Lazy:
    """Where a subcommand lives: `module` inside this package, and a function or a `typer.Typer` named `attribute` in it."""

    module: str
    attribute: str
    help: str


COMMANDS = {
    "check": Lazy(module="check", attribute="check", help="Name every fault in a folder of manifests."),
    "compile": Lazy(module="compile", attribute="compile_", help="Print what a folder of manifests would program."),
    "serve": Lazy(module="serve", attribute="serve", help="Run the data plane from a folder of manifests."),
    "sim": Lazy(module="sim", attribute="sim", help="Run the stand-in provider."),
    "drill": Lazy(module="drill", attribute="app", help="Rehearse a route's degradation."),
    "operator": Lazy(module="operator", attribute="operator", help="Run the Kubernetes operator."),
}


class LazyGroup(typer.core.TyperGroup):
    """Lists its commands from the table and loads the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        lazy = COMMANDS.get(name or "")
        return name, _load(lazy, name or "") if lazy else command, rest


def _load(lazy: Lazy, name: str) -> Any:
    target = getattr(importlib.import_module(f"turnout_operator.cli.{lazy.module}"), lazy.attribute)
    if not isinstance(target, typer.Typer):
        function, target = target, typer.Typer(add_completion=False)
        target.command(name)(function)
    return typer.main.get_command(target)


app = typer.Typer(
    name="turnout",
    cls=LazyGroup,
    help="LLM routes as contracts: declared, enforced, rehearsed.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # a local may hold a provider key
)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(importlib.metadata.version("turnout-operator"))


def _entry(name: str) -> None:
    def call() -> None:
        raise AssertionError(f"{name} is loaded by LazyGroup before it is called")

    app.command(name, help=COMMANDS[name].help)(call)


for _name in COMMANDS:
    _entry(_name)


def run() -> None:
    """The entry point of the console scripts."""
    app()

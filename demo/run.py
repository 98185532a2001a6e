"""`python -m demo.run`: the main job on real input, from an empty folder to a verdict. Exit status 1 where a bound was broken.

It begins anew each time: what an earlier run left up is ended first, so that budgets are whole.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
from rich.console import Console

from demo import books, down, laws, manifests, replay, tables, trace, workload
from demo import drill as drills
from demo.books import Balance, Charges
from demo.progress import Progress
from demo.result import Result
from demo.stand_ins import StandIn
from demo.summary import summarise
from demo.workload import Ask
from demo.world import ROUTES_NAMESPACE, SIDECARS, World
from turnout_testing import binaries, waiting
from turnout_testing.controlplane import ClientError, ControlPlaneError
from turnout_testing.controlplane.ports import PortTakenError
from turnout_testing.installation import NotUpError

TRACE = Path(__file__).resolve().parents[1] / "examples" / "traces" / "azure-llm-2023-chat.csv"
PRIMARY = "openai"
DIES, RETURNS = 0.2, 0.4
"""Shares of the replay between which the primary provider is dead."""
_SETTLED, _SHOWN = 20, 60
_KNOWN = (
    binaries.BinariesMissingError,
    ClientError,
    ControlPlaneError,
    NotUpError,
    PortTakenError,
    waiting.NeverHappenedError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a person may choose."""

    folder: Path
    speed: float
    rows: int
    json: bool


def run(options: Options, console: Console) -> int:
    """Everything in order; the exit status."""
    began = time.monotonic()
    progress = Progress(console)
    if ended := down.down(options.folder):
        progress.done(f"ended what an earlier demo left up: {', '.join(ended)}")
    for change in manifests.CHANGES:
        progress.done(f"the examples, but {change}")
    shutil.rmtree(options.folder, ignore_errors=True)
    world = World(options.folder)
    with progress.working("the world is brought up") as tell:
        world.bring_up(tell)
    with progress.working("a rehearsal while all is well: kubectl create FallbackDrill") as tell:
        drill = drills.run(world.plane, ROUTES_NAMESPACE, workload.SUPPORT, tell)
    asks = workload.asks(trace.read(TRACE, options.rows), speed=options.speed, sidecars=SIDECARS)
    results = asyncio.run(_replay(world, asks, progress))
    with progress.working("the ledger hears of the last charges"):
        charges, balances = _settled(world)
    if not options.json:  # for the eye only: the laws look at the ledger itself
        with progress.working("the routes' status says it too, once a minute"):
            _in_status(world, balances)
    breaches = laws.breaches(results, balances, charges, drill)
    summary = summarise(results, balances, charges, drill, world.shown_routes(), breaches)
    tables.show(summary, console)
    _say_what_is_up(world, console, time.monotonic() - began)
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(summary)).decode() + "\n")
    return 1 if breaches else 0


async def _replay(world: World, asks: Sequence[Ask], progress: Progress) -> tuple[Result, ...]:
    results: list[Result] = []
    clients = [replay.client(sidecar.url) for sidecar in world.sidecars]
    with progress.replaying(len(asks)) as watch:

        def heard(result: Result) -> None:
            results.append(result)
            watch.heard(result)

        async with asyncio.TaskGroup() as group:
            group.create_task(replay.replay(asks, clients, heard))
            group.create_task(_outage(world.providers[PRIMARY], asks[-1].at, watch.say))
    for client in clients:
        await client.close()
    return tuple(sorted(results, key=lambda r: r.ask.number))


async def _outage(provider: StandIn, lasts: float, say: drills.Tell) -> None:
    """The real process stops serving: its port refuses and what was open is reset."""
    await asyncio.sleep(lasts * DIES)
    await provider.die()
    say(f"provider {provider.name} is DOWN")
    await asyncio.sleep(lasts * (RETURNS - DIES))
    await provider.come_back()
    say(f"provider {provider.name} is back")


def _settled(world: World) -> tuple[tuple[Charges, ...], tuple[Balance, ...]]:
    """Bills, and balances once the sidecars have reported them; as they stand where that never happens, for the laws to tell."""
    limits = books.declared(manifests.of_kind(world.manifests, "LLMRoute"), workload.TENANTS)
    charges = tuple(provider.charges() for provider in world.providers.values())
    found: tuple[Balance, ...] = ()

    def settled() -> bool:
        nonlocal found
        found = books.balances(limits, world.accounts(), charges, ROUTES_NAMESPACE)
        return all(balance.is_settled for balance in found)

    with contextlib.suppress(waiting.NeverHappenedError):
        waiting.until(settled, what="the ledger to know of every charge", within=_SETTLED, every=0.5)
    return charges, found


def _in_status(world: World, balances: Sequence[Balance]) -> None:
    spent = {b.limit.route: b.spent for b in balances if not b.limit.tenant}
    with contextlib.suppress(waiting.NeverHappenedError):
        waiting.until(
            lambda: all(world.spent_today(route) >= amount for route, amount in spent.items()),
            what="the routes' status to hold the last amounts",
            within=_SHOWN,
            every=1,
        )


def _say_what_is_up(world: World, console: Console, seconds: float) -> None:
    path = f"export KUBECONFIG={world.plane.admin_kubeconfig} PATH={binaries.bin_dir()}:$PATH"
    body = '{"model": "case-draft", "messages": [{"role": "user", "content": "Where is my parcel?"}]}'
    url = f"{world.sidecars[0].url}/chat/completions"
    console.print(
        f"\n{seconds:.0f} s. All of it stays up until `make demo-down`; logs are in {world.root}. Look around:\n",
        markup=False,
    )
    console.print(f"  {path}", soft_wrap=True, markup=False, highlight=False)
    console.print("  kubectl get llmroutes,providerpools,fallbackdrills -A", markup=False, highlight=False)
    for tenant in ("acme", manifests.SMALL_TENANT):  # the second one's budget is spent
        ask = f"  curl -i {url} -H 'x-tenant-id: {tenant}' -d '{body}'"
        console.print(ask, soft_wrap=True, markup=False, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m demo.run", description=__doc__)
    parser.add_argument(
        "--speed", type=_positive, default=1.5, help="how many times as fast as the trace (default 1.5)"
    )
    parser.add_argument("--rows", type=int, default=300, help="how many requests of the trace (default 300)")
    parser.add_argument("--dir", type=Path, default=down.FOLDER, help="folder of the demo's data and logs")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="json: on standard output")
    chosen = parser.parse_args(arguments)
    options = Options(folder=chosen.dir.absolute(), speed=chosen.speed, rows=chosen.rows, json=chosen.output == "json")
    console = Console(stderr=options.json, width=None if sys.stdout.isatty() else 120)
    options.folder.parent.mkdir(parents=True, exist_ok=True)
    with options.folder.with_name(options.folder.name + ".lock").open("a") as lock:
        if not _taken(lock):
            console.print("another `make demo` is running: wait for it, or end it", markup=False)
            return 2
        try:
            return run(options, console)
        except _KNOWN as error:
            console.print(
                f"{error}\n\nThe demo could not go on. Logs are in {options.folder}; `make demo-down` ends what is up.",
                markup=False,
            )
            return 2
        except KeyboardInterrupt:
            console.print("\nInterrupted. `make demo-down` ends what is up.", markup=False)
            return 130


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


if __name__ == "__main__":
    sys.exit(main())

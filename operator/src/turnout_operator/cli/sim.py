"""`turnout sim`: the stand-in provider as a process."""

import asyncio
import signal
import ssl
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from turnout_operator.sim import profile as profiles
from turnout_operator.sim import script as scripts
from turnout_operator.sim.amounts import InputError
from turnout_operator.sim.provider import Settings
from turnout_operator.sim.script import Script
from turnout_operator.sim.server import Address, Server


class _Started(msgspec.Struct, frozen=True, rename="camel"):
    """The line on stdout that tells scripts where the sim listens."""

    listen: str
    admin: str
    openai_base_url: str
    anthropic_base_url: str
    models: tuple[str, ...]


def sim(
    listen: Annotated[str, typer.Option(help="HOST:PORT to serve on; port 0 takes a free one.")] = "127.0.0.1:8100",
    admin: Annotated[
        str, typer.Option(help="HOST:PORT of the admin endpoint (/sim/bill, /sim/log, …).")
    ] = "127.0.0.1:0",
    profile: Annotated[
        Path | None, typer.Option(help="Models, prices, lengths, latencies, rate limits (YAML).")
    ] = None,
    script: Annotated[Path | None, typer.Option(help="Faults: which requests meet which (YAML).")] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(envvar="TURNOUT_SIM_KEYS", help="An API key that is good; repeat it. Without one every key is."),
    ] = None,
    journal: Annotated[Path | None, typer.Option(help="File that keeps every charge, so the bill survives.")] = None,
    log_size: Annotated[int, typer.Option(min=0, help="How many requests /sim/log remembers.")] = 1000,
    log_bodies: Annotated[bool, typer.Option(help="Keep request bodies in the log. They may hold prompts.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of latencies and answer lengths.")] = 0,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate chain; serves https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM private key of the certificate.")] = None,
) -> None:
    """A stand-in LLM provider with faults by script and a bill of its own.

    It speaks OpenAI (POST /v1/chat/completions, GET /v1/models) and Anthropic (POST /v1/messages), plain and streaming,
    to any client. The answers are words without meaning, but their length, usage and price are exact.

    When it is ready it prints one line of JSON with its addresses. SIGTERM or SIGINT end it.

    How long an answer is: the profile says, or a request does with the header x-sim-output-tokens or a directive in
    its prompt (docs/guides/sim.md). max_tokens is obeyed.

    While it runs, on the admin port: GET /sim/bill (what it charged, in 10^-9 USD), GET /sim/log, PUT /sim/script,
    POST /sim/down and /sim/up (the provider dies and comes back on its port), GET /sim/state.

    \b
    turnout sim --listen 127.0.0.1:8100 --admin 127.0.0.1:8101
    curl -X POST 127.0.0.1:8101/sim/down?for=10s
    curl 127.0.0.1:8101/sim/bill
    """
    try:
        settings = Settings(
            profile=profiles.default() if profile is None else profiles.load(profile),
            keys=tuple(key or ()),
            journal=journal,
            log_size=log_size,
            log_bodies=log_bodies,
            seed=seed,
        )
        rules = Script() if script is None else scripts.load(script)
        addresses = _address(listen, "--listen"), _address(admin, "--admin")
        asyncio.run(_serve(settings, rules, *addresses, _tls(tls_cert, tls_key)))
    except (InputError, ValueError, OSError) as error:
        typer.echo(f"turnout sim: {error}", err=True)
        raise typer.Exit(1) from error


async def _serve(
    settings: Settings, script: Script, listen: Address, admin: Address, tls: ssl.SSLContext | None
) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server = Server(settings, script, listen, admin, tls)
    server.start()
    sys.stdout.write(_line(server, "https" if tls else "http") + "\n")
    sys.stdout.flush()
    await ended.wait()
    server.stop()


def _line(server: Server, scheme: str) -> str:
    listen = _written(server.listener.host, server.listener.port)
    started = _Started(
        listen=listen,
        admin=_written(server.admin.host, server.admin.port),
        openai_base_url=f"{scheme}://{listen}/v1",
        anthropic_base_url=f"{scheme}://{listen}",
        models=tuple(model.name for model in server.provider.settings.profile.models),
    )
    return msgspec.json.encode(started).decode()


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(written: str, option: str) -> Address:
    host, colon, port = written.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise InputError(f"{option}: not HOST:PORT: {written!r}; write for example 127.0.0.1:8100")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if (cert is None) != (key is None):
        raise InputError("--tls-cert and --tls-key belong together; write both")
    if cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return context

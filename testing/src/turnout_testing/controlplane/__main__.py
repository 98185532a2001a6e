"""`python -m turnout_testing.controlplane up|down|status`: a control plane that stays until `down`."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from turnout_testing import binaries
from turnout_testing.controlplane.plane import ControlPlane, ControlPlaneError
from turnout_testing.controlplane.ports import PortTakenError

DEFAULT_DIRECTORY = Path(".turnout/cluster")


def up(directory: Path) -> int:
    """Start what does not run in `directory`; the admin's kubeconfig on stdout."""
    plane = ControlPlane(directory, tied=False)
    with _locked(directory):
        plane.start()
    print(f"the control plane is up at {plane.url}, logs in {plane.directory / 'run'}", file=sys.stderr)
    print(f"  export KUBECONFIG={plane.admin_kubeconfig} PATH={binaries.bin_dir()}:$PATH", file=sys.stderr)
    print(plane.admin_kubeconfig)
    return 0


def down(directory: Path, *, purge: bool) -> int:
    """Stop what runs in `directory`; with `purge` its data, certificates and logs go too."""
    plane = ControlPlane(directory, tied=False)
    if not plane.exists:
        print(f"there is no control plane in {directory}", file=sys.stderr)
        return 0
    with _locked(directory):
        plane.stop()
        if purge:
            shutil.rmtree(plane.directory)
    print(f"the control plane in {directory} is down{' and its data is gone' if purge else ''}", file=sys.stderr)
    return 0


def status(directory: Path) -> int:
    """Print one line per process; 0 where all run, 1 otherwise."""
    plane = ControlPlane(directory, tied=False)
    for daemon in plane.daemons:
        print(f"{daemon.name:<24} {f'running, pid {daemon.pid}' if daemon.pid else 'down'}")
    if plane.exists:
        print(f"{'KUBECONFIG':<24} {plane.admin_kubeconfig}")
    return 0 if all(daemon.pid for daemon in plane.daemons) else 1


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Parse the command line and do as it says."""
    parser = argparse.ArgumentParser(prog="python -m turnout_testing.controlplane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "status"):
        command = commands.add_parser(name)
        command.add_argument("--dir", type=Path, default=DEFAULT_DIRECTORY, help=f"default: {DEFAULT_DIRECTORY}")
        if name == "down":
            command.add_argument("--purge", action="store_true", help="also remove data, certificates and logs")
    chosen = parser.parse_args()
    try:
        match chosen.command:
            case "up":
                return up(chosen.dir)
            case "down":
                return down(chosen.dir, purge=chosen.purge)
            case _:
                return status(chosen.dir)
    except (binaries.BinariesMissingError, ControlPlaneError, PortTakenError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

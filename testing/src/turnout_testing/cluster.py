"""`python -m turnout_testing.cluster up|down`: a control plane with the chart and two operators, to try things by hand.

It stays until `down`; `kubectl` and `helm` are those of the test bed, so nothing need be installed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from turnout_testing import binaries
from turnout_testing.controlplane import ControlPlane, ControlPlaneError
from turnout_testing.controlplane.__main__ import down as plane_down
from turnout_testing.controlplane.daemons import Daemon
from turnout_testing.installation import Installation, NotUpError

DIRECTORY = Path(".turnout/cluster")
_STOP_SECONDS = 5


def up(directory: Path, secret_namespaces: tuple[str, ...]) -> int:
    """Starts what does not run; says on stderr what is being done and on stdout what to export."""
    plane = ControlPlane(directory / "plane", tied=False)
    print("starting etcd, kube-apiserver and kube-controller-manager", file=sys.stderr)
    plane.start()
    print("helm install charts/turnout", file=sys.stderr)
    installation = Installation(plane, directory / "installation", tied=False)
    installation.install(secret_namespaces=secret_namespaces)
    print("starting two operators", file=sys.stderr)
    installation.start_operators()
    print(f"the operators' logs are in {installation.folder}; try: kubectl apply -f examples", file=sys.stderr)
    print(f"export KUBECONFIG={plane.admin_kubeconfig} PATH={binaries.bin_dir()}:$PATH")
    return 0


def down(directory: Path) -> int:
    """Ends everything that `up` started, by the recorded process ids, and removes its data."""
    plane = ControlPlane(directory / "plane", tied=False)
    if not plane.exists:
        print(f"there is no cluster in {directory}", file=sys.stderr)
        return 0
    for recorded in sorted((directory / "installation").rglob("*.pid")):
        Daemon(recorded.stem, recorded.parent, tied=False).terminate(_STOP_SECONDS)
    return plane_down(directory / "plane", purge=True)


def main() -> int:
    """Parses the command line and does as it says."""
    parser = argparse.ArgumentParser(prog="python -m turnout_testing.cluster", description=__doc__)
    parser.add_argument("command", choices=["up", "down"])
    parser.add_argument("--dir", type=Path, default=DIRECTORY, help=f"default: {DIRECTORY}")
    parser.add_argument(
        "--secret-namespaces",
        default="llm",
        help="where the operator may read provider Secrets, by commas; default: llm",
    )
    chosen = parser.parse_args()
    if chosen.command == "down":
        return down(chosen.dir.absolute())
    try:
        return up(chosen.dir.absolute(), tuple(chosen.secret_namespaces.split(",")))
    except (binaries.BinariesMissingError, ControlPlaneError, NotUpError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

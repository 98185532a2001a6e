"""`python -m demo.down`: ends what the demo left up, by the process ids that it wrote down."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from turnout_testing.controlplane.daemons import Daemon

FOLDER = Path(__file__).resolve().parents[1] / ".turnout" / "demo"
_ORDER = ("sidecars", "installation", "providers", "kube-controller-manager", "kube-apiserver", "etcd")
_SECONDS = 5


def down(folder: Path) -> tuple[str, ...]:
    """Ends every recorded process that still runs, clients before servers; their names. A reused pid is not mistaken for one of ours."""
    found = [
        Daemon(path.stem, path.parent, tied=False)
        for path in sorted(folder.rglob("*.pid"), key=lambda path: _rank(path.relative_to(folder)))
    ]
    running = [daemon for daemon in found if daemon.pid is not None]
    for daemon in running:
        daemon.terminate(_SECONDS)
    return tuple(daemon.name for daemon in running)


def _rank(path: Path) -> tuple[int, str]:
    names = (*path.parts, path.stem)
    return next((rank for rank, name in enumerate(_ORDER) if name in names), len(_ORDER)), str(path)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m demo.down", description="End what `make demo` left up.")
    parser.add_argument("--dir", type=Path, default=FOLDER, help="the demo's folder")
    ended = down(parser.parse_args(arguments).dir)
    print(f"ended: {', '.join(ended)}" if ended else "nothing of the demo was running", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

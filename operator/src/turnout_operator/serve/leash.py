"""Becomes the given command as a child that does not outlive its parent: ``python -m turnout_operator.serve.leash PARENT COMMAND…``.

A program of its own, because the alternative runs Python between fork and exec in a process that holds gRPC's threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """The kernel's promise is kept over exec; the check after it closes the gap in which the parent may have died already."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - this process becomes the command


if __name__ == "__main__":
    main()

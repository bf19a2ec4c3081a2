"""Runs a command that does not outlive whoever started it: `python -m hailod.demo.tether PARENT_PID COMMAND...`.

The kernel keeps the parent-death signal across `exec`, so the command needs to know nothing of it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import NoReturn

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> NoReturn:
    """Become the command; leave at once when the parent has died already."""
    parent, command = int(argv[0]), argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
    os.execvp(command[0], command)  # noqa: S606 -- no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])

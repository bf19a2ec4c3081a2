"""Processes that do not die when they are killed, as those do that hang inside a driver."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# A tracer that asks to be told of the exit holds the process there, killed and not dead, until it ends itself.
_TRACER = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
PTRACE_SEIZE, PTRACE_O_TRACEEXIT = 0x4206, 1 << 6
print(libc.ptrace(PTRACE_SEIZE, int(sys.argv[1]), None, PTRACE_O_TRACEEXIT), flush=True)
sys.stdin.read()
"""


@contextmanager
def unkillable(pid: int) -> Iterator[None]:
    """While the block runs, SIGKILL does not end the process: it is in its exit and stays there."""
    tracer = subprocess.Popen(
        [sys.executable, "-c", _TRACER, str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert tracer.stdout is not None
        assert tracer.stdout.readline().strip() == "0", "the process can be traced"
        yield
    finally:
        tracer.communicate()

"""What native code does to Python: it blocks with or without the GIL, and ends the process on an escaped exception."""

from __future__ import annotations

import ctypes
import os
import sys
import traceback
from typing import NoReturn

_GIL_KEPT = ctypes.PyDLL(None).usleep
_GIL_RELEASED = ctypes.CDLL(None).usleep


class Native:
    """An object of native code. Its destructor does nothing once the interpreter is being taken apart, when the modules
    that it would need may be gone already; what it would give back, the kernel takes back with the process."""

    _interpreter_ends = staticmethod(sys.is_finalizing)


def block(seconds: float, *, holding_gil: bool) -> None:
    """Be a native call that takes a while."""
    microseconds = ctypes.c_uint(int(seconds * 1e6))
    if holding_gil:
        _GIL_KEPT(microseconds)
    else:
        _GIL_RELEASED(microseconds)


def terminate(error: BaseException) -> NoReturn:
    """What the C++ run-time does with an exception that leaves a callback."""
    text = "".join(traceback.format_exception_only(error)).strip()
    where = "".join(f"  {f.filename}({f.lineno}): {f.name}\n" for f in traceback.extract_tb(error.__traceback__))
    message = f"terminate called after throwing an instance of 'pybind11::error_already_set'\n  what():  {text}\n"
    os.write(2, f"{message}\nAt:\n{where}".encode(errors="replace"))
    os.abort()


def abort_of_self_join() -> NoReturn:
    """What the C++ run-time does with a thread that waits for its own end in a destructor."""
    os.write(
        2, b"terminate called after throwing an instance of 'std::system_error'\n  what():  Resource deadlock avoided\n"
    )
    os.abort()

"""Whether the wall clock is set. A Raspberry Pi without a battery starts in the past and learns the time later."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from hailod.clock import Clock

# systemd-timesyncd makes this file when it has synchronised the clock; /run is empty after each boot.
TIMESYNCD_FLAG = Path("/run/systemd/timesync/synchronized")
# A clock that shows less than the release of this program is not set.
RELEASED = datetime(2026, 11, 1, tzinfo=UTC).timestamp()

_LOOK_EVERY_S = 1.0
# adjtimex(2): the kernel's bound of the clock's error, in microseconds. It starts at this value, a time client sets it,
# and without one it grows back in nine hours.
_MAXERROR_UNSET = 16_000_000
_STA_UNSYNC = 0x40


class _Timex(ctypes.Structure):
    """The beginning of C's `struct timex`, and more room behind it than it takes on any machine."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def kernel_says() -> bool | None:
    """Whether the kernel knows of a client that keeps the clock right; None where it may not be asked.

    Reading (`modes` = 0) needs no privilege, but systemd's `ProtectClock=` and some containers refuse the call
    altogether. Either sign is enough: clients that keep the kernel from writing the hardware clock leave STA_UNSYNC set
    for it, which is why `timedatectl` goes by the error bound alone.
    """
    timex = _Timex()
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    if adjtimex(ctypes.byref(timex)) < 0:
        return None
    return not timex.status & _STA_UNSYNC or timex.maxerror < _MAXERROR_UNSET


class TimeSync:
    """Whether the wall clock has been set since the machine started; looks at most once a second, never raises.

    Once it was it stays so: without a time server a clock drifts by seconds a day, not by years. Where neither
    systemd-timesyncd nor the kernel says anything it is taken for set unless it shows a time before RELEASED.
    """

    def __init__(
        self, clock: Clock, *, kernel: Callable[[], bool | None] = kernel_says, flag: Path = TIMESYNCD_FLAG
    ) -> None:
        self._clock = clock
        self._kernel = kernel
        self._flag = flag
        self._synced = False
        self._next_look = clock.monotonic()

    def synced(self) -> bool:
        now = self._clock.monotonic()
        if not self._synced and now >= self._next_look:
            self._next_look = now + _LOOK_EVERY_S
            self._synced = self._look()
        return self._synced

    def _look(self) -> bool:
        # Path.exists would raise where a folder may not be searched.
        if os.path.exists(self._flag):
            return True
        known = self._kernel()
        return self._clock.wall() >= RELEASED if known is None else known

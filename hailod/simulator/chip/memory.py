"""What of a simulated device outlives a process: how many jobs it was given, and which faults are spent.

A fixed record in shared memory. Without a path it belongs to this process and those forked from it; with one, to every
process that names the same file, however they came to be. Each change is made under a lock that the kernel releases
with a process that dies.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import stat
import struct
import threading

from hailod.simulator.chip.foreign import Native

MAX_RULES = 256
_MAGIC = b"HLSIMv1\0"
# Magic, whose script it is, when it came into force (seconds), jobs so far, when the chip was last reset (seconds).
_HEADER = struct.Struct("<8s16sdQd")
_JOBS, _JOBS_AT = struct.Struct("<Q"), 32
# Of each rule: when it began (NaN: never), how often it took effect, how many jobs it looked at.
_RULE = struct.Struct("<dQQ")
SIZE = _HEADER.size + MAX_RULES * _RULE.size


class DeviceMemory(Native):
    """The record of one device. OSError when its file cannot be had, ValueError when it is not ours."""

    def __init__(self, path: str | None = None) -> None:
        self._file = -1
        if path is not None:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            found = os.fstat(self._file)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
                raise ValueError(f"{path}: not a file of this user")
            if found.st_size < SIZE:
                os.ftruncate(self._file, SIZE)
        self._map = mmap.mmap(self._file, SIZE)
        self._alone = _Alone(self._file)

    def close(self) -> None:
        self._map.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        if self._file >= 0 and not self._interpreter_ends():
            os.close(self._file)

    @property
    def shared(self) -> bool:
        """Whether processes not forked from this one may change it."""
        return self._file >= 0

    def begin(self, script: bytes, now: float) -> None:
        """Let a script (its 16-byte digest) be in force. Another one than before starts its rules anew at `now`;
        jobs go on counting. So does one that seems to have begun in the future, before the machine's last start."""
        with self._alone:
            magic, known, began, jobs, reset = _HEADER.unpack_from(self._map)
            if magic != _MAGIC or began > now:
                jobs, known, reset = 0, b"", -math.inf
            if known != script:
                _HEADER.pack_into(self._map, 0, _MAGIC, script, now, jobs, reset)
                for index in range(MAX_RULES):
                    _RULE.pack_into(self._map, _at(index), math.nan, 0, 0)

    @property
    def began(self) -> float:
        """When the script came into force."""
        return float(_HEADER.unpack_from(self._map)[2])

    @property
    def jobs(self) -> int:
        """How many jobs the device was given so far."""
        return int(_JOBS.unpack_from(self._map, _JOBS_AT)[0])

    def next_job(self) -> int:
        """The number of a new job, from 1."""
        with self._alone:
            number = int(_JOBS.unpack_from(self._map, _JOBS_AT)[0]) + 1
            _JOBS.pack_into(self._map, _JOBS_AT, number)
            return number

    @property
    def reset_at(self) -> float:
        """When the chip was last reset."""
        return float(_HEADER.unpack_from(self._map)[4])

    def reset(self, now: float) -> None:
        """Note a reset of the chip."""
        with self._alone:
            _HEADER.pack_into(self._map, 0, *_HEADER.unpack_from(self._map)[:4], now)

    def rule_began(self, rule: int) -> float | None:
        """When a rule began, None if it never did."""
        began = float(_RULE.unpack_from(self._map, _at(rule))[0])
        return None if math.isnan(began) else began

    def start(self, rule: int, now: float, *, again: bool = False) -> float:
        """Let a rule begin, unless it did before and is not to begin `again`; says when it began."""
        with self._alone:
            began, fired, seen = _RULE.unpack_from(self._map, _at(rule))
            if math.isnan(began) or again:
                began = now
                _RULE.pack_into(self._map, _at(rule), began, fired, seen)
            return float(began)

    def see(self, rule: int) -> int:
        """Count a job that a rule looks at, from 1."""
        with self._alone:
            began, fired, seen = _RULE.unpack_from(self._map, _at(rule))
            _RULE.pack_into(self._map, _at(rule), began, fired, seen + 1)
            return int(seen) + 1

    def fire(self, rule: int, times: int | None) -> bool:
        """Let a rule take effect, unless it did so `times` times."""
        with self._alone:
            began, fired, seen = _RULE.unpack_from(self._map, _at(rule))
            if times is not None and fired >= times:
                return False
            _RULE.pack_into(self._map, _at(rule), began, fired + 1, seen)
            return True


class _Alone:
    """One thread of one process at a time, reentrant. The kernel lets go for a process that dies."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._lock = threading.RLock()
        self._depth = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1
        if self._file >= 0 and self._depth == 1:
            fcntl.lockf(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._file >= 0 and self._depth == 0:
            fcntl.lockf(self._file, fcntl.LOCK_UN)
        self._lock.release()


def _at(rule: int) -> int:
    return _HEADER.size + rule * _RULE.size

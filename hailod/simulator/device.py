"""The simulated chip: when it does what, who owns it, and the failures it was told to have."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import threading
from collections import deque
from pathlib import Path
from typing import Protocol, TypeVar
from weakref import WeakValueDictionary

from hailod.models.catalogue import resolve_manifest
from hailod.simulator import loader
from hailod.simulator.native import HailoRTStatusException
from hailod.simulator.network import Network, Timing
from hailod.simulator.options import Faults, SimulatorOptions

OUT_OF_PHYSICAL_DEVICES = 74
DEVICE_IN_USE = 73
INVALID_ARGUMENT = 2
INVALID_OPERATION = 6
DRIVER_OPERATION_FAILED = 36


class Served(Protocol):
    """What the device needs to know of a job: when it came (seconds), and how many of its frames it has not begun."""

    submitted: float
    left: int


Job = TypeVar("Job", bound=Served)


class Timeline:
    """Virtual time of one chip, shared by all models on it.

    A batch starts at max(submitted, end of the one before), takes the frames submitted by then, up to the batch size,
    and ends after switch + n * frame. Nobody's lateness in looking enters, so it cannot add up.
    """

    def __init__(self) -> None:
        self._free = float("-inf")
        self._lock = threading.Lock()

    def serve(self, waiting: deque[Job], batch_size: int, timing: Timing, now: float) -> tuple[list[Job], float]:
        """Form the next batch of what waits: the jobs that it completes, removed from `waiting`, and its end.

        No jobs: nothing more can happen before the moment that is returned; ask again then.
        """
        with self._lock:
            start = max(waiting[0].submitted, self._free)
            if start > now:
                return [], start
            finished: list[Job] = []
            room = batch_size
            while room and waiting and waiting[0].submitted <= start:
                job = waiting[0]
                taken = min(room, job.left)
                job.left -= taken
                room -= taken
                if not job.left:
                    finished.append(waiting.popleft())
            self._free = start + timing.switch + (batch_size - room) * timing.frame
            return finished, self._free


class Hold:
    """Ownership of the chip among the processes of one user: a name that the kernel frees with its last owner."""

    def __init__(self, serial: str) -> None:
        self._address = f"\0hailod-simulator/{os.getuid()}/{serial}"
        self._socket: socket.socket | None = None

    def take(self) -> bool:
        """Whether the chip is now ours."""
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(self._address)
        except OSError as error:
            claim.close()
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        self._socket = claim
        return True

    def release(self) -> None:
        """Let it go; harmless when it is not held."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class OpenDevice:
    """The chip while somebody owns it; VDevices of one process and group share it."""

    def __init__(self, hold: Hold, group: str) -> None:
        self.timeline = Timeline()
        self.group = group
        self.users = 1
        self.active: object = None
        self._hold = hold

    def close(self) -> None:
        self._hold.release()


class Simulation:
    """One installed simulator: its options and what happened on it. `faults` may be replaced at any time."""

    def __init__(self, options: SimulatorOptions, resolve: loader.Resolve = resolve_manifest) -> None:
        self.options = options
        self.faults: Faults = options.faults
        self.jobs = 0
        self._resolve = resolve
        # Reentrant, as a garbage collection under it may release a VDevice.
        self._lock = threading.RLock()
        self._shared: dict[str, OpenDevice] = {}
        self._networks: WeakValueDictionary[tuple[object, ...], Network] = WeakValueDictionary()

    def next_job(self) -> int:
        """The number of a new call of `run_async`."""
        with self._lock:
            self.jobs += 1
            return self.jobs

    @property
    def vanished(self) -> bool:
        return self.faults.vanish_at is not None and self.jobs >= self.faults.vanish_at

    def answers(self, job: int) -> bool:
        """Whether a callback will ever come for the job."""
        limits = (self.faults.hang_from, self.faults.vanish_at)
        return all(limit is None or job < limit for limit in limits)

    def open_device(self, device_ids: list[str], group: str) -> OpenDevice:
        """Own the chip until `close_device`. Raises the status that libhailort would return."""
        if self.faults.open_status is not None:
            raise HailoRTStatusException(self.faults.open_status)
        if self.vanished:
            raise HailoRTStatusException(INVALID_ARGUMENT if device_ids else OUT_OF_PHYSICAL_DEVICES)
        if any(name != self.options.device_id for name in device_ids):
            raise HailoRTStatusException(INVALID_ARGUMENT)
        with self._lock:
            if group in self._shared:
                self._shared[group].users += 1
                return self._shared[group]
            hold = Hold(self.options.serial)
            if not hold.take():
                raise HailoRTStatusException(DEVICE_IN_USE if device_ids else OUT_OF_PHYSICAL_DEVICES)
            device = OpenDevice(hold, group)
            if group != "UNIQUE":
                self._shared[group] = device
            return device

    def close_device(self, device: OpenDevice) -> None:
        with self._lock:
            device.users -= 1
            if device.users == 0:
                self._shared.pop(device.group, None)
                device.close()

    def network(self, path: str) -> Network:
        """The model of a file, loaded once while anybody uses it. Raises as `loader.load` does."""
        file = Path(path)
        found = file.stat()
        key = (path, found.st_ino, found.st_size, found.st_mtime_ns)
        network = self._networks.get(key)
        if network is None:
            network = loader.load(file, self.options.arch, self._resolve)
            self._networks[key] = network
        return network

    def check_bus(self) -> None:
        """Raise what the driver's calls return once the chip is gone."""
        if self.vanished:
            raise HailoRTStatusException(DRIVER_OPERATION_FAILED)


_GIL_KEPT = ctypes.PyDLL(None).usleep
_GIL_RELEASED = ctypes.CDLL(None).usleep


def block(seconds: float, *, holding_gil: bool) -> None:
    """Be a native call that takes a while."""
    microseconds = ctypes.c_uint(int(seconds * 1e6))
    if holding_gil:
        _GIL_KEPT(microseconds)
    else:
        _GIL_RELEASED(microseconds)


_installed: Simulation | None = None


def current() -> Simulation:
    """The installed simulation."""
    if _installed is None:
        raise RuntimeError("no simulation: call hailod.simulator.install() first")
    return _installed


def set_current(simulation: Simulation | None) -> None:
    global _installed  # noqa: PLW0603 - sys.modules is as global as this
    _installed = simulation

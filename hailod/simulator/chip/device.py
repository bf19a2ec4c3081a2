"""The simulated chip: who owns it, what it answers, and what was scripted to happen to it."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from hailod.models.catalogue import resolve_manifest
from hailod.simulator import presets
from hailod.simulator.chip.conditions import Health
from hailod.simulator.chip.faults import Faults
from hailod.simulator.chip.foreign import block
from hailod.simulator.chip.injector import Fate, Injector
from hailod.simulator.chip.memory import DeviceMemory
from hailod.simulator.chip.notifications import Notification, Notifier
from hailod.simulator.chip.timeline import Timeline
from hailod.simulator.native import HailoRTStatusException
from hailod.simulator.networks import loader
from hailod.simulator.networks.network import HefInfo, Model, Timing
from hailod.simulator.networks.scripted import Scene
from hailod.simulator.options import SimulatorOptions
from hailod.simulator.standins import NO_STAND_INS, StandIns

__all__ = ["OpenDevice", "Simulation", "block", "current", "installed", "set_current"]

OUT_OF_PHYSICAL_DEVICES = 74
DEVICE_IN_USE = 73
INVALID_ARGUMENT = 2
INVALID_OPERATION = 6
DRIVER_OPERATION_FAILED = 36
# How soon what another process's job has triggered is announced here.
NEWS_OF_OTHERS_S = 0.1


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

    def __init__(self, hold: Hold, group: str, timeline: Timeline[Any], opened: float) -> None:
        self.timeline = timeline
        self.group = group
        self.opened = opened
        self.users = 1
        self.active: object = None
        self._hold = hold

    def close(self) -> None:
        self._hold.release()


class Simulation:
    """One installed simulator: its options and what happens on it. `faults` may be replaced at any time."""

    def __init__(
        self,
        options: SimulatorOptions,
        resolve: loader.Resolve = resolve_manifest,
        stand_ins: StandIns = NO_STAND_INS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options = options
        self.stand_ins = stand_ins
        self.now = now
        self.scenes: dict[str, Scene] = {}
        """What models that compute nothing see, by the name of their network group; otherwise what their files say."""
        self._resolve = resolve
        self._memory = DeviceMemory(options.memory)
        self._injector = self._inject(options.faults)
        self.notifier = Notifier(
            now, self._announced, self.next_instant, NEWS_OF_OTHERS_S if self._memory.shared else None
        )
        # Reentrant, as a garbage collection under it may release a VDevice.
        self._lock = threading.RLock()
        self._shared: dict[str, OpenDevice] = {}
        self._open: WeakSet[OpenDevice] = WeakSet()
        self._models: WeakValueDictionary[tuple[object, ...], Model] = WeakValueDictionary()

    # -- what was scripted -------------------------------------------------------------------------------------------

    @property
    def faults(self) -> Faults:
        return self._injector.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._injector = self._inject(faults)
        self._stir()

    def _inject(self, faults: Faults) -> Injector:
        options = self.options
        return Injector(faults, self._memory, self.now(), celsius=options.temperature_c, watts=options.power_w)

    @property
    def jobs(self) -> int:
        """How often `run_async` was called on the device so far."""
        return self._memory.jobs

    def fate(self, model: str) -> tuple[int, Fate]:
        """Number a new call of `run_async` and say what becomes of it."""
        number, fate = self._injector.fate(model, self.now())
        if fate.stirs:
            self._stir()
        return number, fate

    @property
    def vanished(self) -> bool:
        """Whether the chip is off the bus."""
        return self._injector.conditions.lost(self.now())

    def severed(self, since: float) -> bool:
        """Whether what was opened then has lost its chip for good."""
        return self._memory.reset_at >= since or self._injector.conditions.severed(since, self.now())

    def aborted(self, since: float) -> bool:
        """Whether the firmware has stopped all dataflow since then."""
        return self._injector.conditions.aborted(since, self.now())

    def pace(self, moment: float) -> float:
        """How many times slower than at its full clock the chip runs."""
        return self._injector.conditions.pace(moment)

    def next_instant(self) -> float:
        """When the device next changes by itself; inf: never."""
        return self._injector.conditions.next_instant(self.now())

    def _stir(self) -> None:
        """Let everybody look at what has become of the device."""
        for device in list(self._open):
            device.timeline.wake()
        self.notifier.poke()

    def _announced(self, since: float, until: float) -> Sequence[Notification]:
        return self._injector.conditions.notifications(since, until)

    # -- what the firmware answers -----------------------------------------------------------------------------------

    def check_bus(self) -> None:
        """Raise what the driver's calls return once the chip is gone."""
        if self.vanished:
            raise HailoRTStatusException(DRIVER_OPERATION_FAILED)

    def reset(self) -> None:
        """Start the firmware anew: nothing that is open on the chip is ever answered again."""
        self.check_bus()
        self._memory.reset(self.now())
        self._stir()

    def check_versions(self) -> None:
        """Raise what opening the chip returns when driver or firmware are of another version."""
        if status := self._injector.versions(self.now()):
            raise HailoRTStatusException(status)

    def check_configure(self, model: str) -> None:
        """Raise what `configure()` was told to."""
        if status := self._injector.configuring(model, self.now()):
            raise HailoRTStatusException(status)

    def temperature(self) -> tuple[float, float]:
        """Both sensors of the chip, in degrees Celsius."""
        self.check_bus()
        return self._injector.conditions.celsius(self.now())

    def power(self, at: float | None = None) -> float | None:
        """Watts now or at another moment, None when the module has no sensor."""
        self.check_bus()
        return self._injector.conditions.watts(self.now() if at is None else at)

    def health(self) -> Health:
        """What the firmware's health monitor says."""
        self.check_bus()
        return self._injector.conditions.health(self.now())

    # -- ownership and models ----------------------------------------------------------------------------------------

    def open_device(self, device_ids: list[str], group: str) -> OpenDevice:
        """Own the chip until `close_device`. Raises the status that libhailort would return."""
        self.check_versions()
        if status := self._injector.opening(self.now()):
            raise HailoRTStatusException(status)
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
            timeline: Timeline[Any] = Timeline(
                change=self.options.model_change_s,
                pace=self.pace,
                idle_optimisation=not os.environ.get("HAILO_DISABLE_IDLE_OPT", "").startswith("1"),
            )
            device = OpenDevice(hold, group, timeline, self.now())
            self._open.add(device)
            if group != "UNIQUE":
                self._shared[group] = device
            return device

    def close_device(self, device: OpenDevice) -> None:
        with self._lock:
            device.users -= 1
            if device.users == 0:
                self._shared.pop(device.group, None)
                device.close()

    def model(self, path: str) -> Model:
        """The model that a program names by `path`, loaded once while anybody uses it. Raises as `loader.load` does."""
        stand_in = self.stand_ins.find(path)
        file, name = stand_in or (Path(path), None)
        found = file.stat()
        key = (str(file), name, found.st_ino, found.st_size, found.st_mtime_ns)
        model = self._models.get(key)
        if model is None:
            model = loader.load(
                file, self.options.arch, self._resolve, name, profile=self.options.profile, scenes=self.scenes
            )
            self._models[key] = model
        return model

    def timing(self, info: HefInfo) -> tuple[Timing, bool]:
        """What a model costs on this chip, and whether it takes several contexts."""
        if self.options.preset is None:
            return info.timing, info.multi_context
        published = presets.preset(self.options.preset)
        return Timing(published.switch_ms / 1000, published.frame_ms / 1000), published.multi_context

    def close(self) -> None:
        """Let nothing run on its behalf any more; what is open stays usable until it is released."""
        self.notifier.close()


_installed: Simulation | None = None


def current() -> Simulation:
    """The installed simulation."""
    if _installed is None:
        raise RuntimeError("no simulation: call hailod.simulator.install() first")
    return _installed


def installed() -> Simulation | None:
    """The installed simulation, if there is one."""
    return _installed


def set_current(simulation: Simulation | None) -> None:
    global _installed  # noqa: PLW0603 - sys.modules is as global as this
    _installed = simulation

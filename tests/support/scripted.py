"""An installed simulation with a script of faults, as tests of `hailo_platform` use it."""

from __future__ import annotations

import importlib
import itertools
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hailod import simulator
from hailod.simulator import Faults, Simulation, SimulatorOptions
from tests.support.models import sees_two
from tests.support.waiting import wait_for

_serials = itertools.count(1)


@dataclass
class Model:
    """A configured timing-only model, and how its jobs ended, in order: 0 or the class of what was delivered."""

    configured: Any
    elements: int
    ended: list[str] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)

    def run(self, frames: int = 1) -> Any:
        made = []
        for _ in range(frames):
            bindings = self.configured.create_bindings()
            bindings.input().set_buffer(np.zeros((64, 96, 3), np.uint8))
            bindings.output().set_buffer(np.zeros(self.elements, np.float32))
            made.append(bindings)
        self.outputs.append(made[-1])
        return self.configured.run_async(made, self._completed)

    def _completed(self, *, completion_info: Any) -> None:
        self.moments.append(time.monotonic())
        self.ended.append("ok" if completion_info.exception is None else type(completion_info.exception).__name__)

    def all_ended(self, count: int) -> list[str]:
        wait_for(lambda: len(self.ended) >= count, what=f"{count} completions")
        return self.ended


@dataclass
class Bench:
    """An installed simulation with an open VDevice."""

    folder: Path
    simulation: Simulation
    hailo: ModuleType
    vdevice: Any = None
    models: list[Model] = field(default_factory=list)
    devices: list[Any] = field(default_factory=list)

    @property
    def python(self) -> Any:
        return self.hailo.pyhailort.pyhailort

    def open(self) -> None:
        params = self.hailo.VDevice.create_params()
        params.scheduling_algorithm = self.hailo.HailoSchedulingAlgorithm.ROUND_ROBIN
        self.vdevice = self.hailo.VDevice(params)

    def control(self) -> Any:
        """The control of the chip, which lives as long as the device object that it came from."""
        self.devices = self.vdevice.get_physical_devices()
        return self.devices[0].control

    def model(self, name: str = "two", *, batch: int = 1, switch_ms: float = 0.0, frame_ms: float = 0.0) -> Model:
        path = self.folder / f"{name}.sim.toml"
        path.write_text(sees_two(64, 96, switch_ms=switch_ms, frame_ms=frame_ms))
        infer_model = self.vdevice.create_infer_model(str(path))
        infer_model.set_batch_size(batch)
        made = Model(infer_model.configure(), infer_model.output().shape[0])
        self.models.append(made)
        return made

    def close(self) -> None:
        for model in self.models:
            model.configured.__exit__(None, None, None)
        self.models.clear()
        for device in self.devices:
            device.release()
        if self.vdevice is not None:
            self.vdevice.release()
            self.vdevice = None


class Benches:
    """Opens devices with scripts of faults, and closes them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._benches: list[Bench] = []

    def __call__(self, *rules: Any, opened: bool = True, options: dict[str, Any] | None = None, **script: Any) -> Bench:
        settings: dict[str, Any] = {"configure_s": 0.0, "transfer_timeout_s": 0.01, **(options or {})}
        serial = f"faults-{os.getpid()}-{next(_serials)}"
        chosen = SimulatorOptions(serial=serial, faults=Faults(fault=rules, **script), **settings)
        made = Bench(self._folder, simulator.install(chosen), importlib.import_module("hailo_platform"))
        self._benches.append(made)
        if opened:
            made.open()
        return made

    def close(self) -> None:
        for bench in self._benches:
            bench.close()
        simulator.uninstall()

"""A network group on the simulated device, for the tests of the synchronous API."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hailod import simulator
from hailod.simulator import Faults, Simulation, SimulatorOptions
from tests.support.simulated import SCRIPT

PICTURE = (8, 12, 3)


@dataclass
class SyncBench:
    """An open device with one network group configured on it."""

    hailo: ModuleType
    simulation: Simulation
    vdevice: Any
    hef: Any
    params: Any
    group: Any

    @property
    def python(self) -> Any:
        """`hailo_platform.pyhailort.pyhailort`, where the exceptions are."""
        return self.hailo.pyhailort.pyhailort

    @property
    def native(self) -> Any:
        """`hailo_platform.pyhailort._pyhailort`, whose exceptions leak here and there."""
        return self.hailo.pyhailort._pyhailort

    def pipeline(self, *, tf_nms_format: bool = False, **both: Any) -> Any:
        """An `InferVStreams` whose parameters are made with `both`."""
        inputs = self.hailo.InputVStreamParams.make(self.group, **both)
        outputs = self.hailo.OutputVStreamParams.make(self.group, **both)
        return self.hailo.InferVStreams(self.group, inputs, outputs, tf_nms_format=tf_nms_format)

    def streams(self, **both: Any) -> tuple[Any, Any]:
        """`InputVStreams` and `OutputVStreams`, to be entered."""
        return (
            self.hailo.InputVStreams(self.group, self.hailo.InputVStreamParams.make(self.group, **both)),
            self.hailo.OutputVStreams(self.group, self.hailo.OutputVStreamParams.make(self.group, **both)),
        )


def pictures(count: int) -> NDArray[np.uint8]:
    """Frames for a bench's model, stacked."""
    return np.zeros((count, *PICTURE), np.uint8)


def status_of(error: BaseException) -> int:
    """The native status that an exception came from, or that it is."""
    return int(str(error.__cause__ or error))


OpenSync = Callable[..., SyncBench]


@contextmanager
def opening_sync(folder: Path) -> Iterator[OpenSync]:
    """A function that opens benches in `folder`; all are closed at the end."""
    with ExitStack() as stack:

        def open_bench(
            faults: Faults | None = None,
            *,
            file: Path | None = None,
            frame_ms: float = 0.0,
            outputs: str = "nms_by_class",
            scheduled: bool = False,
            batch: int = 0,
            **options: Any,
        ) -> SyncBench:
            path = file or folder / "tiny.sim.toml"
            if file is None:
                path.write_text(SCRIPT.format(frame_ms=frame_ms, outputs=outputs))
            chosen = {"configure_s": 0.0, "transfer_timeout_s": 0.01, "faults": faults or Faults()} | options
            simulation = simulator.install(SimulatorOptions(serial=f"test-{os.getpid()}", **chosen))
            stack.callback(simulator.uninstall)
            hailo = importlib.import_module("hailo_platform")
            params = hailo.VDevice.create_params()
            algorithm = hailo.HailoSchedulingAlgorithm
            params.scheduling_algorithm = algorithm.ROUND_ROBIN if scheduled else algorithm.NONE
            vdevice = hailo.VDevice(params)
            stack.callback(vdevice.release)
            hef = hailo.HEF(str(path))
            configure_params = hailo.ConfigureParams.create_from_hef(hef, hailo.HailoStreamInterface.PCIe)
            for each in configure_params.values():
                each.batch_size = batch
            group = vdevice.configure(hef, configure_params)[0]
            return SyncBench(hailo, simulation, vdevice, hef, configure_params, group)

        yield open_bench

"""An open simulated device with one configured model, for the tests of how the real one behaves."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hailod import simulator
from hailod.simulator import Faults, Simulation, SimulatorOptions
from tests.support.waiting import wait_for

SCRIPT = """
[simulator]
input = [8, 12]
classes = 3
max_per_class = 4
frame_ms = {frame_ms}
outputs = "{outputs}"
detections = [
  {{ class_id = 1, score = 0.5, box = [0.1, 0.2, 0.3, 0.4] }},
  {{ class_id = 1, score = 0.9, box = [0.5, 0.6, 0.7, 0.8] }},
]
"""
INPUT = (8, 12, 3)
OUTPUT_ELEMENTS = 3 * (1 + 5 * 4)


@dataclass
class Bench:
    """An open device with one configured timing-only model, or whatever file was given."""

    hailo: ModuleType
    simulation: Simulation
    path: Path
    vdevice: Any
    infer_model: Any
    configured: Any
    ended: list[Exception | None] = field(default_factory=list)

    @property
    def python(self) -> Any:
        """`hailo_platform.pyhailort.pyhailort`, where the exceptions are."""
        return self.hailo.pyhailort.pyhailort

    @property
    def native(self) -> Any:
        """`hailo_platform.pyhailort._pyhailort`, whose exceptions leak here and there."""
        return self.hailo.pyhailort._pyhailort

    def bindings(self) -> Any:
        """Bindings of a black picture and outputs that are full of something."""
        made = self.configured.create_bindings()
        for stream in self.infer_model.inputs:
            made.input(stream.name).set_buffer(np.zeros(stream.shape, _dtype(stream)))
        for stream in self.infer_model.outputs:
            made.output(stream.name).set_buffer(np.full(stream.shape, 7, _dtype(stream)))
        return made

    def completed(self, *, completion_info: Any) -> None:
        self.ended.append(completion_info.exception)

    def run(self, bindings: Any = None) -> Any:
        """Submit one frame."""
        return self.configured.run_async([bindings or self.bindings()], self.completed)

    def results(self, output: str = "") -> Any:
        """One frame through the model, and what `get_buffer` then says."""
        bindings = self.bindings()
        self.run(bindings).wait(10_000)
        assert self.ended[-1] is None
        return bindings.output(output).get_buffer()

    def all_ended(self, count: int) -> list[Exception | None]:
        wait_for(lambda: len(self.ended) >= count, what=f"{count} completions")
        return self.ended

    def configure(self) -> None:
        """Configure again, in place of the session before."""
        self.configured.__exit__(None, None, None)
        self.configured = self.infer_model.configure()

    def close(self) -> None:
        """Give up model and device."""
        self.configured.__exit__(None, None, None)
        self.vdevice.release()


def _dtype(stream: Any) -> str:
    by_bytes = stream.is_nms and stream.format.order.name != "HAILO_NMS_BY_CLASS"
    return "uint8" if by_bytes else str(stream.format.type.name).lower()


Open = Callable[..., Bench]
Setup = Callable[[Any, Any], None]
"""Is given an InferModel and `hailo_platform` before `configure()`."""


@contextmanager
def opening(folder: Path) -> Iterator[Open]:
    """Gives a function that opens benches with options of the simulator; all are closed in the end."""
    benches: list[Bench] = []

    def open_bench(
        faults: Faults | None = None,
        *,
        model: Path | None = None,
        setup: Setup | None = None,
        frame_ms: float = 0.0,
        outputs: str = "nms_by_class",
        scheduled: bool = True,
        batch: int = 1,
        **options: Any,
    ) -> Bench:
        path = model or folder / "tiny.sim.toml"
        if model is None:
            path.write_text(SCRIPT.format(frame_ms=frame_ms, outputs=outputs))
        given = {"configure_s": 0.0, "transfer_timeout_s": 0.01} | options
        settings = SimulatorOptions(serial=f"test-{os.getpid()}", faults=faults or Faults(), **given)
        simulation = simulator.install(settings)
        hailo = importlib.import_module("hailo_platform")
        params = hailo.VDevice.create_params()
        algorithm = hailo.HailoSchedulingAlgorithm
        params.scheduling_algorithm = algorithm.ROUND_ROBIN if scheduled else algorithm.NONE
        vdevice = hailo.VDevice(params)
        bench = Bench(hailo, simulation, path, vdevice, None, _Unconfigured())
        benches.append(bench)
        bench.infer_model = vdevice.create_infer_model(str(path))
        bench.infer_model.set_batch_size(batch)
        if setup is not None:
            setup(bench.infer_model, hailo)
        bench.configured = bench.infer_model.configure()
        return bench

    try:
        yield open_bench
    finally:
        for bench in benches:
            bench.close()
        simulator.uninstall()


class _Unconfigured:
    """In place of a model that did not come so far."""

    def __exit__(self, *args: object) -> None:
        return None


def status_of(error: BaseException) -> int:
    """The status behind an exception of the library."""
    return int(str(error.__cause__))


PRELUDE = """
import sys
import numpy as np
from hailod import simulator
options = simulator.SimulatorOptions(serial={serial!r}, configure_s=0.0, {options})
simulator.install(options)
import hailo_platform
params = hailo_platform.VDevice.create_params()
params.scheduling_algorithm = hailo_platform.HailoSchedulingAlgorithm.ROUND_ROBIN
"""


def run_python(script: str, *, serial: str, options: str = "") -> subprocess.CompletedProcess[bytes]:
    """Run a script that has `hailo_platform` and `params`; its standard input stays open until it ends."""
    code = PRELUDE.format(serial=serial, options=options) + script
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        output, errors = process.stdout.read(), process.stderr.read()
        process.wait(30)
    return subprocess.CompletedProcess([], process.returncode, output, errors)

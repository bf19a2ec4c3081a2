"""Published against simulated speed: frames per second at batch 1 and 8, ten models on two chips.

    python -m tests.benchmarks.simulated_timing [--real SECONDS] [CHIP ...]

In virtual time, with a host that is never late and keeps two batches in flight; exits with 1 when a figure is off by
more than 3 %. With `--real` also through `hailo_platform`, with full queues, on this machine's clock, for so long each.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hailod import simulator
from hailod.simulator.chip.timeline import Lane, Timeline
from hailod.simulator.networks.network import Timing
from hailod.simulator.presets import Preset, find
from tests.support.models import sees_two

MODELS = (
    "yolov8n", "yolov8s", "yolov8m", "yolov8l", "yolov11n", "yolov11m", "yolov5s", "resnet_v1_50", "yolov8s_seg",
    "yolov8s_pose",
)  # fmt: skip
CHIPS = ("hailo8", "hailo8l")
BATCHES = 500
QUEUE = 16
TOLERANCE = 0.03


@dataclass(slots=True)
class Job:
    """A batch of frames."""

    left: int
    factor: float = 1.0
    delay: float = 0.0
    end: float = 0.0


def frames_per_second(preset: Preset, batch: int) -> float:
    """What a host sees that submits the next batch at the moment at which one is done."""
    timeline: Timeline[Job] = Timeline()
    timing = Timing(preset.switch_ms / 1000, preset.frame_ms / 1000)
    lane: Lane[Job] = Lane.of(
        timing, batch=batch, queue=max(QUEUE, 2 * batch), multi_context=preset.multi_context, wake=lambda: None
    )
    timeline.join(lane, 0.0)
    for _ in range(2):
        timeline.submit(lane, Job(batch), 0.0)
    now = 0.0
    for _ in range(BATCHES):
        job, when = timeline.poll(lane, now)
        while job is None:
            job, when = timeline.poll(lane, when)
        now = job.end
        timeline.submit(lane, Job(batch), now)
    return BATCHES * batch / now


def measured(preset: Preset, batch: int, seconds: float) -> float:
    """The same through `hailo_platform`, with real threads and buffers, this host's lateness included."""

    simulator.install(
        simulator.SimulatorOptions(
            **simulator.parse_device(preset.name), configure_s=0.0, serial=f"timing-{os.getpid()}"
        )
    )
    hailo = importlib.import_module("hailo_platform")
    params = hailo.VDevice.create_params()
    params.scheduling_algorithm = hailo.HailoSchedulingAlgorithm.ROUND_ROBIN
    with tempfile.TemporaryDirectory() as folder, hailo.VDevice(params) as vdevice:
        path = Path(folder) / "model.sim.toml"
        path.write_text(sees_two(64, 96))
        infer_model = vdevice.create_infer_model(str(path))
        infer_model.set_batch_size(batch)
        with infer_model.configure() as configured:
            bindings = []
            for _ in range(batch):
                one = configured.create_bindings()
                one.input().set_buffer(np.zeros((64, 96, 3), np.uint8))
                one.output().set_buffer(np.zeros(infer_model.output().shape, np.float32))
                bindings.append(one)
            done = threading.Semaphore(max(2, configured.get_async_queue_size() // batch))
            count = max(4, round(seconds * (preset.b8 if batch == 8 else preset.b1) / batch))
            began = time.monotonic()
            for _ in range(count):
                done.acquire()
                configured.wait_for_async_ready(10_000, batch)
                job = configured.run_async(bindings, lambda completion_info: done.release())
            job.wait(10_000)
            took = time.monotonic() - began
    simulator.uninstall()
    return count * batch / took


def main(chips: list[str], seconds: float | None) -> int:
    worst = 0.0
    real = " | b1 measured | b8 measured" if seconds else ""
    print(f"| model | chip | b1 published | b1 simulated | b8 published | b8 simulated | b4 | b16{real} |")
    print("|---|---|--:|--:|--:|--:|--:|--:|" + ("--:|--:|" if seconds else ""))
    for chip in chips or CHIPS:
        for model in MODELS:
            preset = find(model, chip)
            if preset is None:
                continue
            fps = {batch: frames_per_second(preset, batch) for batch in (1, 4, 8, 16)}
            worst = max(worst, abs(fps[1] / preset.b1 - 1), abs(fps[8] / preset.b8 - 1))
            told = [measured(preset, batch, seconds) for batch in (1, 8)] if seconds else []
            print(
                f"| {model} | {chip} | {preset.b1:g} | {fps[1]:.1f} | {preset.b8:g} | {fps[8]:.1f} "
                f"| {fps[4]:.1f} | {fps[16]:.1f} |" + "".join(f" {each:.1f} |" for each in told),
                flush=True,
            )
    print(f"\nworst deviation of b1 and b8 in virtual time: {worst:.2%}")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=float, metavar="SECONDS")
    parser.add_argument("chips", nargs="*", metavar="CHIP")
    arguments = parser.parse_args()
    sys.exit(main(arguments.chips, arguments.real))

"""N cameras of decoded frames against a timed device: does the pipeline reach the device's limit, and at what cost?

    python -m tests.benchmarks.pipeline --device yolov8s@hailo8 --cameras 8 --fps 30 --seconds 10 --runs 5 [--json]

The cameras are threads that offer pictures decoded beforehand; everything after them is the daemon's own engine: the
mailboxes, the dispatcher that letterboxes, the device host process, the simulated device with the published service
time of the model, the decoder. The cost of the inference path alone is measured by `path.py`.

A run during which more than 2 % of the machine was stolen by its hypervisor is repeated and said so.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from hailod import logs
from hailod.clock import SystemClock
from hailod.config.model import DeviceSettings, PipelineSettings, SimulatedSettings
from hailod.device.events import DeviceDown, LinkEvent, ModelFailed
from hailod.device.spawner import HostEvent
from hailod.geometry import View
from hailod.mailbox import Mailboxes
from hailod.models.manifest import Manifest, SimulatorManifest
from hailod.pipeline.engine import Engine, ModelPlan
from hailod.pipeline.results import Result
from hailod.pipeline.service import CameraRules
from hailod.pipeline.stats import Stats
from hailod.simulator.presets import preset
from hailod.types import Frame, Picture, PixelFormat
from tests.benchmarks.machine import Steal, cpu_seconds, rss_mb

MAX_STEAL_PERCENT = 2.0
MAX_REPEATS = 5
WARM_UP_S = 1.5
DETECTIONS = 6


def model_file(folder: Path, device: str, *, instant: bool = False) -> tuple[Path, Manifest]:
    """A timing-only model with six detections in every frame, timed as `device` says (or instant)."""
    width, height = preset(device).input[1], preset(device).input[0]
    boxes = [
        {"class_id": n * 13 % 80, "score": 0.9 - n / 20, "box": [0.1 * n, 0.1, 0.1 * n + 0.2, 0.5]}
        for n in range(DETECTIONS)
    ]
    timing: dict[str, object] = {"switch_ms": 0.0, "frame_ms": 0.0} if instant else {"preset": device}
    manifest = Manifest(simulator=SimulatorManifest(input=(height, width), detections=boxes, **timing))  # type: ignore[arg-type]
    lines = ["[simulator]", f"input = [{height}, {width}]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in timing.items()]
    for box in boxes:
        lines += ["[[simulator.detections]]"] + [f"{key} = {json.dumps(value)}" for key, value in box.items()]
    path = folder / "bench.sim.toml"
    path.write_text("\n".join(lines) + "\n")
    return path, manifest


class Camera(threading.Thread):
    """Offers decoded pictures at a steady rate, on a grid of its own so that lateness does not add up."""

    def __init__(self, name: str, fps: float, pictures: Sequence[Picture], boxes: Mailboxes, phase: float) -> None:
        super().__init__(name=name)
        self._fps, self._pictures, self._boxes, self._phase = fps, pictures, boxes, phase
        self.halt = threading.Event()

    def run(self) -> None:
        start = time.monotonic() + self._phase / self._fps
        number = 0
        while not self.halt.wait(max(start + number / self._fps - time.monotonic(), 0)):
            picture = self._pictures[number % len(self._pictures)]
            number += 1
            self._boxes.offer(Frame(self.name, number, time.monotonic(), time.time(), picture))


class Bench:
    """An engine with its control loop on a thread of its own."""

    def __init__(self, device: DeviceSettings, plan: ModelPlan, *, prep_workers: int = 1) -> None:
        self.clock = SystemClock()
        self.stats = Stats(self.clock.monotonic())
        self.problems: list[str] = []
        self._events: queue.SimpleQueue[HostEvent] = queue.SimpleQueue()
        self._halt = threading.Event()
        self._changed = threading.Event()
        self.engine = Engine(
            device,
            PipelineSettings(prep_workers=prep_workers),
            self.clock,
            on_result=self._result,
            on_host=self._events.put,
            on_event=self._event,
            on_trouble=lambda trouble: self.problems.append(str(trouble.error)),
        )
        self.engine.want({plan.name: plan})
        self._thread = threading.Thread(target=self._control, name="control")

    def start(self) -> None:
        self.engine.start()
        self.await_service()

    def await_service(self) -> None:
        """Run the control loop and wait until the model takes frames."""
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self.engine.in_service:
            if self.problems or time.monotonic() > deadline:
                self.stop()
                raise SystemExit(f"the model did not come into service: {self.problems}")
            self._changed.wait(0.1)

    def stop(self) -> None:
        self.engine.stop()
        self.halt()

    def halt(self) -> None:
        """End the control loop."""
        self._halt.set()
        self._thread.join()

    def _result(self, result: Result) -> None:
        self.stats.add(result.frame.camera, result.timing)

    def _event(self, event: LinkEvent) -> None:
        if isinstance(event, DeviceDown | ModelFailed):
            self.problems.append(str(event))
        self._changed.set()

    def _control(self) -> None:
        while not self._halt.is_set():
            with suppress(queue.Empty):
                self.engine.handle(self._events.get(timeout=0.05))
            self.engine.tick()


def pictures(size: tuple[int, int], count: int = 4) -> list[Picture]:
    """Decoded pictures as a camera delivers them: I420 with some structure."""
    width, height = size
    made = []
    for seed in range(count):
        noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8), np.uint8)
        luma = cv2.resize(noise, (width, height))
        chroma = [np.full((height // 2, width // 2), 100 + 20 * n, np.uint8) for n in (0, 1)]
        made.append(Picture(PixelFormat.I420, width, height, (luma, *chroma)))
    return made


def run_once(options: argparse.Namespace) -> dict[str, object]:
    """One run; what it printed is what it returns."""
    with tempfile.TemporaryDirectory(prefix="hailod-bench-") as folder:
        path, manifest = model_file(Path(folder), options.device)
        arch = "hailo8l" if options.device.endswith("@hailo8l") else "hailo8"
        device = DeviceSettings(
            backend="simulated", simulated=SimulatedSettings(arch=arch, configure_s=0.0, serial=f"bench-{os.getpid()}")
        )
        bench = Bench(device, ModelPlan("bench", path, manifest, options.batch), prep_workers=options.prep_workers)
        names = [f"cam{n}" for n in range(options.cameras)]
        bench.engine.set_cameras(dict.fromkeys(names, CameraRules(View(), 0.3)), dict.fromkeys(names, ("bench",)))
        frames = pictures(options.size)
        cameras = [
            Camera(name, options.fps, frames, bench.engine.mailboxes, n / len(names)) for n, name in enumerate(names)
        ]
        bench.start()
        try:
            for camera in cameras:
                camera.start()
            time.sleep(WARM_UP_S)
            return _measure(options, bench)
        finally:
            for camera in cameras:
                camera.halt.set()
            for camera in cameras:
                camera.join()
            bench.stop()
            final = bench.engine.mailboxes.snapshot()
            if not final.balanced or any(pair.in_flight for pair in final.pairs.values()):
                raise SystemExit(f"the books do not balance: {final}")


def _measure(options: argparse.Namespace, bench: Bench) -> dict[str, object]:
    engine = bench.engine
    before, steal = engine.mailboxes.snapshot(), Steal.now()
    host = engine.link.pid
    bench.stats.read(time.monotonic())
    began, cpu, host_cpu = time.monotonic(), cpu_seconds(), cpu_seconds(host)
    time.sleep(options.seconds)
    interval = bench.stats.read(time.monotonic())
    seconds = time.monotonic() - began
    used, host_used = cpu_seconds() - cpu, cpu_seconds(host) - host_cpu
    after = engine.mailboxes.snapshot()
    offered = _sum(after.pairs, "offered") - _sum(before.pairs, "offered")
    ended = {
        reason: sum(pair.ended.get(reason, 0) for pair in after.pairs.values())
        - sum(pair.ended.get(reason, 0) for pair in before.pairs.values())
        for reason in ("done", "superseded", "expired", "failed", "abandoned")
    }
    figures = preset(options.device)
    limit = (
        figures.b1
        if options.batch == 1
        else options.batch * 1000 / (figures.switch_ms + options.batch * figures.frame_ms)
    )
    done = max(interval.results, 1)
    return {
        "device": options.device,
        "limit_fps": round(limit, 1),
        "offered_fps": round(offered / seconds, 1),
        "achieved_fps": round(interval.fps, 1),
        "done_of_offered": round(ended["done"] / max(offered, 1), 4),
        "done_of_limit": round(interval.fps / limit, 4),
        "cpu_us_daemon": round(used / done * 1e6, 1),
        "cpu_us_host": round(host_used / done * 1e6, 1),
        "latency_ms": {
            part: {name: round(value, 2) for name, value in figures.items() if name != "p95"}
            for part, figures in interval.latency_ms.items()
        },
        "ended": ended,
        "balanced": after.balanced,
        "rss_mb": {"daemon": round(rss_mb(), 1), "host": round(rss_mb(host), 1)},
        "steal_percent": round(steal.percent_until_now(), 2),
        "problems": bench.problems,
    }


def _sum(pairs: Mapping[tuple[str, str], object], field: str) -> int:
    return sum(getattr(pair, field) for pair in pairs.values())


def undisturbed(run: object, options: argparse.Namespace) -> dict[str, object]:
    """Run until the machine was ours, a few times at most; a disturbed result is marked, not hidden."""
    for attempt in range(MAX_REPEATS):
        result: dict[str, object] = run(options)  # type: ignore[operator]
        result["repeated"] = attempt
        if float(str(result["steal_percent"])) <= options.max_steal:
            break
        print(f"  steal {result['steal_percent']} %: again", file=sys.stderr)
    return result


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="yolov8s@hailo8", help="model@chip of the published figures")
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument(
        "--fps", type=float, nargs="+", default=[30.0, 90.0], help="of each camera; several are interleaved"
    )
    parser.add_argument("--size", type=lambda text: tuple(int(n) for n in text.split("x")), default=(1280, 720))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--prep-workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--max-steal", type=float, default=MAX_STEAL_PERCENT, help="repeat a run above this many %%")
    parser.add_argument("--json", action="store_true", help="print every run as JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    logs.configure("warning")
    cv2.setNumThreads(1)
    rates = list(options.fps)
    results: dict[float, list[dict[str, object]]] = {rate: [] for rate in rates}
    for number in range(options.runs):
        for rate in rates:
            options.fps = rate
            result = undisturbed(run_once, options)
            results[rate].append(result)
            if not options.json:
                print(f"run {number + 1}: {options.cameras} x {rate:g} FPS: {summary(result)}", flush=True)
    if options.json:
        print(json.dumps({str(rate): runs for rate, runs in results.items()}, indent=1))
        return 0
    for rate, runs in results.items():
        print(f"\nmedian of {len(runs)}: {options.cameras} x {rate:g} FPS of {options.size} on {options.device}")
        for key in ("limit_fps", "offered_fps", "achieved_fps", "done_of_offered", "done_of_limit"):
            print(f"  {key:<18}{statistics.median(float(str(run[key])) for run in runs):10.3f}")
        for key in ("cpu_us_daemon", "cpu_us_host"):
            print(f"  {key:<18}{statistics.median(float(str(run[key])) for run in runs):10.1f}")
        for part in ("total", "waiting", "device", "host"):
            p50, p99 = (statistics.median(run["latency_ms"][part][p] for run in runs) for p in ("p50", "p99"))  # type: ignore[index]
            print(f"  {part + ' ms':<18}{p50:10.2f} p50 {p99:8.2f} p99")
    return 0


def summary(result: Mapping[str, object]) -> str:
    total = result["latency_ms"]["total"]  # type: ignore[index]
    return (
        f"offered {result['offered_fps']} achieved {result['achieved_fps']} FPS "
        f"({100 * float(str(result['done_of_offered'])):.2f} % of offered, "
        f"{100 * float(str(result['done_of_limit'])):.2f} % of the limit), "
        f"CPU {result['cpu_us_daemon']} + {result['cpu_us_host']} us, "
        f"latency p50 {total['p50']} p99 {total['p99']} ms, {result['ended']}, steal {result['steal_percent']} %"
    )


if __name__ == "__main__":
    raise SystemExit(main())

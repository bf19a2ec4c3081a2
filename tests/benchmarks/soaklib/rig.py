"""The engine under load, with a producer in the cameras' place and a reader in the broker's.

What is asked of the engine itself is all in `Rig`: how it is made and driven, its events, its slots.
"""

from __future__ import annotations

import itertools
import os
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hailod.clock import SystemClock
from hailod.config.model import DeviceSettings, PipelineSettings, RecoverySettings, SimulatedSettings
from hailod.control.events import Events
from hailod.device.events import DeviceDown, LinkEvent
from hailod.device.spawner import HostEvent, HostExited
from hailod.geometry import View
from hailod.models.catalogue import resolve_manifest
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics
from hailod.pipeline.engine import Engine, ModelPlan
from hailod.pipeline.publisher import Publisher
from hailod.pipeline.results import ModelTrouble, Result
from hailod.pipeline.service import CameraRules
from hailod.pipeline.stats import Stats
from hailod.simulator.chip.memory import DeviceMemory
from hailod.types import Frame, Picture, PixelFormat
from tests.benchmarks.soaklib.faults import APART, IN_A_SCRIPT, SIGNALS, Fault, Plan
from tests.support.models import sees_two

CAMERAS = tuple(f"cam{n}" for n in range(8))
SIDE = 64
BATCH = 16
DEPTH = 8
# How long the producer rests between two looks at the mailboxes, which hold more than is done meanwhile.
REST_S = 0.005
MODEL = "tiny"


@dataclass(frozen=True, slots=True)
class Books:
    """How all frames of all cameras ended."""

    ended: Mapping[str, int]
    in_flight: int
    problems: list[str]


class Rig:
    """A running engine. `offered` frames were fed so far; `recoveries` counts what the engine told, by kind and rung;
    `taken` what the reader took, by kind of message."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.offered = 0
        self.results = 0
        self.recoveries: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()
        self.problems: list[str] = []
        self._plan = plan
        self._script = folder / "faults.toml"
        self._planted: list[tuple[int, Fault]] = []
        self._memory: DeviceMemory | None = None
        self._lock = threading.Lock()
        self._clock = SystemClock()
        self._numbers = itertools.count(1)
        self._halt = threading.Event()
        self._wake = threading.Event()
        self._inbox: queue.SimpleQueue[HostEvent] = queue.SimpleQueue()
        topics = Topics("soak")
        self.outbox = Outbox(topics, self._clock)
        self.outbox.attach(self._wake.set)
        self._publisher = Publisher(self.outbox, topics, self._clock, Stats(self._clock.monotonic()))
        self._publisher.configure(5.0)
        self._events = Events(topics, self._clock, self.outbox, "soak")
        serial = f"soak-{os.getpid()}"
        simulated = SimulatedSettings(configure_s=0.0, serial=serial, faults=self._script)
        device = DeviceSettings(
            backend="simulated",
            stall_timeout=0.5,
            backoff_initial=0.05,
            backoff_max=0.1,
            # Faults come every few seconds here: a model that has delivered at all is to keep its process.
            recovery=RecoverySettings(settle_after=0.0),
            simulated=simulated,
        )
        self.engine = Engine(
            device,
            PipelineSettings(),
            self._clock,
            on_result=self._result,
            on_host=self._inbox.put,
            on_event=self._event,
            on_trouble=self._trouble,
            depth=DEPTH,
        )
        path = folder / f"{MODEL}.sim.toml"
        path.write_text(sees_two(SIDE, SIDE, frame_ms=0.01))
        self._model = ModelPlan(MODEL, path, resolve_manifest(path), BATCH, BATCH)
        self._picture = Picture(PixelFormat.GRAY, SIDE, SIDE, (np.full((SIDE, SIDE), 90, np.uint8),))
        self._threads = [
            threading.Thread(target=self._control, name="control"),
            threading.Thread(target=self._read, name="broker"),
        ]

    def __enter__(self) -> Rig:
        cv2.setNumThreads(1)
        self.engine.want({MODEL: self._model})
        for camera in CAMERAS:
            self._publisher.add(camera, ["person", "car"])
        rules = dict.fromkeys(CAMERAS, CameraRules(View(), 0.3))
        self.engine.set_cameras(rules, dict.fromkeys(CAMERAS, (MODEL,)))
        self._replan()
        self.engine.start()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.stop()
        self._halt.set()
        self._wake.set()
        for thread in self._threads:
            thread.join()
        if self._memory is not None:
            self._memory.close()
        if in_flight := self.books().in_flight:
            self.problems.append(f"{in_flight} frames are in flight after the end")

    # -- the producer ------------------------------------------------------------------------------------------------

    def feed(self, frames: int, *, still: float) -> None:
        """Offer so many frames as fast as they are taken, and bring about what is due; each round also one to a box
        that is full. Complains when no frame is finished for `still` seconds."""
        end = self.offered + frames
        boxes = self.engine.mailboxes
        seen, moved = self.results, time.monotonic()
        turn = itertools.cycle(CAMERAS)
        while self.offered < end:
            room = max(len(CAMERAS) * DEPTH - boxes.pending(MODEL), 0)
            for _ in range(min(room + 1, end - self.offered)):
                now = self._clock.monotonic()
                boxes.offer(Frame(next(turn), next(self._numbers), now, self._clock.wall(), self._picture))
                self.offered += 1
            self._bring_about()
            if self.results != seen:
                seen, moved = self.results, time.monotonic()
            elif time.monotonic() - moved > still:
                self.problems.append(f"no frame was finished for {still:g} s; {self.engine.link.phase}")
                return
            self._halt.wait(REST_S)

    def settle(self, timeout: float) -> None:
        """Wait until the model is in service and nothing is under way, in the pipeline and in the outbox."""
        deadline = time.monotonic() + timeout
        calm = 0
        while calm < 5:
            if time.monotonic() > deadline:
                self.problems.append(f"did not come to rest within {timeout:g} s: {self.books()}")
                return
            rests = MODEL in self.engine.in_service and not self.books().in_flight and not self.waiting
            calm = calm + 1 if rests else 0
            self._halt.wait(0.02)

    def books(self) -> Books:
        """The sum over all cameras, and what does not balance in them."""
        snapshot = self.engine.mailboxes.snapshot()
        ended: Counter[str] = Counter()
        for pair in snapshot.pairs.values():
            ended.update(pair.ended)
        in_flight = sum(pair.in_flight for pair in snapshot.pairs.values())
        problems = [] if snapshot.balanced else [f"the books do not balance: {snapshot}"]
        if sum(ended.values()) + in_flight != self.offered:
            problems.append(f"{self.offered} frames were offered, {dict(ended)} ended, {in_flight} are in flight")
        if not in_flight and ended["done"] != self.results:
            problems.append(f"{ended['done']} frames are done, but {self.results} results came")
        return Books({str(key): count for key, count in ended.items()}, in_flight, problems)

    # -- what is counted ---------------------------------------------------------------------------------------------

    @property
    def host(self) -> int:
        return self.engine.link.pid

    @property
    def slots(self) -> tuple[int, int]:
        session = self.engine.sessions.get(MODEL)
        return (session.pool.free, session.pool.layout.slots) if session else (0, 0)

    @property
    def waiting(self) -> int:
        return sum(self.outbox.waiting.values())

    # -- faults ------------------------------------------------------------------------------------------------------

    def _bring_about(self) -> None:
        """Note what the device has done by itself, and do to its host what is due."""
        if self._planted and self._planted[0][0] < self._jobs:
            with self._lock:
                self._note()
        for fault in self._plan.due(self.offered):
            self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        """Send the host its signal as soon as there is one, whatever it is busy with then."""
        deadline = time.monotonic() + 10.0
        while not (pid := self.engine.link.pid):
            if time.monotonic() > deadline:
                self.problems.append(f"no host came within 10 s for {fault}")
                return
            self._halt.wait(REST_S)
        with suppress(ProcessLookupError):
            os.kill(pid, SIGNALS[fault.kind])
            self._plan.done(fault)

    def _replan(self) -> None:
        """Write the script anew for the host that comes next: what is still to come, by the jobs that were done."""
        jobs = self._jobs
        per_frame = jobs / self.offered if jobs else 1 / BATCH
        with self._lock:
            self._note()
            self._planted.clear()
            job = jobs + APART
            for fault in self._plan.scripted[:IN_A_SCRIPT]:
                job = max(job + APART, jobs + round((fault.at - self.offered) * per_frame))
                self._planted.append((job, fault))
            rules = "".join(fault.rule(job) for job, fault in self._planted)
        fresh = self._script.with_suffix(".new")
        fresh.write_text(rules)
        fresh.replace(self._script)

    def _note(self) -> None:
        """Cross off what the device has come to. A job that was numbered has met its fault."""
        while self._planted and self._planted[0][0] <= self._jobs:
            self._plan.done(self._planted.pop(0)[1])

    @property
    def _jobs(self) -> int:
        """How many jobs the simulated device was given so far, by all its hosts."""
        if self._memory is None:
            for number in os.listdir("/proc/self/fd"):
                with suppress(OSError):
                    if "memfd:simulated-device" in os.readlink(f"/proc/self/fd/{number}"):
                        self._memory = DeviceMemory(f"/proc/self/fd/{number}")
                        break
        return self._memory.jobs if self._memory is not None else 0

    # -- the engine's threads ----------------------------------------------------------------------------------------

    def _result(self, result: Result) -> None:
        self.results += 1
        self._publisher.publish(result)

    def _event(self, event: LinkEvent) -> None:
        kind = type(event).__name__
        if isinstance(event, DeviceDown):
            if event.retry_in is not None:
                return  # the same again, once it is known when the next host comes
            self._events.node("device_lost", text=event.text)
        how = [str(known) for key in ("fault", "rung") if (known := getattr(event, key, None)) is not None]
        self.recoveries[" ".join((kind, *how))] += 1

    def _trouble(self, trouble: ModelTrouble) -> None:
        self.recoveries[type(trouble).__name__] += 1

    # -- our own -----------------------------------------------------------------------------------------------------

    def _control(self) -> None:
        while not self._halt.is_set():
            with suppress(queue.Empty):
                event = self._inbox.get(timeout=0.02)
                if isinstance(event, HostExited):
                    self._replan()
                self.engine.handle(event)
            self.engine.tick()
            for camera in CAMERAS:
                self._publisher.publish_state(camera)

    def _read(self) -> None:
        """Take what is published, but for the times when the broker is away."""
        rng = random.Random(0)
        while not self._halt.is_set():
            self.outbox.online()
            leave = time.monotonic() + rng.uniform(0.5, 2.0)
            while time.monotonic() < leave and not self._halt.is_set():
                self._wake.wait(0.1)
                self._wake.clear()
                while (outgoing := self.outbox.take()) is not None:
                    self.taken[outgoing.message.kind] += 1
                    self.outbox.done(outgoing)
            # The last few were on their way when the connection broke.
            unfinished = [outgoing for _ in range(3) if (outgoing := self.outbox.take()) is not None]
            self.outbox.offline(unfinished)
            self._halt.wait(rng.uniform(0.1, 0.4))
        self.outbox.offline()

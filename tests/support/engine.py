"""The real engine with a real device host on the simulated device, and a control thread of the test's own."""

from __future__ import annotations

import itertools
import os
import queue
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import psutil

from hailod.clock import SystemClock
from hailod.config.model import DeviceSettings, PipelineSettings, SimulatedSettings
from hailod.device.events import DeviceDown, LinkEvent
from hailod.device.spawner import HostEvent
from hailod.geometry import View
from hailod.mailbox import PairCounts, Snapshot
from hailod.models.catalogue import resolve_manifest
from hailod.pipeline.engine import Engine, ModelPlan
from hailod.pipeline.results import ModelTrouble, Result
from hailod.pipeline.service import CameraRules
from hailod.types import Frame, Picture
from tests.support.device import GREY
from tests.support.models import sees_two
from tests.support.waiting import wait_for

Kind = TypeVar("Kind")

SEES_TWO = sees_two(64, 96, switch_ms=0.2, frame_ms=1.0)

_serials = itertools.count(1)


def plan(folder: Path, name: str = "two", *, batch_size: int = 1, manifest: str = SEES_TWO) -> ModelPlan:
    """A model that exists only as timing and script, written to `folder`."""
    path = folder / f"{name}.sim.toml"
    path.write_text(manifest)
    return ModelPlan(name, path, resolve_manifest(path), batch_size, batch_size)


def device(*, faults: Path | None = None, **settings: object) -> DeviceSettings:
    """A simulated device of this test alone, that is given up quickly and started again quickly."""
    simulated = SimulatedSettings(configure_s=0.0, serial=f"test-{os.getpid()}-{next(_serials)}", faults=faults)
    quick = {"backend": "simulated", "stall_timeout": 0.5, "backoff_initial": 0.05, "backoff_max": 0.1}
    return DeviceSettings.model_validate({**quick, "simulated": simulated, **settings})


class Bench:
    """An engine that runs for as long as the block does; afterwards its books are checked.

    A thread samples the books all the while: `unbalanced` holds each snapshot in which they did not balance.
    """

    def __init__(
        self, settings: DeviceSettings, *plans: ModelPlan, cameras: Iterable[str] = ("front",), prep_workers: int = 1
    ) -> None:
        self.results: list[Result] = []
        self.events: list[LinkEvent] = []
        self.host_events: list[HostEvent] = []
        self.troubles: list[ModelTrouble] = []
        self.unbalanced: list[Snapshot] = []
        self.cameras = tuple(cameras)
        self.plans = plans
        self._clock = SystemClock()
        self._numbers = itertools.count(1)
        self._inbox: queue.SimpleQueue[HostEvent] = queue.SimpleQueue()
        self._halt = threading.Event()
        self.engine = Engine(
            settings,
            PipelineSettings(prep_workers=prep_workers),
            self._clock,
            on_result=self.results.append,
            on_host=self._inbox.put,
            on_event=self.events.append,
            on_trouble=self.troubles.append,
        )
        self._threads = [
            threading.Thread(target=self._control, name="control"),
            threading.Thread(target=self._audit, name="audit"),
        ]

    def __enter__(self) -> Bench:
        self.engine.want({plan.name: plan for plan in self.plans})
        names = tuple(plan.name for plan in self.plans)
        rules = dict.fromkeys(self.cameras, CameraRules(View(), 0.3))
        self.engine.set_cameras(rules, dict.fromkeys(self.cameras, names))
        self.engine.start()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._halt.set()
        for thread in self._threads:
            thread.join()
        self.engine.stop()
        self._handle_all()
        if kind is None:
            assert self.unbalanced == []
            books = self.engine.mailboxes.snapshot()
            assert books.balanced
            assert not any(pair.in_flight for pair in books.pairs.values()), books
            assert len(self.results) == sum(pair.ended.get("done", 0) for pair in books.pairs.values())

    # -- what tests ask ----------------------------------------------------------------------------------------------

    @property
    def host(self) -> psutil.Process:
        """The present device host, once all that is wanted is in service."""
        self.in_service()
        return psutil.Process(self.engine.link.pid)

    def in_service(self) -> None:
        """Wait until every wanted model takes frames."""
        names = {plan.name for plan in self.plans}
        wait_for(lambda: self.engine.in_service >= names, what=f"{names} in service; {self.events}")

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    def down(self) -> list[DeviceDown]:
        """How often the device went out of service, each time as it was first told."""
        return [event for event in self.of(DeviceDown) if event.retry_in is None]

    def replaced(self, host: psutil.Process) -> psutil.Process:
        """Wait until `host` is gone and another one serves; returns that one."""
        wait_for(
            lambda: self.engine.link.pid not in (0, host.pid) and self.engine.in_service,
            what=f"another host serves; {self.events}",
        )
        return self.host

    def offer(self, camera: str | None = None, *, picture: Picture = GREY) -> int:
        """A frame comes from the camera, the only or first one if none is named; returns its number."""
        number = next(self._numbers)
        name = camera or self.cameras[0]
        self.engine.mailboxes.offer(Frame(name, number, self._clock.monotonic(), self._clock.wall(), picture))
        return number

    def pair(self, model: str = "two", camera: str | None = None) -> PairCounts:
        """The books of one camera and model."""
        return self.engine.mailboxes.snapshot().pairs[camera or self.cameras[0], model]

    def ended(self, model: str = "two", camera: str | None = None) -> Mapping[str, int]:
        """How the frames of one camera ended, once none is under way any more."""
        wait_for(lambda: self.pair(model, camera).in_flight == 0, what="nothing is in flight")
        return self.pair(model, camera).ended

    def run(self, frames: int, *, model: str = "two") -> None:
        """Offer so many frames, each once the one before it has ended."""
        for _ in range(frames):
            self.offer()
            self.ended(model)

    # -- threads -----------------------------------------------------------------------------------------------------

    def _control(self) -> None:
        while not self._halt.is_set():
            with suppress(queue.Empty):
                self._handle(self._inbox.get(timeout=0.02))
                self._handle_all()
            self.engine.tick()

    def _handle_all(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._handle(self._inbox.get_nowait())

    def _handle(self, event: HostEvent) -> None:
        self.host_events.append(event)
        self.engine.handle(event)

    def _audit(self) -> None:
        while not self._halt.wait(0.001):
            books = self.engine.mailboxes.snapshot()
            if not books.balanced:
                self.unbalanced.append(books)

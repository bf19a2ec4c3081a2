"""Mailboxes to results over one device: dispatcher, device host and results thread, wired and kept in step.

The daemon's control thread, the offline tools and the benchmark all drive the same engine: they route cameras, say
which models they want, feed `handle` with what the spawner reports and call `tick` a few times a second.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from hailod.clock import Clock
from hailod.config.model import DeviceSettings, PipelineSettings
from hailod.decode import make_decoder
from hailod.device.events import DeviceDown, LinkEvent, ModelFailed, ModelReady, ModelUnloaded
from hailod.device.flight import Flight, ModelSpec, Session
from hailod.device.link import DeviceLink
from hailod.device.recovery import Respawn
from hailod.device.spawner import HostEvent, Spawner
from hailod.errors import DeviceRejected, ModelError
from hailod.mailbox import Mailboxes, Outcome
from hailod.models.manifest import Manifest
from hailod.pipeline.dispatcher import Dispatcher
from hailod.pipeline.results import ModelTrouble, Result, Results
from hailod.pipeline.service import CameraRules, Lane, Service
from hailod.prepare import Preparer
from hailod.worker import Worker

log = structlog.get_logger(__name__)

# How long what is on the device may take to come home when the engine stops.
DRAIN_S = 0.5
_STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """A model as the engine is asked to run it."""

    name: str
    path: Path
    manifest: Manifest
    batch_size: int = 1
    per_camera: int = 1


class Engine:
    """Everything between a frame and its result.

    `on_result` is called on the results thread; `on_host` on the spawner's and `on_trouble` on the results thread, both
    to be carried to the control thread, whose `handle` takes what `on_host` got; `on_event` on the control thread.
    """

    def __init__(
        self,
        device: DeviceSettings,
        pipeline: PipelineSettings,
        clock: Clock,
        *,
        on_result: Callable[[Result], None],
        on_host: Callable[[HostEvent], None],
        on_event: Callable[[LinkEvent], None],
        on_trouble: Callable[[ModelTrouble], None],
        lossless: bool = False,
        depth: int = 1,
        rng: random.Random | None = None,
    ) -> None:
        self._device = device
        self._pipeline = pipeline
        self._clock = clock
        self._on_event = on_event
        self._plans: dict[str, ModelPlan] = {}
        self._lanes: dict[str, Lane] = {}
        self._unusable: set[str] = set()
        self._cameras: dict[str, CameraRules] = {}
        self.mailboxes = Mailboxes(clock, depth=depth, lossless=lossless)
        self.flight = Flight(clock)
        self.spawner = Spawner(clock, on_host)
        self.dispatcher = Dispatcher(self.mailboxes, self.flight, clock, prep_workers=pipeline.prep_workers)
        self.results = Results(
            self.flight,
            self.mailboxes,
            clock,
            on_result=on_result,
            on_trouble=on_trouble,
            on_room=self.dispatcher.room,
        )
        respawn = Respawn(device.backoff_initial, device.backoff_max, rng or random.Random())  # noqa: S311 - jitter
        self.link = DeviceLink(
            device,
            clock,
            self.spawner,
            self.flight,
            respawn,
            on_event=self._hear,
            on_abandoned=self.results.fail,
            on_room=self.dispatcher.room,
        )

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.spawner.start()
        self.results.start()
        self.dispatcher.start()
        self.link.start()

    def stop(self) -> None:
        """End everything in the order of the flow; what is on the device gets a moment to come home."""
        self.mailboxes.close()
        stuck = [] if self.dispatcher.stop(_STOP_S) else ["dispatcher"]
        give_up = self._clock.monotonic() + DRAIN_S
        while not self.flight.empty and self._clock.monotonic() < give_up and self.results.worker.alive:
            self.results.worker.join(0.005)
        self.results.fail(self.link.close(), Outcome.ABANDONED)
        if not self.spawner.stop(_STOP_S):
            stuck.append("device host")
        if not self.results.stop(_STOP_S):
            stuck.append("results")
        if stuck:
            log.error("left behind", workers=stuck)

    @property
    def workers(self) -> tuple[Worker, ...]:
        """The threads whose silence must trip the watchdog."""
        return self.dispatcher.worker, self.results.worker, self.spawner.worker

    # -- the control thread ------------------------------------------------------------------------------------------

    def handle(self, event: HostEvent) -> None:
        """Take in what happened to a device host."""
        self.link.handle(event)

    def tick(self) -> None:
        """Look at the clocks."""
        self.link.tick()

    def want(self, plans: Mapping[str, ModelPlan]) -> None:
        """The models to have in service from now on."""
        self._unusable = {name for name in self._unusable if plans.get(name) == self._plans.get(name)}
        self._plans = dict(plans)
        self._relink()
        self._serve()

    def set_cameras(self, cameras: Mapping[str, CameraRules], routes: Mapping[str, tuple[str, ...]]) -> None:
        """What is looked for where, and by which models; cameras not named here run none."""
        for gone in self._cameras.keys() - routes.keys():
            self.mailboxes.route(gone, ())
        self._cameras = dict(cameras)
        self._serve()
        for camera, models in routes.items():
            self.mailboxes.route(camera, models)

    def restart(self, mode: str) -> None:
        """`soft`: configure every model anew; `reset`: a new host process."""
        self._unusable.clear()
        self._relink()
        if mode == "soft" and self._lanes:
            self.link.reload()
        else:
            self.link.restart("restart was asked for")

    def release(self) -> None:
        """Leave the device to other programs; DeviceReleased follows once it is free."""
        self.link.release()

    def acquire(self) -> None:
        """Have the device again, or look at once whether it is to be had."""
        self.link.acquire()

    def quarantine(self, model: str) -> None:
        """Take a model out of service until it is asked for anew."""
        self._unusable.add(model)
        self._lanes.pop(model, None)
        self._relink()
        self._serve()

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """The models in service with all that serves them."""
        return dict(self._lanes)

    @property
    def in_service(self) -> frozenset[str]:
        """The models that take frames."""
        return frozenset(self._lanes)

    @property
    def wanted(self) -> frozenset[str]:
        """The models that should."""
        return frozenset(self._plans)

    @property
    def sessions(self) -> Mapping[str, Session]:
        """The models in service as the device has them."""
        return {name: lane.session for name, lane in self._lanes.items()}

    # -- inside ------------------------------------------------------------------------------------------------------

    def _relink(self) -> None:
        self.link.want(
            ModelSpec(plan.name, plan.path, plan.batch_size, self._device.score_floor)
            for plan in self._plans.values()
            if plan.name not in self._unusable
        )

    def _serve(self) -> None:
        service = Service(dict(self._lanes), dict(self._cameras), self._pipeline.max_frame_age)
        self.results.apply(service)
        self.dispatcher.apply(service)

    def _hear(self, event: LinkEvent) -> None:
        match event:
            case ModelReady(session=session):
                try:
                    self._lanes[session.spec.name] = self._lane(self._plans[session.spec.name], session)
                except ModelError as error:
                    self.quarantine(session.spec.name)
                    event = ModelFailed(session.spec.name, DeviceRejected(str(error)))
            case ModelUnloaded(name=name):
                self._lanes.pop(name, None)
            case DeviceDown():
                self._lanes.clear()
        self._serve()
        self._on_event(event)

    def _lane(self, plan: ModelPlan, session: Session) -> Lane:
        manifest = plan.manifest
        picture = session.tensors.inputs[0]
        preparers = tuple(
            Preparer(picture, resize=manifest.resize, align=manifest.align, pad=manifest.pad)
            for _ in range(self._pipeline.prep_workers)
        )
        return Lane(plan.name, session, manifest, make_decoder(manifest, session.tensors), preparers, plan.per_camera)

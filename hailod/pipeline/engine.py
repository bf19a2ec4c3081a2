"""Mailboxes to results over one device: dispatcher, device host and results thread, wired and kept in step.

The daemon's control thread, the offline tools and the benchmark all drive the same engine: they route cameras, say
which models they want, feed `handle` with what the spawner reports and call `tick` a few times a second.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from hailod.clock import Clock
from hailod.config.model import DeviceSettings, PipelineSettings
from hailod.decode import make_decoder
from hailod.device.events import (
    DeviceDown,
    LinkEvent,
    ModelFailed,
    ModelLost,
    ModelQuarantined,
    ModelReady,
    ModelUnloaded,
    ThermalChanged,
)
from hailod.device.flight import Flight, FlightEvent, ModelSpec, Session
from hailod.device.link import DeviceLink
from hailod.device.recovery import Respawn
from hailod.device.spawner import HostEvent, Spawner
from hailod.errors import DeviceRejected, InferenceError, ModelError
from hailod.mailbox import Mailboxes
from hailod.models.manifest import Manifest
from hailod.pipeline.dispatcher import Dispatcher
from hailod.pipeline.results import ModelTrouble, Result, Results
from hailod.pipeline.service import CameraRules, Lane, Service
from hailod.prepare import Preparer
from hailod.types import ModelTensors
from hailod.worker import Worker

log = structlog.get_logger(__name__)

# In all, the end of the engine takes no longer than this. What is on the device has a part of it to come home.
STOP_S = 1.8
DRAIN_S = 0.4
_DISPATCHER_S = 0.4
_RESULTS_S = 0.3


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """A model as the engine is asked to run it."""

    name: str
    path: Path
    manifest: Manifest
    batch_size: int = 1
    per_camera: int = 1
    # Seconds that frames may wait for a batch to fill.
    max_delay: float = 0.0


class Engine:
    """Everything between a frame and its result.

    `on_result` is called on the results thread; `on_host` on the spawner's and the results thread, `on_trouble` on the
    results thread, both to be carried to the control thread, whose `handle` takes what `on_host` got; `on_event` on the
    control thread. `on_lost` is told of each frame that has no result, on whichever thread finds out.
    """

    def __init__(
        self,
        device: DeviceSettings,
        pipeline: PipelineSettings,
        clock: Clock,
        *,
        on_result: Callable[[Result], None],
        on_host: Callable[[HostEvent | FlightEvent], None],
        on_event: Callable[[LinkEvent], None],
        on_trouble: Callable[[ModelTrouble], None],
        on_lost: Callable[[InferenceError], None] | None = None,
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
        self._lossless = lossless
        self._max_rate: float | None = None
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
            on_flight=on_host,
            on_lost=on_lost or _note_lost,
            on_room=self.dispatcher.room,
        )
        respawn = Respawn(
            device.backoff_initial,
            device.backoff_max,
            device.recovery.healthy_after,
            rng or random.Random(),  # noqa: S311 - jitter
        )
        self.link = DeviceLink(
            device,
            clock,
            self.spawner,
            self.flight,
            respawn,
            on_event=self._hear,
            on_abandoned=self.results.fail,
            on_room=self.dispatcher.room,
            vet=self._vet,
        )

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.spawner.start()
        self.results.start()
        self.dispatcher.start()
        self.link.start()

    def stop(self) -> None:
        """End everything in the order of the flow, within STOP_S; what is on the device gets a moment to come home.

        A host that does not die is left behind: nothing waits for its driver.
        """
        give_up = self._clock.monotonic() + STOP_S
        self.mailboxes.close()
        stuck = [] if self.dispatcher.stop(_DISPATCHER_S) else ["dispatcher"]
        drained_by = self._clock.monotonic() + DRAIN_S
        while not self.flight.empty and self._clock.monotonic() < drained_by and self.results.worker.alive:
            self.results.worker.join(0.005)
        self.results.abandon(self.link.close())
        if not self.spawner.stop(max(give_up - _RESULTS_S - self._clock.monotonic(), 0.0)):
            stuck.append("device host")
        if not self.results.stop(_RESULTS_S):
            stuck.append("results")
        if stuck:
            log.error("left behind", workers=stuck)

    @property
    def workers(self) -> tuple[Worker, ...]:
        """The threads whose silence must trip the watchdog."""
        return self.dispatcher.worker, self.results.worker, self.spawner.worker

    # -- the control thread ------------------------------------------------------------------------------------------

    def configure(self, device: DeviceSettings, pipeline: PipelineSettings) -> None:
        """Go by these settings from now on, as far as they can be changed while it runs."""
        self._device, self._pipeline = device, pipeline
        self.link.configure(device)
        self._serve()

    def handle(self, event: HostEvent | FlightEvent) -> None:
        """Take in what happened to a device host or to what is in flight."""
        self.link.handle(event)

    def tick(self) -> None:
        """Look at the clocks."""
        self.link.tick()

    def want(self, plans: Mapping[str, ModelPlan]) -> None:
        """The models to have in service from now on."""
        self._unusable = {name for name in self._unusable if plans.get(name) == self._plans.get(name)}
        self._plans = dict(plans)
        self._relink()
        self._refit()
        self._serve()

    def set_cameras(self, cameras: Mapping[str, CameraRules], routes: Mapping[str, tuple[str, ...]]) -> None:
        """What is looked for where, and by which models; cameras not named here run none."""
        for gone in self._cameras.keys() - routes.keys():
            self.mailboxes.route(gone, ())
        self._cameras = dict(cameras)
        self._serve()
        for camera, models in routes.items():
            self.mailboxes.route(camera, models)

    def serves(self, plan: ModelPlan) -> bool:
        """Whether the model is in service just as `plan` says."""
        lane = self._lanes.get(plan.name)
        return lane is not None and lane.session.spec == self._spec(plan) and lane.manifest == plan.manifest

    def delivers(self, model: str) -> bool:
        """Whether the model, as it is in service now, has completed an inference."""
        lane = self._lanes.get(model)
        return lane is not None and self.flight.delivering_since(lane.session) is not None

    def restart(self, mode: str) -> None:
        """`soft`: configure every model anew; `reset`: a new host process."""
        self._unusable.clear()
        self._relink()
        if mode == "soft" and self._lanes:
            self.link.reload()
        else:
            self.link.restart("restart was asked for")

    def quarantine(self, model: str, reason: str) -> None:
        """Take a model out of service for a while; the others go on."""
        if model in self._lanes:
            self.link.quarantine(model, reason)

    def release(self) -> None:
        """Let other programs have the device, until `acquire`."""
        self.link.release()

    def acquire(self) -> None:
        """Have the device back, and all wanted models in service again."""
        self.link.acquire()

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
        self.link.want(self._spec(plan) for plan in self._plans.values() if plan.name not in self._unusable)

    def _spec(self, plan: ModelPlan) -> ModelSpec:
        return ModelSpec(plan.name, plan.path, plan.batch_size, self._device.score_floor)

    def _refit(self) -> None:
        """What of the plans the device need not know takes effect at once."""
        for name, lane in list(self._lanes.items()):
            plan = self._plans.get(name)
            if plan is None or plan.path != lane.session.spec.path:
                continue
            if plan.manifest == lane.manifest:
                self._lanes[name] = replace(lane, per_camera=plan.per_camera, max_delay=plan.max_delay)
                continue
            try:
                self._lanes[name] = self._lane(plan, lane.session)
            except ModelError as error:
                # What serves goes on serving; whoever wanted it otherwise is told.
                self._on_event(ModelFailed(name, DeviceRejected(str(error))))

    def _serve(self) -> None:
        service = Service(
            dict(self._lanes),
            dict(self._cameras),
            math.inf if self._lossless else self._pipeline.max_frame_age,
            self._device.recovery.frame_retries,
            self._max_rate,
        )
        self.results.apply(service)
        self.dispatcher.apply(service)

    def _hear(self, event: LinkEvent) -> None:
        match event:
            case ModelReady(session=session):
                try:
                    self._lanes[session.spec.name] = self._lane(self._plans[session.spec.name], session)
                except ModelError as error:
                    self._unusable.add(session.spec.name)
                    self._relink()
                    event = ModelFailed(session.spec.name, DeviceRejected(str(error)))
            case ModelUnloaded(name=name) | ModelLost(name=name) | ModelQuarantined(name=name):
                self._lanes.pop(name, None)
            case DeviceDown():
                self._lanes.clear()
            case ThermalChanged(max_rate=max_rate):
                self._max_rate = max_rate
        self._serve()
        self._on_event(event)

    def _vet(self, spec: ModelSpec, tensors: ModelTensors) -> None:
        """Raises ModelError when no decoder understands what the model gives."""
        plan = self._plans.get(spec.name)
        if plan is not None:
            make_decoder(plan.manifest, tensors)

    def _lane(self, plan: ModelPlan, session: Session) -> Lane:
        manifest = plan.manifest
        picture = session.tensors.inputs[0]
        preparers = tuple(
            Preparer(picture, resize=manifest.resize, align=manifest.align, pad=manifest.pad)
            for _ in range(self._pipeline.prep_workers)
        )
        decoder = make_decoder(manifest, session.tensors)
        return Lane(plan.name, session, manifest, decoder, preparers, plan.per_camera, plan.max_delay)


def _note_lost(error: InferenceError) -> None:
    log.debug("frame lost", error=str(error))

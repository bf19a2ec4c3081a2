"""The control loop: reads its inbox, keeps the engine and the cameras as the settings say, and tells how things stand.

It is the only writer of the running settings. Each change makes a new snapshot, which is applied in one go: cameras,
routes, rules and wanted models.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import structlog

from hailod.clock import Clock
from hailod.config.load import Loaded
from hailod.config.model import Settings
from hailod.config.store import Edit, Overrides
from hailod.control.birth import Birth, Step
from hailod.control.broker import BrokerNews
from hailod.control.cameras import Cameras, Condition
from hailod.control.commands import Commands
from hailod.control.conditions import Conditions
from hailod.control.device import DeviceNews
from hailod.control.discovery import Discovery
from hailod.control.errands import ErrandDone, Errands
from hailod.control.events import Events
from hailod.control.frigate import Frigate
from hailod.control.inbox import Event, Inbox, Quit, Reload
from hailod.control.keeping import KeepingNews
from hailod.control.lending import Lending
from hailod.control.lineup import Lineup, PlanModel
from hailod.control.profile import ProfileWritten
from hailod.control.reports import Reports
from hailod.control.saver import Saver, SaverEvent, StateSaved, StateUnsaved
from hailod.control.snapshots import SnapshotReady, SnapshotSent
from hailod.control.timekeeping import Timekeeping
from hailod.control.vigil import Vigil
from hailod.control.workbench import FindModel, Workbench
from hailod.device.events import DeviceUp, LinkEvent, ModelReady, ModelUnloaded
from hailod.device.flight import Drained, SessionFailed
from hailod.device.spawner import HostExited, HostFailed, HostMessage, HostStarted, HostStopped
from hailod.errors import CommandError
from hailod.geometry import View
from hailod.health import Code, Health, Transition
from hailod.logs import Level
from hailod.mqtt.messages import Inbound, LinkState
from hailod.mqtt.topics import HOME_ASSISTANT_STATUS
from hailod.pipeline.camera_state import CameraState
from hailod.pipeline.engine import Engine, ModelPlan
from hailod.pipeline.publisher import Publisher
from hailod.pipeline.results import ModelTrouble
from hailod.pipeline.service import CameraRules
from hailod.sd import Notifier
from hailod.worker import Worker

log = structlog.get_logger(__name__)

TICK_S = 0.1
# So long after its reply the daemon ends to be started anew, and why, in words that are no signal's.
RESTART_AFTER_S = 0.5
RESTART = "a restart was asked for over MQTT"
# Events taken between two looks at the clocks.
BURST = 200
# So long the start waits for the disk to know what Home Assistant is about to be told.
DISCOVERY_PATIENCE_S = 1.0
_CAMERA_CODES = frozenset(code for code in Code if code.startswith("camera_"))


def _always() -> bool:
    return True


def _nowhere(*_: object) -> NoReturn:
    raise CommandError("forbidden", "this hailod was not started from files")


def _ignore(_: Settings) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Parts:
    """What the control loop steers; made and wired in `app`."""

    clock: Clock
    inbox: Inbox
    engine: Engine
    cameras: Cameras
    publisher: Publisher
    health: Health
    reports: Reports
    notifier: Notifier
    watched: Callable[[], tuple[Worker, ...]]
    set_log_level: Callable[[Level], None]
    events: Events
    saver: Saver
    discovery: Discovery
    # Says that the control thread is alive, to whoever ends the process when it is not.
    hold: Callable[[], None]
    # Whether the wall clock is set.
    clock_synced: Callable[[], bool] = _always
    # What takes time and must not be waited for: the files of a model, of the configuration, of a model to be added.
    plan_model: PlanModel = _nowhere
    reload: Callable[[Overrides], Loaded] = _nowhere
    find_model: FindModel = _nowhere
    frigate: Frigate | None = None
    # Told of settings before they run, so that no message shows what in them is secret.
    keep_secret: Callable[[Settings], None] = _ignore


class Control(Workbench):
    """The control thread's work; also the desk at which commands are carried out."""

    def __init__(
        self,
        settings: Settings,
        plans: Mapping[str, ModelPlan],
        parts: Parts,
        commands: Commands,
        *,
        revision: int = 1,
        discarded: Sequence[str] = (),
        files: Settings | None = None,
    ) -> None:
        """`revision` is that of the settings; `discarded` tells what of those set over MQTT was left out of them, and
        `files` are the settings without those."""
        super().__init__(
            lineup=Lineup(parts.engine, settings, plans, parts.plan_model),
            errands=Errands(parts.clock, parts.inbox.put),
            engine=parts.engine,
            cameras=parts.cameras,
            reports=parts.reports,
            saver=parts.saver,
            find_model=parts.find_model,
            files=files or settings,
        )
        self._settings = settings
        self._parts = parts
        self._commands = commands
        self._revision = revision
        self._discarded = discarded
        self._quit: str | None = None
        self._quit_at: float | None = None
        self._watchdog_s: float | None = None
        self._next_watchdog = 0.0
        self._next_metrics = 0.0
        self._conditions = Conditions(parts.health, parts.clock, parts.notifier)
        self._lending = Lending(parts.clock, parts.engine, self._conditions, parts.events, self.show_settings)
        self._device = DeviceNews(
            parts.clock, parts.engine, self._conditions, parts.events, lent=lambda: self._lending.lent
        )
        self._birth = Birth(random.Random())  # noqa: S311 - jitter, not a secret
        self._vigil = Vigil(parts.clock)
        self._broker = BrokerNews(parts.clock, self._conditions)
        self._keeping = KeepingNews(parts.clock, self._conditions)
        self._time = Timekeeping(parts.clock, parts.clock_synced, parts.reports.clock_synced, parts.events)

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start engine and cameras, and have all that is to be told ready for the first connection to the broker."""
        parts = self._parts
        now = parts.clock.monotonic()
        self._next_metrics = now + self._settings.mqtt.metrics_interval
        self._broker.starting()
        if self._settings.device.backend == "simulated":
            log.warning("the device is simulated: detections come from a model run on this computer's processor")
            self._conditions.raise_(Code.SIMULATED, "the device is simulated")
        self._keeping.tell_discarded(self._discarded)
        parts.saver.start()
        self._device.starting()
        self.apply(self._settings)
        parts.engine.start()
        self._look_at_clock()
        reports = parts.reports
        reports.info(self._settings)
        parts.discovery.start()
        self._show_devices()
        parts.discovery.settle(DISCOVERY_PATIENCE_S)
        reports.models(self._lineup.plans)
        reports.settings(self._settings, self._revision)
        reports.health()

    def serve(self, watchdog_s: float | None = None) -> str:
        """Read the inbox until told to quit; returns why. systemd's watchdog is fed every `watchdog_s` seconds."""
        parts = self._parts
        self._watchdog_s = watchdog_s
        parts.notifier.ready()
        next_tick = parts.clock.monotonic()
        while self._quit is None:
            event = parts.inbox.get(next_tick - parts.clock.monotonic())
            taken = 0
            while event is not None:
                self.handle(event)
                taken += 1
                event = parts.inbox.get(0.0) if taken < BURST and self._quit is None else None
            now = parts.clock.monotonic()
            if now >= next_tick:
                next_tick = max(next_tick + TICK_S, now)
                self.tick(now)
        if parts.frigate is not None:
            parts.frigate.stop()
        parts.notifier.stopping()
        return self._quit

    def handle(self, event: Event) -> None:
        """One event from the inbox."""
        match event:
            case (
                HostStarted()
                | HostFailed()
                | HostMessage()
                | HostStopped()
                | HostExited()
                | SessionFailed()
                | Drained()
            ):
                self._parts.engine.handle(event)
            case CameraState():
                for condition in self._parts.cameras.handle(event):
                    self._weigh(condition)
            case Inbound(topic=topic, payload=payload) if topic == HOME_ASSISTANT_STATUS:
                if payload == b"online":
                    self._birth.heard(self._parts.clock.monotonic())
            case Inbound():
                self._commands.receive(event, self)
            case LinkState():
                if self._broker.hear(event):
                    self._parts.reports.info(self._settings)
                    self._parts.reports.metrics(self._settings)
            case ModelTrouble() | ErrandDone() | StateSaved() | StateUnsaved() | Reload():
                self._own_event(event)
            case SnapshotReady() | SnapshotSent() | ProfileWritten():
                self._commands.beside_event(event)
            case Quit(reason=reason):
                self._quit = reason
            case _:
                self._device_event(event)

    def _own_event(self, event: ModelTrouble | ErrandDone | SaverEvent | Reload) -> None:
        """What the daemon's other threads report."""
        match event:
            case ModelTrouble():
                self._device.trouble(event)
                self._commands.device_event(event)
            case ErrandDone():
                self._lineup.learn(event)
                self._commands.device_event(event)
            case StateSaved() | StateUnsaved():
                self._keeping.hear(event)
                self._commands.saver_event(event)
            case Reload():
                self._reload()

    def _device_event(self, event: LinkEvent) -> None:
        """What the engine reports about device and models."""
        self._device.hear(event)
        self._lending.hear(event)
        match event:
            case DeviceUp():
                self._parts.reports.info(self._settings)
            case ModelReady() | ModelUnloaded():
                self._parts.reports.models(self._lineup.plans)
        if self._parts.discovery.hear(event):
            self._show_devices()
        self._commands.device_event(event)

    def tick(self, now: float) -> None:
        """What must be looked at whether or not anything happened."""
        parts = self._parts
        parts.hold()
        parts.engine.tick()
        self._look_at_clock()
        parts.saver.tick(now)
        for condition in parts.cameras.tick(self._settings.pipeline.stale_after):
            self._weigh(condition)
        if parts.frigate is not None:
            parts.frigate.tick(self._settings)
        self._commands.tick(now)
        self._lending.tick(now)
        self._answer_birth(self._birth.due(now))
        if parts.discovery.tick(now):
            # Home Assistant takes a value that it knows only now from the next message.
            self.tell_settings()
        self._broker.tick(now)
        self._keeping.tick(now)
        self._device.tick(now)
        if self._quit_at is not None and now >= self._quit_at:
            self._quit = self._quit or RESTART
        self._quit = self._quit or self._vigil.look(parts.watched())
        late = [worker.name for worker in parts.watched() if worker.late]
        if late:
            self._raise(Code.WORKER_LATE, f"no sign of life from: {', '.join(late)}")
        else:
            self._note(parts.health.clear(Code.WORKER_LATE))
        parts.reports.health()
        parts.reports.log()
        if now >= self._next_metrics:
            interval = self._settings.mqtt.metrics_interval
            self._next_metrics = max(self._next_metrics + interval, now)
            parts.reports.metrics(self._settings)
        if self._watchdog_s is not None and not late and now >= self._next_watchdog:
            self._next_watchdog = now + self._watchdog_s
            parts.notifier.watchdog()

    # -- the desk ----------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        return self._settings

    @property
    def revision(self) -> int:
        return self._revision

    def daemon_restart(self) -> None:
        self._quit_at = self._parts.clock.monotonic() + RESTART_AFTER_S

    def device_restart(self, mode: str) -> None:
        self._parts.engine.restart(mode)

    @property
    def released(self) -> bool:
        return self._lending.released

    @property
    def released_until(self) -> float:
        return self._lending.until

    def device_release(self, for_s: float) -> None:
        self._lending.release(for_s)

    def device_acquire(self) -> None:
        self._lending.acquire()

    def adopt(self, settings: Settings) -> int:
        self._revision += 1
        before, reports = self._settings, self._parts.reports
        self._parts.saver.note(self._revision)
        self._lineup.adopt(settings)
        self.apply(settings)
        if settings.cameras.keys() != before.cameras.keys():
            reports.info(settings)
        if settings.models != before.models:
            reports.models(self._lineup.plans)
        self._show_devices()
        return self._revision

    def keep(self, edit: Edit) -> int | None:
        return self._parts.saver.keep(edit, self._revision)

    def show_settings(self) -> None:
        self._parts.reports.settings(self._settings, self._revision, lent=self.released)

    def apply(self, settings: Settings) -> None:
        """Make the snapshot the running one."""
        parts = self._parts
        parts.keep_secret(settings)
        for gone in self._settings.cameras.keys() - settings.cameras.keys():
            for transition in parts.health.clear_all(_CAMERA_CODES, gone):
                self._note(transition)
        self._settings = settings
        parts.set_log_level(settings.log_level)
        parts.reports.configure(settings.mqtt)
        parts.publisher.configure(settings.mqtt.detections_max_hz)
        parts.engine.configure(settings.device, settings.pipeline)
        self.want()
        rules = {
            name: CameraRules(
                View(camera.crop, camera.rotate, camera.flip),
                camera.threshold,
                None if camera.labels is None else frozenset(camera.labels),
            )
            for name, camera in settings.cameras.items()
        }
        routes = {
            # What waits for a model goes with its route: of a private camera no frame stays anywhere.
            name: (model,) if (model := settings.model_of(name)) and not settings.is_private(name) else ()
            for name in settings.cameras
        }
        parts.engine.set_cameras(rules, routes)
        parts.cameras.apply(settings)

    def tell_settings(self) -> None:
        """Say the settings again, so that whoever showed a refused value shows the true one."""
        self._parts.reports.repeat_settings(self._settings)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _answer_birth(self, step: Step | None) -> None:
        reports = self._parts.reports
        if step is Step.DISCOVERY:
            self._parts.discovery.repeat()
        elif step is Step.STATES:
            reports.repeat_states()
            reports.metrics(self._settings)

    def _show_devices(self) -> None:
        """What Home Assistant makes devices of is as settings, models and accelerator are now."""
        parts = self._parts
        parts.discovery.show(self._settings, parts.reports.identity(self._settings), self._lineup.plans)

    def models_wanted(self, names: Collection[str]) -> None:
        self._device.configure(self._settings.device, names)

    def _reload(self) -> None:
        """The files are to be read again; what of them needs more than this process can do is told."""
        notifier = self._parts.notifier
        notifier.reloading()
        overrides = self._parts.saver.overrides
        self._commands.reload(self, lambda: self._parts.reload(overrides), over=notifier.ready)

    def _look_at_clock(self) -> None:
        if not self._time.look():
            return
        if self._time.synced:
            self._note(self._parts.health.clear(Code.CLOCK_UNSYNCED))
        else:
            doing = "messages carry clock_synced: false until it is"
            fix = "see that the machine reaches a time server (timedatectl)"
            self._raise(Code.CLOCK_UNSYNCED, "the wall clock is not set yet", doing=doing, fix=fix)
        self._parts.reports.info(self._settings)

    def _weigh(self, condition: Condition) -> None:
        if condition.text:
            words = {"doing": condition.doing, "fix": condition.fix}
            self._raise(condition.code, condition.text, condition.camera, **words)
        else:
            self._note(self._parts.health.clear(condition.code, condition.camera))

    def _raise(self, code: Code, text: str, subject: str | None = None, *, doing: str = "", fix: str = "") -> None:
        self._conditions.raise_(code, text, subject, doing=doing, fix=fix)

    def _note(self, transition: Transition | None) -> None:
        self._conditions.note(transition)

"""The control loop: reads its inbox, keeps the engine and the cameras as the settings say, and tells how things stand.

It is the only writer of the running settings. Each change makes a new snapshot, which is applied in one go: cameras,
routes, rules and wanted models.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from hailod.clock import Clock
from hailod.config.model import Settings
from hailod.control.birth import Birth, Step
from hailod.control.cameras import Cameras, Condition
from hailod.control.commands import Commands
from hailod.control.conditions import Conditions
from hailod.control.device import DeviceNews
from hailod.control.events import Events
from hailod.control.inbox import Event, Inbox, Quit
from hailod.control.lending import Lending
from hailod.control.reports import Reports
from hailod.control.saver import Saver, SaverEvent, StateSaved, StateUnsaved
from hailod.control.timekeeping import Timekeeping
from hailod.control.vigil import Vigil
from hailod.device.events import DeviceUp, LinkEvent, ModelReady, ModelUnloaded
from hailod.device.flight import Drained, SessionFailed
from hailod.device.spawner import HostExited, HostFailed, HostMessage, HostStarted, HostStopped
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
# Events taken between two looks at the clocks.
BURST = 200
# A broker that starts together with us gets so long.
BROKER_PATIENCE_S = 5.0
# Settings that were left out at the start are told for so long, or until others are saved in their place.
DISCARDED_HOLD_S = 3600.0
DISCARDED_SHOWN = 20
_CAMERA_CODES = frozenset(code for code in Code if code.startswith("camera_"))


def _always() -> bool:
    return True


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
    # Says that the control thread is alive, to whoever ends the process when it is not.
    hold: Callable[[], None]
    # Whether the wall clock is set.
    clock_synced: Callable[[], bool] = _always
    # Told of settings before they run, so that no message shows what in them is secret.
    keep_secret: Callable[[Settings], None] = _ignore


class Control:
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
    ) -> None:
        """`revision` is that of the settings; `discarded` tells what of those set over MQTT was left out of them."""
        self._settings = settings
        self._plans = plans
        self._parts = parts
        self._commands = commands
        self._revision = revision
        self._discarded = discarded
        self._discarded_over: float | None = None
        self._beside: str | None = None
        self._quit: str | None = None
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
        # When a broker that was never reached becomes a condition; None once one was.
        self._broker_due: float | None = None
        self._link = LinkState(False)
        self._time = Timekeeping(parts.clock, parts.clock_synced, parts.reports.clock_synced, parts.events)

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start engine and cameras, and have all that is to be told ready for the first connection to the broker."""
        parts = self._parts
        now = parts.clock.monotonic()
        self._next_metrics = now + self._settings.mqtt.metrics_interval
        self._broker_due = now + BROKER_PATIENCE_S
        if self._settings.device.backend == "simulated":
            log.warning("the device is simulated: detections come from a model run on this computer's processor")
            self._conditions.raise_(Code.SIMULATED, "the device is simulated")
        self._tell_discarded(now)
        parts.saver.start()
        self._device.starting()
        self.apply(self._settings)
        parts.engine.start()
        self._look_at_clock()
        reports = parts.reports
        reports.info(self._settings)
        reports.discovery(self._settings)
        reports.models(self._plans)
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
        parts.notifier.stopping()
        return self._quit

    def handle(self, event: Event) -> None:
        """One event from the inbox."""
        match event:
            case HostStarted() | HostFailed() | HostMessage() | HostStopped() | HostExited():
                self._parts.engine.handle(event)
            case SessionFailed() | Drained():
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
                self._broker(event)
            case ModelTrouble():
                self._device.trouble(event)
            case StateSaved() | StateUnsaved():
                self._saver(event)
            case Quit(reason=reason):
                self._quit = reason
            case _:
                self._device_event(event)

    def _device_event(self, event: LinkEvent) -> None:
        """What the engine reports about device and models."""
        self._device.hear(event)
        self._lending.hear(event)
        match event:
            case DeviceUp():
                self._parts.reports.info(self._settings)
                self._parts.reports.discovery(self._settings)
            case ModelReady() | ModelUnloaded():
                self._parts.reports.models(self._plans)
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
        self._commands.tick(now)
        self._lending.tick(now)
        self._answer_birth(self._birth.due(now))
        if self._broker_due is not None and now >= self._broker_due:
            self._broker_due = None
            self._broker_down(self._link)
        if self._discarded_over is not None and now >= self._discarded_over:
            self._discarded_over = None
            self._note(parts.health.clear(Code.STATE_DISCARDED))
        self._device.tick(now)
        self._quit = self._quit or self._vigil.look(parts.watched())
        late = [worker.name for worker in parts.watched() if worker.late]
        if late:
            self._raise(Code.WORKER_LATE, f"no sign of life from: {', '.join(late)}")
        else:
            self._note(parts.health.clear(Code.WORKER_LATE))
        parts.reports.health()
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

    def in_service(self, model: str) -> bool:
        return model in self._parts.engine.in_service

    def all_in_service(self) -> bool:
        return self._parts.engine.in_service >= self._parts.engine.wanted

    def load_beside(self, model: str | None) -> None:
        self._beside = model
        self._want()

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
        found_otherwise = settings.mqtt != self._settings.mqtt
        self._parts.saver.note(self._revision)
        self.apply(settings)
        if found_otherwise:
            self._parts.reports.discovery(settings)
        return self._revision

    def keep(self, values: Mapping[str, object]) -> int | None:
        return self._parts.saver.keep(values, self._revision)

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
        parts.publisher.configure(settings.mqtt.detections_max_hz)
        parts.engine.configure(settings.device, settings.pipeline)
        self._want()
        rules = {
            name: CameraRules(
                View(camera.crop, camera.rotate, camera.flip),
                camera.threshold,
                None if camera.labels is None else frozenset(camera.labels),
            )
            for name, camera in settings.cameras.items()
        }
        routes = {name: (model,) if (model := settings.model_of(name)) else () for name in settings.cameras}
        parts.engine.set_cameras(rules, routes)
        parts.cameras.apply(settings)

    def tell_settings(self) -> None:
        """Say the settings again, so that whoever showed a refused value shows the true one."""
        self._parts.reports.repeat_settings(self._settings)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _answer_birth(self, step: Step | None) -> None:
        reports = self._parts.reports
        if step is Step.DISCOVERY:
            reports.repeat_discovery()
        elif step is Step.STATES:
            reports.repeat_states()
            reports.metrics(self._settings)

    def _want(self) -> None:
        names = {model for name in self._settings.cameras if (model := self._settings.model_of(name))}
        if self._beside is not None:
            names.add(self._beside)
        self._parts.engine.want({name: self._plans[name] for name in sorted(names)})
        self._device.configure(self._settings.device, names)

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

    def _broker(self, link: LinkState) -> None:
        before, self._link = self._link, link
        if link.connected:
            self._broker_due = None
            self._note(self._parts.health.clear(Code.BROKER_DOWN))
            if not before.connected:
                self._parts.reports.info(self._settings)
                self._parts.reports.metrics(self._settings)
        elif self._broker_due is None:
            self._broker_down(link)
        standing = {Code.BROKER_UNSTABLE: link.trouble if link.connected else None, Code.BROKER_LIMITED: link.limits}
        for code, trouble in standing.items():
            if trouble is None:
                self._note(self._parts.health.clear(code))
            else:
                self._raise(code, trouble.text, fix=trouble.fix)

    def _broker_down(self, link: LinkState) -> None:
        text, fix = link.trouble or ("not yet connected", "")
        doing = "trying" if link.retry_s is None else f"trying again in about {max(link.retry_s, 1.0):.0f} s"
        self._raise(Code.BROKER_DOWN, f"no connection to the broker: {text}", doing=doing, fix=fix)

    def _saver(self, event: SaverEvent) -> None:
        match event:
            case StateUnsaved(text=text, fix=fix):
                doing = "changes run, but a restart would lose them; it is tried again every minute and at each change"
                self._raise(Code.STATE_UNSAVED, text, doing=doing, fix=fix)
            case StateSaved(ticket=ticket):
                self._note(self._parts.health.clear(Code.STATE_UNSAVED))
                if ticket > 0:
                    self._discarded_over = self._parts.clock.monotonic()
        self._commands.saver_event(event)

    def _tell_discarded(self, now: float) -> None:
        if not self._discarded:
            return
        for line in self._discarded[:DISCARDED_SHOWN]:
            log.warning("setting left out", reason=line)
        more = f" (and {len(self._discarded) - 1} more)" if len(self._discarded) > 1 else ""
        doing = "it is left out; all else that was set over MQTT is in effect"
        fix = "set it again over MQTT if it is still wanted"
        self._raise(Code.STATE_DISCARDED, f"{self._discarded[0]}{more}", doing=doing, fix=fix)
        self._discarded_over = now + DISCARDED_HOLD_S

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

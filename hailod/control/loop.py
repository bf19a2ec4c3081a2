"""The control loop: reads its inbox, keeps the engine and the cameras as the settings say, and tells how things stand.

It is the only writer of the running settings. Each change makes a new snapshot, which is applied in one go: cameras,
routes, rules and wanted models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from hailod.clock import Clock
from hailod.config.model import Settings
from hailod.control.cameras import Cameras, Condition
from hailod.control.commands import Commands
from hailod.control.events import Events
from hailod.control.inbox import Event, Inbox, Quit
from hailod.control.reports import Reports
from hailod.control.saver import Saver, SaverEvent, StateSaved, StateUnsaved
from hailod.control.vigil import Vigil
from hailod.device.events import (
    DeviceDown,
    DeviceStuck,
    DeviceUp,
    LinkEvent,
    ModelFailed,
    ModelReady,
    ModelUnloaded,
)
from hailod.device.recovery import Fault
from hailod.device.spawner import HostExited, HostFailed, HostMessage, HostStarted, HostStopped
from hailod.geometry import View
from hailod.health import DEVICE_CODES, Code, Health, State, Transition
from hailod.logs import Level
from hailod.mqtt.messages import Inbound, LinkState
from hailod.pipeline.camera import CameraState
from hailod.pipeline.engine import Engine, ModelPlan
from hailod.pipeline.publisher import Publisher
from hailod.pipeline.results import QUARANTINE_AFTER, ModelTrouble
from hailod.pipeline.service import CameraRules
from hailod.sd import Notifier
from hailod.worker import Worker

log = structlog.get_logger(__name__)

TICK_S = 0.1
# Events taken between two looks at the clocks.
BURST = 200
# A broker that starts together with us gets so long.
BROKER_PATIENCE_S = 5.0
# So long after the last outputs that could not be decoded they are over.
TROUBLE_HOLD_S = 60.0
# Settings that were left out at the start are told for so long, or until others are saved in their place.
DISCARDED_HOLD_S = 3600.0
DISCARDED_SHOWN = 20
_MODEL_CODES = frozenset({Code.MODEL_FAILED, Code.DECODE_ERRORS})
_CAMERA_CODES = frozenset(code for code in Code if code.startswith("camera_"))
# A start is no trouble, but until it is over the node does not do its work.
_PASSING = frozenset({Code.DEVICE_STARTING, Code.DEVICE_CONFIGURING})
_LEVELS = {State.OK: "info", State.DEGRADED: "warning", State.FAILED: "error"}
_CODE_OF = {
    Fault.UNAVAILABLE: Code.DEVICE_UNAVAILABLE,
    Fault.REJECTED: Code.DEVICE_REJECTED,
    Fault.SESSION_LOST: Code.DEVICE_LOST,
    Fault.DEVICE_LOST: Code.DEVICE_LOST,
    Fault.HUNG: Code.DEVICE_HUNG,
}


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
        self._trouble_over: dict[str, float] = {}
        self._vigil = Vigil(parts.clock)
        # When a broker that was never reached becomes a condition; None once one was.
        self._broker_due: float | None = None

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start engine and cameras, and have all that is to be told ready for the first connection to the broker."""
        parts = self._parts
        now = parts.clock.monotonic()
        self._next_metrics = now + self._settings.mqtt.metrics_interval
        self._broker_due = now + BROKER_PATIENCE_S
        if self._settings.device.backend == "simulated":
            log.warning("the device is simulated: detections come from a model run on this computer's processor")
            self._note(parts.health.raise_(Code.SIMULATED, "the device is simulated", parts.clock.wall()))
        self._tell_discarded(now)
        parts.saver.start()
        self._raise(Code.DEVICE_STARTING, "the device is being opened")
        self.apply(self._settings)
        parts.engine.start()
        reports = parts.reports
        reports.info(self._settings)
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
            case DeviceUp() | DeviceDown() | DeviceStuck() | ModelReady() | ModelFailed() | ModelUnloaded():
                self._device(event)
            case CameraState():
                for condition in self._parts.cameras.handle(event):
                    self._weigh(condition)
            case Inbound():
                self._commands.receive(event, self)
            case LinkState():
                self._broker(event)
            case ModelTrouble():
                self._trouble(event)
            case StateSaved() | StateUnsaved():
                self._saver(event)
            case Quit(reason=reason):
                self._quit = reason

    def _device(self, event: LinkEvent) -> None:
        """What the engine reports about device and models."""
        match event:
            case DeviceUp(identity=identity):
                log.info("device open", **{key: value for key, value in identity.items() if value})
                if self._parts.engine.wanted:
                    self._raise(Code.DEVICE_CONFIGURING, "models are being loaded")
                self._clear_device(keep=Code.DEVICE_CONFIGURING)
                self._parts.reports.info(self._settings)
            case DeviceDown():
                self._device_down(event)
            case DeviceStuck(pid=pid):
                text = f"device host {pid} does not die: its driver holds it; reboot the machine"
                self._raise(Code.DEVICE_STUCK, text)
            case ModelReady(session=session, took_ms=took_ms):
                log.info(
                    "model in service",
                    model=session.spec.name,
                    took_ms=took_ms,
                    batch=session.batch_size,
                    window=session.window,
                )
                self._note(self._parts.health.clear(Code.MODEL_FAILED, session.spec.name))
                self._parts.reports.models(self._plans)
            case ModelFailed(name=name, error=error):
                self._raise(Code.MODEL_FAILED, f"model {name}: {error}", name)
            case ModelUnloaded(name=name):
                log.info("model unloaded", model=name)
                self._parts.reports.models(self._plans)
        if not isinstance(event, DeviceUp) and self._settled():
            self._note(self._parts.health.clear(Code.DEVICE_CONFIGURING))
        self._commands.device_event(event)

    def tick(self, now: float) -> None:
        """What must be looked at whether or not anything happened."""
        parts = self._parts
        parts.hold()
        parts.engine.tick()
        parts.saver.tick(now)
        for condition in parts.cameras.tick(self._settings.pipeline.stale_after):
            self._weigh(condition)
        self._commands.tick(now)
        if self._broker_due is not None and now >= self._broker_due:
            self._broker_due = None
            self._raise(Code.BROKER_DOWN, "no connection to the broker yet; the log says why")
        if self._discarded_over is not None and now >= self._discarded_over:
            self._discarded_over = None
            self._note(parts.health.clear(Code.STATE_DISCARDED))
        for model in [model for model, over in self._trouble_over.items() if now >= over]:
            del self._trouble_over[model]
            self._note(parts.health.clear(Code.DECODE_ERRORS, model))
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

    def adopt(self, settings: Settings) -> int:
        self._revision += 1
        self._parts.saver.note(self._revision)
        self.apply(settings)
        return self._revision

    def keep(self, values: Mapping[str, object]) -> int | None:
        return self._parts.saver.keep(values, self._revision)

    def show_settings(self) -> None:
        self._parts.reports.settings(self._settings, self._revision)

    def apply(self, settings: Settings) -> None:
        """Make the snapshot the running one."""
        parts = self._parts
        for gone in self._settings.cameras.keys() - settings.cameras.keys():
            for transition in parts.health.clear_all(_CAMERA_CODES, gone):
                self._note(transition)
        self._settings = settings
        parts.set_log_level(settings.log_level)
        parts.publisher.configure(settings.mqtt.detections_max_hz)
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

    def _want(self) -> None:
        names = {model for name in self._settings.cameras if (model := self._settings.model_of(name))}
        if self._beside is not None:
            names.add(self._beside)
        self._parts.engine.want({name: self._plans[name] for name in sorted(names)})
        for reason in self._parts.health.snapshot().reasons:
            if reason.code in _MODEL_CODES and reason.subject not in names:
                self._note(self._parts.health.clear(reason.code, reason.subject))

    def _settled(self) -> bool:
        refused = {r.subject for r in self._parts.health.snapshot().reasons if r.code is Code.MODEL_FAILED}
        return self._parts.engine.in_service | refused >= self._parts.engine.wanted

    def _device_down(self, down: DeviceDown) -> None:
        code = Code.DEVICE_STARTING if down.asked else _CODE_OF[down.fault]
        # The one that stands keeps its `since` while it repeats, and at no moment the node seems well.
        self._raise(code, down.text)
        self._clear_device(keep=code)
        if down.retry_in is not None:
            log.debug("device host to be started", in_s=round(down.retry_in, 2))

    def _clear_device(self, keep: Code | None = None) -> None:
        for transition in self._parts.health.clear_all(DEVICE_CODES - {keep}):
            self._note(transition)

    def _broker(self, link: LinkState) -> None:
        if link.connected:
            self._broker_due = None
            self._note(self._parts.health.clear(Code.BROKER_DOWN))
            self._parts.reports.info(self._settings)
            self._parts.reports.metrics(self._settings)
        else:
            self._raise(Code.BROKER_DOWN, f"no connection to the broker: {link.reason or 'not yet connected'}")

    def _trouble(self, trouble: ModelTrouble) -> None:
        text = f"model {trouble.model}: its outputs cannot be decoded: {trouble.error}"
        self._raise(Code.DECODE_ERRORS, text, trouble.model)
        self._trouble_over[trouble.model] = self._parts.clock.monotonic() + TROUBLE_HOLD_S
        if trouble.in_a_row == QUARANTINE_AFTER:
            self._parts.engine.quarantine(trouble.model)
            self._raise(Code.MODEL_FAILED, f"{text}; it was taken out of service", trouble.model)

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
            self._raise(condition.code, condition.text, condition.camera)
        else:
            self._note(self._parts.health.clear(condition.code, condition.camera))

    def _raise(self, code: Code, text: str, subject: str | None = None, *, doing: str = "", fix: str = "") -> None:
        now = self._parts.clock.wall()
        self._note(self._parts.health.raise_(code, text, now, subject, doing=doing, fix=fix))

    def _note(self, transition: Transition | None) -> None:
        """One line per change of health, and systemd's status line."""
        if transition is None:
            return
        reason = transition.reason
        level = _LEVELS[reason.state] if transition.raised and reason.code not in _PASSING else "info"
        said = "health condition" if transition.raised else "health condition over"
        getattr(log, level)(said, code=reason.code.value, text=reason.text, state=transition.after.value)
        state = transition.after.value
        self._parts.notifier.status(f"{state}: {reason.text}" if transition.raised else state)

"""The life of device hosts, as the control thread steers it: start, load, watch, give up, start again.

What follows from what is the table of `recovery`; this file carries it out. Everything here runs on the control thread
(`want`, `restart`, `release`, `handle`, `tick`); what the other threads need of the device is in `flight`. Every host
has a generation, and what an older one says is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from hailod.clock import Clock
from hailod.config.model import DeviceSettings
from hailod.device.events import (
    DeviceDown,
    DeviceReleased,
    DeviceStuck,
    DeviceUp,
    LinkEvent,
    ModelLost,
    ModelQuarantined,
)
from hailod.device.flight import EXCEPTIONS, Drained, Failed, Flight, FlightEvent, ModelSpec, SessionFailed
from hailod.device.holders import HolderLookup
from hailod.device.installation import Installation, Stamp
from hailod.device.judge import Judge, Verdict
from hailod.device.loader import Loader, Vet
from hailod.device.opening import Opening
from hailod.device.presence import Presence
from hailod.device.protocol import Message, number
from hailod.device.recovery import HAS_HOST, LADDER, RUNGS, Action, Respawn, Rung, State, Trigger
from hailod.device.spawner import HostEvent, HostExited, HostFailed, HostMessage, HostStarted, HostStopped, Spawner
from hailod.device.statuses import Fault, Stage
from hailod.errors import DeviceError, DeviceLost

log = structlog.get_logger(__name__)

# A watcher that slept this long itself accuses nobody of silence.
OWN_GAP_S = 1.0
# How often it is looked whether what was refused has changed.
LOOK_S = 2.0


@dataclass(frozen=True, slots=True)
class _Cause:
    """Why the device is out of service; `asked`: by a command, and then nothing is counted against the device."""

    fault: Fault
    text: str
    fix: str = ""
    asked: bool = False


class DeviceLink:
    """One device, through however many hosts it takes."""

    def __init__(
        self,
        settings: DeviceSettings,
        clock: Clock,
        spawner: Spawner,
        flight: Flight,
        respawn: Respawn,
        *,
        on_event: Callable[[LinkEvent], None],
        on_abandoned: Callable[[Iterable[Failed]], None],
        on_room: Callable[[], None],
        vet: Vet = lambda _spec, _tensors: None,
        installation: Installation | None = None,
        holders: HolderLookup | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._spawner = spawner
        self._flight = flight
        self._respawn = respawn
        self._emit = on_event
        self._on_abandoned = on_abandoned
        self._installation = installation or Installation()

        self._state = State.OFF
        self._generation = 0
        self._deadline = 0.0
        self._last_tick = clock.monotonic()
        self._host = Presence()
        self._loader = Loader(
            clock, flight, settings, self._installation, send=self._send, emit=on_event, on_room=on_room, vet=vet
        )
        self._judge = Judge(settings, flight, holders or HolderLookup(settings, clock))
        self._cause = _Cause(Fault.DEVICE_LOST, "")
        # Whether the device is lent, so that no host follows the one that ends.
        self._lent = False
        self._stamp: Stamp = ()
        self._next_look = 0.0
        self._restarts = 0
        self._climbed: Counter[str] = Counter()
        self._late_job: float | None = None
        self._opening = Opening()
        self._actions: Mapping[Action, Callable[[], None]] = {
            Action.SPAWN: self._spawn,
            Action.KILL: self._kill,
            Action.REST: self._rest,
            Action.RESUME: self._resume,
            Action.SCHEDULE: self._schedule,
            Action.HOLD: self._hold,
            Action.SAY_STUCK: lambda: on_event(DeviceStuck(self._host.pid)),
            Action.SAY_RELEASED: lambda: on_event(DeviceReleased()),
        }

    # -- the control thread ------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self._state

    @property
    def configuring(self) -> bool:
        """Whether a model is being loaded or unloaded."""
        return self._loader.busy

    @property
    def identity(self) -> Message:
        """Who the device said it is, empty before it first did."""
        return self._host.identity

    @property
    def pid(self) -> int:
        """The present host's process, 0 for none."""
        return self._host.pid

    @property
    def restarts(self) -> int:
        """How many hosts had to be replaced."""
        return self._restarts

    @property
    def climbed(self) -> Mapping[str, int]:
        """How often each rung of the ladder was stepped on."""
        return dict(self._climbed)

    @property
    def telemetry(self) -> dict[str, float | None]:
        """CPU seconds of all hosts so far, resident memory of the present one, chip temperature where it tells."""
        return {"cpu_s": self._host.cpu_s, "rss_mb": self._host.rss_mb, "temp_c": self._judge.temp_c}

    def configure(self, settings: DeviceSettings) -> None:
        """Go by these settings from now on; what concerns the start of a host holds from the next one on."""
        self._settings = settings
        self._loader.configure(settings)
        self._judge.configure(settings)
        self._respawn.configure(settings.backoff_initial, settings.backoff_max, settings.recovery.healthy_after)

    def start(self) -> None:
        """Start the first host."""
        self._opening.begin(self._settings)
        self._fire(Trigger.START)

    def want(self, specs: Iterable[ModelSpec]) -> None:
        """The models to have loaded from now on; the difference is loaded and unloaded one by one."""
        specs = tuple(specs)
        for gone in {session.spec.name for session in self._loader.sessions} - {spec.name for spec in specs}:
            self._judge.forget(gone)
        self._loader.want(specs)

    def reload(self) -> None:
        """Configure every model anew in the same host."""
        self._loader.reload()

    def restart(self, reason: str) -> None:
        """Replace the host at once, or end the wait for the next one. A device that is lent stays so."""
        self._loader.retry()
        self._cause = _Cause(Fault.DEVICE_LOST, reason, asked=True)
        self._fire(Trigger.RESTART)

    def release(self) -> None:
        """Let others have the device: end the host, and start none until `acquire`."""
        self._lent = True
        self._cause = _Cause(Fault.UNAVAILABLE, "the device is lent to another program", asked=True)
        self._fire(Trigger.RELEASE)

    def acquire(self) -> None:
        """Have the device back."""
        self._lent = False
        self._fire(Trigger.ACQUIRE)

    def handle(self, event: HostEvent | FlightEvent) -> None:
        """Take in what happened to a host or to what is in flight."""
        now = self._clock.monotonic()
        match event:
            case SessionFailed():
                self._session_failed(event, now)
            case Drained():
                log.debug("device drained")
            case HostStarted() if event.generation != self._generation:
                event.jobs.close()
                event.control.close()
            case _ if event.generation == self._generation:
                self._host_event(event, now)
        if self._state is State.UP:
            self._loader.step(now)

    def tick(self) -> None:
        """Look at the clocks; to be called a few times a second."""
        now = self._clock.monotonic()
        slept = now - self._last_tick > OWN_GAP_S
        self._last_tick = now
        if slept:
            self._host.last_beat = max(self._host.last_beat, now - self._settings.heartbeat_timeout / 2)
        self._judge.count(now)
        if now >= self._next_look:
            self._next_look = now + LOOK_S
            self._look(now)
        if self._state in (State.UP, State.COOLING):
            self._watch(now, slept)
        match self._state:
            case State.UP:
                if self._loader.sessions:
                    self._respawn.succeeded(now)
                self._loader.step(now)
            case State.COOLING if self._judge.cool(now):
                self._fire(Trigger.COOLED)
            case State.STARTING if now > self._deadline:
                self._lose(Fault.HUNG, f"device did not open within {self._settings.start_timeout:g} s")
            case State.DYING if now > self._deadline:
                self._fire(Trigger.OVERDUE)
            case State.WAITING | State.HELD if now >= self._deadline:
                self._fire(Trigger.DUE)

    def close(self) -> list[Failed]:
        """Take no more jobs and give up what is in flight; the host itself is the spawner's to end."""
        self._flight.close()
        self._fire(Trigger.CLOSE)
        self._host.end()
        self._opening.end()
        return self._abandon(DeviceLost("hailod is stopping"))

    # -- the ladder --------------------------------------------------------------------------------------------------

    def _fire(self, trigger: Trigger) -> None:
        step = LADDER.get((self._state, trigger))
        if step is None:
            return
        log.debug("device", state=step.state.value, was=self._state.value, trigger=trigger.value)
        self._state = step.state
        for action in step.actions:
            self._actions[action]()

    def _lose(self, fault: Fault, text: str, fix: str = "") -> None:
        """The device or its host failed; nothing to do where it is given up already."""
        if self._state in HAS_HOST:
            self._cause = _Cause(fault, text, fix)
            self._climbed[RUNGS[fault] if fault is not Fault.SESSION_LOST else Rung.HOST] += 1
            self._fire(Trigger.TOO_HOT if fault is Fault.TOO_HOT else Trigger.LOST)

    def _spawn(self) -> None:
        self._generation += 1
        self._deadline = self._clock.monotonic() + self._settings.start_timeout
        self._spawner.spawn(self._generation)

    def _kill(self) -> None:
        """Give up this host: fail what it holds, kill it, and wait for the kernel to say that it is gone."""
        cause = self._cause
        self._deadline = self._clock.monotonic() + self._settings.recovery.kill_timeout
        self._spawner.kill(self._generation)
        self._on_abandoned(self._abandon(EXCEPTIONS[cause.fault](cause.text)))
        self._emit(DeviceDown(cause.fault, cause.text, None, cause.asked, cause.fix))

    def _rest(self) -> None:
        """The chip stopped itself: its models are dead, what is in flight comes home by itself."""
        self._flight.accept(False)
        for session in self._loader.sessions:
            self._flight.condemn(session)
        self._emit(DeviceDown(Fault.TOO_HOT, self._cause.text, None, fix=self._cause.fix))

    def _resume(self) -> None:
        self._loader.reload()
        self._flight.accept(True)
        self._emit(DeviceUp(self._host.identity))

    def _schedule(self) -> None:
        self._wait_for_next(0.0 if self._cause.asked else self._respawn.delay(self._cause.fault))

    def _hold(self) -> None:
        self._stamp = self._installation.stamp(self._watched_files())
        self._wait_for_next(self._settings.recovery.rejected_retry)

    def _wait_for_next(self, delay: float) -> None:
        cause = self._cause
        self._restarts += 1
        self._deadline = self._clock.monotonic() + delay
        self._emit(DeviceDown(cause.fault, cause.text, delay, cause.asked, cause.fix))

    def _gone(self) -> None:
        """The host is reaped: its slots are home, and the device is free for what comes next."""
        self._host.end()
        if self._lent:
            self._fire(Trigger.REAPED_RELEASED)
        elif self._cause.fault is Fault.REJECTED and not self._cause.asked:
            self._fire(Trigger.REAPED_REJECTED)
        else:
            self._fire(Trigger.REAPED)

    # -- what hosts do -----------------------------------------------------------------------------------------------

    def _host_event(self, event: HostEvent, now: float) -> None:
        match event:
            case HostStarted():
                self._adopt(event, now)
            case HostFailed(reason=reason):
                self._cause = _Cause(Fault.UNAVAILABLE, reason, "see the memory and process limits of this machine")
                self._gone()
            case HostMessage(message=message):
                if self._state in HAS_HOST:
                    self._hear(message, now)
            case HostStopped():
                self._lose(Fault.HUNG, "device host was stopped by a signal")
            case HostExited(reason=reason, last_lines=lines):
                if lines:
                    log.info("device host's last words", lines=list(lines)[-5:], reason=reason)
                self._lose(Fault.DEVICE_LOST, f"device host {reason}")
                self._gone()

    def _adopt(self, event: HostStarted, now: float) -> None:
        if self._state is not State.STARTING:
            # It was given up before it ran, when there was nothing to kill yet.
            self._spawner.kill(self._generation)
            event.jobs.close()
            event.control.close()
            return
        self._host.begin(event.pid, event.control, now)
        self._flight.attach(event.jobs, self._generation)
        self._send(self._opening.request(self._settings, self._generation))

    def _send(self, message: Message, fds: Sequence[int] = ()) -> None:
        if not self._host.send(message, fds):
            self._lose(Fault.HUNG, f"device host does not take '{message['type']}'")

    def _hear(self, message: Message, now: float) -> None:
        self._host.last_beat = now
        match message["type"]:
            case "beat":
                self._host.beat(message)
            case "telemetry":
                temp = message.get("temp_c")
                self._measured(None if temp is None else number(temp), now)
            case "clock":
                self._measured(self._judge.temp_c, now, throttled=message.get("throttled") is True)
            case "shutdown":
                temp_c = number(message.get("temp_c"))
                self._measured(temp_c, now)
                self._find(self._judge.too_hot(f"the chip stopped itself at {temp_c:g} °C", now))
            case "fault":
                # In words what the job's completion tells as a number.
                log.debug("device host reports a fault", stage=message.get("stage"), text=message.get("text"))
            case "failed":
                self._refuse(message)
            case "open.done":
                self._host.identify(message.get("identity"))
                self._fire(Trigger.OPENED)
                self._flight.accept(True)
                self._emit(DeviceUp(self._host.identity))
            case "load.done" | "configure.done" | "unload.done":
                self._loader.obeyed(message, self._generation, now)
                if self._state is State.COOLING:
                    self._flight.accept(False)
            case other:
                log.debug("device host says what is not understood", type=other)

    def _refuse(self, message: Message) -> None:
        """A control request failed: one model refused, or the whole device out of service."""
        opening = message.get("command") == "open"
        verdict = self._judge.refused(message, Stage.OPEN if opening else Stage.MODEL, self._host.pid)
        if self._state is State.COOLING:
            self._loader.drop()
        elif opening or verdict.fault is not Fault.REJECTED or not self._loader.refuse(verdict.text, verdict.fix):
            self._find(verdict)

    # -- models ------------------------------------------------------------------------------------------------------

    def quarantine(self, name: str, text: str) -> None:
        """Take a model out of service for a while; the others go on."""
        self._climbed[Rung.QUARANTINE] += 1
        self._loader.quarantine(name, self._clock.monotonic())
        self._emit(ModelQuarantined(name, text, self._settings.recovery.rejected_retry))

    def _session_failed(self, failed: SessionFailed, now: float) -> None:
        name = failed.session.spec.name
        if self._state is not State.UP or self._loader.session(name) is not failed.session:
            return
        verdict = self._judge.session_failed(failed, self._loader.sessions, now)
        if verdict.rung is None:
            self._find(verdict)
        elif verdict.rung is Rung.QUARANTINE:
            self.quarantine(name, f"it fails again and again while others are well: {verdict.text}")
        else:
            self._climbed[verdict.rung] += 1
            self._loader.rebuild(name)
            self._emit(ModelLost(name, verdict.text, verdict.rung))

    def _find(self, verdict: Verdict) -> None:
        assert verdict.fault is not None
        self._lose(verdict.fault, verdict.text, verdict.fix)

    # -- watching ----------------------------------------------------------------------------------------------------

    def _watch(self, now: float, slept: bool) -> None:
        """Is the host alive and the oldest job young enough?"""
        device = self._settings
        if overdue := self._loader.overdue(now):
            self._lose(Fault.HUNG, overdue)
        if self._loader.blocking:
            return
        oldest = self._flight.oldest
        if self._flight.deaf:
            self._lose(Fault.HUNG, "device host takes no jobs")
        elif now - self._host.last_beat > device.heartbeat_timeout:
            self._lose(Fault.HUNG, f"no heartbeat for {now - self._host.last_beat:.1f} s")
        elif oldest is not None and not slept:
            age = now - oldest
            if age > device.stall_timeout:
                self._lose(Fault.HUNG, f"oldest job is {age:.1f} s old")
            elif age > device.stall_timeout / 3 and oldest != self._late_job:
                self._late_job = oldest
                self._climbed[Rung.WAIT] += 1
                log.info("device is late", oldest_job_s=round(age, 2))

    def _look(self, now: float) -> None:
        """Has anything changed of what was refused?"""
        self._loader.reconsider(now)
        if self._state is State.HELD and self._installation.stamp(self._watched_files()) != self._stamp:
            log.info("driver, library or model files have changed: the device is tried again")
            self._fire(Trigger.CHANGED)

    def _watched_files(self) -> list[Path]:
        faults = self._settings.simulated.faults
        return [*self._loader.files, *([faults] if faults is not None else [])]

    def _measured(self, temp_c: float | None, now: float, *, throttled: bool | None = None) -> None:
        changed = self._judge.measured(temp_c, now, throttled=throttled)
        if changed is not None:
            self._emit(changed)

    def _abandon(self, error: DeviceError) -> list[Failed]:
        self._loader.host_lost()
        return self._flight.abandon(error)

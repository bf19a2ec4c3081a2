"""The life of device hosts, as the control thread steers it: start, load, watch, give up, start again.

Everything here runs on the control thread (`want`, `restart`, `handle`, `tick`); what the other threads need of the
device is in `flight`. Every host has a generation, and what an older one says is dropped.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from hailod.clock import Clock
from hailod.config.model import DeviceSettings
from hailod.device.events import DeviceDown, DeviceReleased, DeviceStuck, DeviceUp, LinkEvent
from hailod.device.flight import EXCEPTIONS, Failed, Flight, ModelSpec
from hailod.device.holders import HolderLookup
from hailod.device.loader import Loader
from hailod.device.protocol import Message, number, send_control
from hailod.device.recovery import Cure, Fault, Respawn, cure_of
from hailod.device.spawner import HostEvent, HostExited, HostFailed, HostMessage, HostStarted, HostStopped, Spawner
from hailod.errors import DeviceError, DeviceLost, DeviceRejected

log = structlog.get_logger(__name__)

KILL_TIMEOUT_S = 1.0
# A watcher that slept this long itself accuses nobody of silence.
OWN_GAP_S = 1.0

_IDENTITY = ("arch", "name", "serial_tail", "firmware", "hailort")
_OWN_ERRORS = {
    "DeviceUnavailable": Fault.UNAVAILABLE,
    "DeviceRejected": Fault.REJECTED,
    "DeviceLost": Fault.DEVICE_LOST,
    "ModelError": Fault.REJECTED,
}


class Phase(StrEnum):
    """Where the host is in its life."""

    OFF = "off"
    STARTING = "starting"
    UP = "up"
    DYING = "dying"
    STUCK = "stuck"
    WAITING = "waiting"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class _Cause:
    """Why the host was given up; `asked`: by a command, and then nothing is counted against the device."""

    fault: Fault
    text: str
    asked: bool = False


@dataclass(slots=True)
class _Host:
    """What is known of the present host."""

    pid: int = 0
    control: socket.socket | None = None
    last_beat: float = 0.0
    cpu_s: float = 0.0
    rss_kb: int = 0
    temp_c: float | None = None
    cpu_s_before: float = 0.0
    identity: Message = field(default_factory=dict)


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
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._spawner = spawner
        self._flight = flight
        self._respawn = respawn
        self._emit = on_event
        self._on_abandoned = on_abandoned

        self._phase = Phase.OFF
        self._generation = 0
        self._deadline = 0.0
        self._last_tick = clock.monotonic()
        self._host = _Host()
        self._loader = Loader(
            clock, flight, settings.configure_timeout, send=self._send, emit=on_event, on_room=on_room
        )
        self._cause = _Cause(Fault.DEVICE_LOST, "")
        self._restarts = 0
        self._lending = False
        self._holders = HolderLookup(settings, clock)
        # What a simulated device with scripted faults remembers from host to host.
        self._memory = -1

    # -- the control thread ------------------------------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def configuring(self) -> bool:
        """Whether a model is being loaded or unloaded, so that the device takes no frames."""
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
    def telemetry(self) -> dict[str, float | None]:
        """CPU seconds of all hosts so far, resident memory of the present one, chip temperature where it tells."""
        host = self._host
        return {"cpu_s": host.cpu_s_before + host.cpu_s, "rss_mb": host.rss_kb / 1024, "temp_c": host.temp_c}

    def start(self) -> None:
        """Start the first host."""
        if self._settings.backend == "simulated" and self._settings.simulated.faults is not None:
            self._memory = os.memfd_create("simulated-device", os.MFD_CLOEXEC)
        self._spawn()

    def want(self, specs: Iterable[ModelSpec]) -> None:
        """The models to have loaded from now on; the difference is loaded and unloaded one by one, on `tick`."""
        self._loader.want(specs)

    def reload(self) -> None:
        """Configure every model anew in the same host."""
        self._loader.reload()

    def restart(self, reason: str) -> None:
        """Replace the host at once, or end the wait for the next one."""
        self._loader.retry()
        if self._phase in (Phase.STARTING, Phase.UP):
            self._down(Fault.DEVICE_LOST, reason, asked=True)
        elif self._phase is Phase.WAITING:
            self._deadline = self._clock.monotonic()

    def release(self) -> None:
        """Leave the device to others; DeviceReleased follows once the host is gone."""
        self._lending = True
        if self._phase in (Phase.OFF, Phase.WAITING):
            self._released()
        else:
            self._down(Fault.DEVICE_LOST, "the device is being handed over to other programs", asked=True)

    def acquire(self) -> None:
        """Have the device again, or end the wait for the next try."""
        self._lending = False
        if self._phase is Phase.RELEASED:
            self._spawn()
        elif self._phase is Phase.WAITING:
            self._deadline = self._clock.monotonic()

    def handle(self, event: HostEvent) -> None:
        """Take in what happened to a host."""
        if event.generation != self._generation:
            if isinstance(event, HostStarted):
                event.jobs.close()
                event.control.close()
            return
        now = self._clock.monotonic()
        match event:
            case HostStarted():
                self._adopt(event, now)
            case HostFailed():
                self._host.pid = 0
                self._gone(_Cause(Fault.UNAVAILABLE, event.reason))
            case HostMessage():
                if self._phase in (Phase.STARTING, Phase.UP):
                    self._hear(event.message, now)
            case HostStopped():
                self._down(Fault.HUNG, "device host was stopped by a signal")
            case HostExited():
                self._exited(event)

    def tick(self) -> None:
        """Look at the clocks; to be called a few times a second."""
        now = self._clock.monotonic()
        slept = now - self._last_tick > OWN_GAP_S
        self._last_tick = now
        if slept:
            self._host.last_beat = max(self._host.last_beat, now - self._settings.heartbeat_timeout / 2)
        if self._phase is Phase.UP:
            self._watch(now, slept)
        if self._phase is Phase.UP:
            self._respawn.succeeded(now)
            self._loader.step(now)
        elif self._phase is Phase.STARTING and now > self._deadline:
            self._down(Fault.HUNG, f"device did not open within {self._settings.start_timeout:g} s")
        elif self._phase is Phase.DYING and now > self._deadline:
            self._phase = Phase.STUCK
            log.error("device host does not die", pid=self._host.pid)
            self._emit(DeviceStuck(self._host.pid))
        elif self._phase is Phase.WAITING and now >= self._deadline:
            self._spawn()

    def close(self) -> list[Failed]:
        """Take no more jobs and give up what is in flight; the host itself is the spawner's to end."""
        self._flight.close()
        self._phase = Phase.OFF
        self._close_control()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1
        return self._abandon(DeviceLost("hailod is stopping"))

    # -- inside ------------------------------------------------------------------------------------------------------

    def _spawn(self) -> None:
        self._generation += 1
        self._phase = Phase.STARTING
        self._deadline = self._clock.monotonic() + self._settings.start_timeout
        self._spawner.spawn(self._generation)

    def _adopt(self, event: HostStarted, now: float) -> None:
        if self._phase is not Phase.STARTING:
            # It was given up before it ran, when there was nothing to kill yet.
            self._spawner.kill(self._generation)
            event.jobs.close()
            event.control.close()
            return
        before = self._host
        self._host = _Host(
            pid=event.pid,
            control=event.control,
            last_beat=now,
            cpu_s_before=before.cpu_s_before + before.cpu_s,
            identity=before.identity,
        )
        self._flight.attach(event.jobs, self._generation)
        device = self._settings
        self._send(
            {
                "type": "open",
                "generation": self._generation,
                "backend": device.backend,
                "scheduler": device.scheduler,
                "id": device.id,
                "simulated": device.simulated.model_dump(mode="json") | {"memory": self._memory_path()},
            }
        )

    def _memory_path(self) -> str | None:
        return f"/proc/{os.getpid()}/fd/{self._memory}" if self._memory >= 0 else None

    def _send(self, message: Message, fds: Sequence[int] = ()) -> None:
        control = self._host.control
        if control is None or not send_control(control, message, fds):
            self._down(Fault.HUNG, f"device host does not take '{message['type']}'")

    def _hear(self, message: Message, now: float) -> None:
        self._host.last_beat = now
        match message["type"]:
            case "beat":
                self._host.cpu_s = number(message.get("cpu_s"))
                self._host.rss_kb = int(number(message.get("rss_kb")))
            case "telemetry":
                temp = message.get("temp_c")
                self._host.temp_c = None if temp is None else number(temp)
            case "fault":
                status = int(number(message.get("status")))
                cure = cure_of(status)
                fault = Fault.SESSION_LOST if cure.fault is Fault.REJECTED else cure.fault
                self._down(fault, f"{message.get('stage')} failed: {message.get('text')} (status {status})")
            case "failed":
                self._refuse(message)
            case "open.done":
                told = message.get("identity")
                self._host.identity = {key: told.get(key) for key in _IDENTITY} if isinstance(told, dict) else {}
                self._phase = Phase.UP
                self._flight.accept(True)
                self._emit(DeviceUp(self._host.identity))
            case "load.done" | "configure.done" | "unload.done":
                self._loader.obeyed(message, self._generation, now)
            case other:
                log.debug("device host says what is not understood", type=other)

    def _refuse(self, message: Message) -> None:
        """A control request failed: one model refused, or the whole device out of service."""
        text = str(message.get("text"))
        status = message.get("status")
        status_number = None if status is None else int(number(status))
        cure = cure_of(status_number) if status_number is not None else Cure(Fault.DEVICE_LOST)
        fault = _OWN_ERRORS.get(str(message.get("error")), cure.fault)
        fix = self._holders.describe(status_number, own=self._host.pid) or cure.fix
        said = f"{text}; {fix}" if fix and cure.fault is fault else text
        asked = message.get("command") != "open"
        if fault is Fault.REJECTED and asked and self._loader.refuse(DeviceRejected(said, status=status_number)):
            return
        self._down(fault, f"{message.get('command')}: {said}" if asked else said)

    def _watch(self, now: float, slept: bool) -> None:
        """Is the host alive and the oldest job young enough?"""
        device = self._settings
        if self._loader.waiting:
            if overdue := self._loader.overdue(now):
                self._down(Fault.HUNG, overdue)
            return
        oldest = self._flight.oldest
        if self._flight.deaf:
            self._down(Fault.HUNG, "device host takes no jobs")
        elif now - self._host.last_beat > device.heartbeat_timeout:
            self._down(Fault.HUNG, f"no heartbeat for {now - self._host.last_beat:.1f} s")
        elif oldest is not None and now - oldest > device.stall_timeout and not slept:
            self._down(Fault.HUNG, f"oldest job is {now - oldest:.1f} s old")

    def _down(self, fault: Fault, text: str, *, asked: bool = False) -> None:
        """Give up this host: fail what it holds, kill it, and wait for the kernel to say that it is gone."""
        if self._phase not in (Phase.STARTING, Phase.UP):
            return
        self._phase = Phase.DYING
        self._deadline = self._clock.monotonic() + KILL_TIMEOUT_S
        self._cause = _Cause(fault, text, asked)
        self._spawner.kill(self._generation)
        self._on_abandoned(self._abandon(EXCEPTIONS[fault](text)))
        self._emit(DeviceDown(fault, text, None, asked))

    def _abandon(self, error: DeviceError) -> list[Failed]:
        self._loader.host_lost()
        return self._flight.abandon(error)

    def _exited(self, event: HostExited) -> None:
        if event.last_lines:
            log.info("device host's last words", lines=list(event.last_lines)[-5:], reason=event.reason)
        if self._phase in (Phase.STARTING, Phase.UP):
            self._down(Fault.DEVICE_LOST, f"device host {event.reason}")
        if self._phase in (Phase.DYING, Phase.STUCK):
            self._gone(self._cause)

    def _gone(self, cause: _Cause) -> None:
        """The host is reaped: the device is free for the next one."""
        self._close_control()
        self._host.pid = 0
        if self._lending:
            self._released()
            return
        self._restarts += 1
        delay = 0.0 if cause.asked else self._respawn.delay(cause.fault)
        self._phase = Phase.WAITING
        self._deadline = self._clock.monotonic() + delay
        self._emit(DeviceDown(cause.fault, cause.text, delay, cause.asked))

    def _released(self) -> None:
        self._phase = Phase.RELEASED
        self._emit(DeviceReleased())

    def _close_control(self) -> None:
        if self._host.control is not None:
            self._host.control.close()
            self._host.control = None

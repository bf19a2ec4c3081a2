"""The life of device hosts, as the control thread steers it: start, load, watch, give up, start again.

Everything here runs on the control thread (`want`, `restart`, `handle`, `tick`); what the other threads need of the
device is in `flight`. Every host has a generation, and what an older one says is dropped.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from hailod.clock import Clock
from hailod.config.model import DeviceSettings
from hailod.device.events import DeviceDown, DeviceStuck, DeviceUp, LinkEvent, ModelFailed, ModelReady, ModelUnloaded
from hailod.device.flight import EXCEPTIONS, Failed, Flight, ModelSpec, Session
from hailod.device.protocol import Message, send_control
from hailod.device.recovery import Cure, Fault, Respawn, cure_of
from hailod.device.slots import Layout, SlotPool
from hailod.device.spawner import HostEvent, HostExited, HostFailed, HostMessage, HostStarted, HostStopped, Spawner
from hailod.device.tensors import tensors_from_json
from hailod.errors import DeviceError, DeviceLost, DeviceRejected
from hailod.types import ModelTensors

log = structlog.get_logger(__name__)

KILL_TIMEOUT_S = 1.0
# A watcher that slept this long itself accuses nobody of silence.
OWN_GAP_S = 1.0

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


@dataclass(slots=True)
class _Operation:
    """A control request under way: the queue drains first, because the host cannot answer callbacks meanwhile."""

    kind: str
    name: str
    message: Message
    deadline: float
    sent: bool = False
    began: float = 0.0


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
        self._on_room = on_room

        self._phase = Phase.OFF
        self._generation = 0
        self._deadline = 0.0
        self._last_tick = clock.monotonic()
        self._host = _Host()
        self._keys = itertools.count(1)
        self._wanted: dict[str, ModelSpec] = {}
        self._refused: set[str] = set()
        self._reload: set[str] = set()
        self._sessions: dict[str, Session] = {}
        self._pending: tuple[ModelTensors, SlotPool, int] | None = None
        self._operation: _Operation | None = None
        self._cause = _Cause(Fault.DEVICE_LOST, "")
        self._restarts = 0

    # -- the control thread ------------------------------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def configuring(self) -> bool:
        """Whether the host is busy with a control request and takes no frames."""
        return self._operation is not None

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
        self._spawn()

    def want(self, specs: Iterable[ModelSpec]) -> None:
        """The models to have loaded from now on; the difference is loaded and unloaded one by one, on `tick`."""
        wanted = {spec.name: spec for spec in specs}
        self._refused = {name for name in self._refused if wanted.get(name) == self._wanted.get(name)}
        self._reload |= {n for n, session in self._sessions.items() if n in wanted and wanted[n] != session.spec}
        self._wanted = wanted

    def retry(self, name: str) -> None:
        """Forget that the device refused this model."""
        self._refused.discard(name)

    def reload(self) -> None:
        """Configure every model anew in the same host."""
        self._refused.clear()
        self._reload |= set(self._sessions)

    def restart(self, reason: str) -> None:
        """Replace the host at once, or end the wait for the next one."""
        self._refused.clear()
        if self._phase in (Phase.STARTING, Phase.UP):
            self._down(Fault.DEVICE_LOST, reason, asked=True)
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
            self._reconcile(now)
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
        return self._abandon(DeviceLost("hailod is stopping"))

    # -- inside ------------------------------------------------------------------------------------------------------

    def _spawn(self) -> None:
        self._generation += 1
        self._phase = Phase.STARTING
        self._deadline = self._clock.monotonic() + self._settings.start_timeout
        self._spawner.spawn(self._generation)

    def _adopt(self, event: HostStarted, now: float) -> None:
        if self._phase is not Phase.STARTING:
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
                "simulated": device.simulated.model_dump(mode="json"),
            }
        )

    def _send(self, message: Message, fds: Sequence[int] = ()) -> None:
        control = self._host.control
        if control is None or not send_control(control, message, fds):
            self._down(Fault.HUNG, f"device host does not take '{message['type']}'")

    def _hear(self, message: Message, now: float) -> None:
        self._host.last_beat = now
        match message["type"]:
            case "beat":
                self._host.cpu_s = _number(message.get("cpu_s"))
                self._host.rss_kb = int(_number(message.get("rss_kb")))
            case "telemetry":
                temp = message.get("temp_c")
                self._host.temp_c = None if temp is None else _number(temp)
            case "fault":
                status = int(_number(message.get("status")))
                cure = cure_of(status)
                fault = Fault.SESSION_LOST if cure.fault is Fault.REJECTED else cure.fault
                self._down(fault, f"{message.get('stage')} failed: {message.get('text')} (status {status})")
            case "failed":
                self._refuse(message)
            case "open.done":
                identity = message.get("identity")
                self._host.identity = identity if isinstance(identity, dict) else {}
                self._phase = Phase.UP
                self._flight.accept(True)
                self._emit(DeviceUp(self._host.identity))
            case "load.done" | "configure.done" | "unload.done":
                self._advance(message, now)
            case other:
                log.debug("device host says what is not understood", type=other)

    def _refuse(self, message: Message) -> None:
        """A control request failed: one model refused, or the whole device out of service."""
        text = str(message.get("text"))
        status = message.get("status")
        number = None if status is None else int(_number(status))
        cure = cure_of(number) if number is not None else Cure(Fault.DEVICE_LOST)
        fault = _OWN_ERRORS.get(str(message.get("error")), cure.fault)
        said = f"{text}; {cure.fix}" if cure.fix and cure.fault is fault else text
        operation = self._operation
        if operation is None or fault is not Fault.REJECTED:
            stage = f"{message.get('command')}: " if operation is not None else ""
            self._down(fault, stage + said)
            return
        self._operation = None
        self._drop_pending()
        self._refused.add(operation.name)
        self._resume()
        self._emit(ModelFailed(operation.name, DeviceRejected(said, status=number)))

    def _watch(self, now: float, slept: bool) -> None:
        """Is the host alive and the oldest job young enough?"""
        device = self._settings
        operation = self._operation
        if operation is not None and operation.sent:
            if now > operation.deadline:
                self._down(Fault.HUNG, f"{operation.kind} of {operation.name} took over {device.configure_timeout:g} s")
            return
        oldest = self._flight.oldest
        if self._flight.deaf:
            self._down(Fault.HUNG, "device host takes no jobs")
        elif now - self._host.last_beat > device.heartbeat_timeout:
            self._down(Fault.HUNG, f"no heartbeat for {now - self._host.last_beat:.1f} s")
        elif oldest is not None and now - oldest > device.stall_timeout and not slept:
            self._down(Fault.HUNG, f"oldest job is {now - oldest:.1f} s old")

    def _reconcile(self, now: float) -> None:
        """One step from the models that are loaded towards those that are wanted."""
        if self._operation is None:
            self._operation = self._next_operation(now)
            if self._operation is None:
                return
            self._flight.accept(False)
        operation = self._operation
        if operation.sent:
            return
        if self._flight.empty:
            operation.sent = True
            operation.began = now
            operation.deadline = now + self._settings.configure_timeout
            self._send(operation.message)

    def _next_operation(self, now: float) -> _Operation | None:
        for name, session in self._sessions.items():
            if name not in self._wanted or name in self._reload:
                return _Operation("unload", name, {"type": "unload", "model": session.key}, now)
        for name, spec in self._wanted.items():
            if name not in self._sessions and name not in self._refused:
                message: Message = {
                    "type": "load",
                    "model": next(self._keys),
                    "path": str(spec.path),
                    "batch_size": spec.batch_size,
                    "score_floor": spec.score_floor,
                }
                return _Operation("load", name, message, now)
        return None

    def _advance(self, message: Message, now: float) -> None:
        """A control request was obeyed."""
        operation = self._operation
        if operation is None or message.get("model") != operation.message["model"]:
            return
        spec = self._wanted.get(operation.name)
        if message["type"] == "unload.done":
            self._reload.discard(operation.name)
            del self._sessions[operation.name]
            self._operation = None
            self._resume()
            self._emit(ModelUnloaded(operation.name))
        elif message["type"] == "load.done" and spec is not None:
            self._bind(operation, spec, message)
        elif message["type"] == "configure.done" and spec is not None and self._pending is not None:
            tensors, pool, batch = self._pending
            self._pending = None
            queue = int(_number(message.get("queue_size")))
            key = int(_number(operation.message["model"]))
            batch = max(1, min(batch, queue))
            session = Session(spec, key, self._generation, tensors, pool, batch, max(1, min(2 * batch, queue)))
            self._sessions[operation.name] = session
            self._operation = None
            self._resume()
            self._emit(ModelReady(session, round((now - operation.began) * 1000, 1)))
        else:
            # No longer wanted since it was asked for.
            self._operation = None
            self._drop_pending()
            self._resume()

    def _bind(self, operation: _Operation, spec: ModelSpec, message: Message) -> None:
        """Make the slots of a loaded model and have them bound: a window, a batch in hand on either side, one spare."""
        try:
            tensors = tensors_from_json(message["tensors"])
            pool = SlotPool(Layout.of(tensors, 4 * spec.batch_size + 1))
        except (KeyError, TypeError, ValueError, OSError) as error:
            self._operation = None
            self._refused.add(operation.name)
            self._resume()
            self._emit(ModelFailed(operation.name, DeviceRejected(f"its tensors cannot be laid out: {error}")))
            return
        self._pending = (tensors, pool, spec.batch_size)
        operation.kind = "configure"
        operation.deadline = self._clock.monotonic() + self._settings.configure_timeout
        request: Message = {
            "type": "configure",
            "model": operation.message["model"],
            "tensors": message["tensors"],
            "slots": pool.layout.slots,
        }
        self._send(request, [pool.fd])
        pool.close_fd()

    def _resume(self) -> None:
        self._flight.accept(self._phase is Phase.UP)
        self._on_room()

    def _drop_pending(self) -> None:
        if self._pending is not None:
            self._pending[1].close_fd()
            self._pending = None

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
        self._operation = None
        self._drop_pending()
        self._sessions.clear()
        self._reload.clear()
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
        self._restarts += 1
        delay = 0.0 if cause.asked else self._respawn.delay(cause.fault)
        self._phase = Phase.WAITING
        self._deadline = self._clock.monotonic() + delay
        self._emit(DeviceDown(cause.fault, cause.text, delay, cause.asked))

    def _close_control(self) -> None:
        if self._host.control is not None:
            self._host.control.close()
            self._host.control = None


def _number(value: object) -> float:
    """A number out of a message, 0 for what is none."""
    return float(value) if isinstance(value, int | float) else 0.0

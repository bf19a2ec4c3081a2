"""Models onto the device and off it again, one request at a time, until those are loaded that are wanted.

Loading and configuring hold the host's GIL and with it every callback, so what is in flight is let home first and
nothing is sent meanwhile. Unloading does not, and concerns only the model itself. A model that was refused is not
asked for again until its file changes, its time has come or somebody wants it anew. A model that is wanted differently
is loaded once more beside itself, and what there was serves until that has been configured. Driven by the link, on the
control thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hailod.clock import Clock
from hailod.config.model import DeviceSettings
from hailod.device.events import LinkEvent, ModelFailed, ModelReady, ModelUnloaded
from hailod.device.flight import Flight, ModelSpec, Session
from hailod.device.installation import Installation, Stamp
from hailod.device.protocol import Message, number
from hailod.device.slots import Layout, SlotPool
from hailod.device.tensors import tensors_from_json
from hailod.errors import DeviceRejected, ModelError
from hailod.types import ModelTensors

Vet = Callable[[ModelSpec, ModelTensors], None]


@dataclass(slots=True)
class _Request:
    """One request to the host, `sent` once the flight is empty. An unload has no `spec`."""

    kind: str
    name: str
    key: int
    message: Message
    spec: ModelSpec | None = None
    # Of an unload: what must have come home first.
    session: Session | None = None
    sent: bool = False
    began: float = 0.0
    allowed: float = 0.0
    deadline: float = 0.0


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Until when a model is not asked for, unless its file becomes another one."""

    until: float
    stamp: Stamp


class Loader:
    """The models of one device. `send` takes a message and descriptors to the present host. `vet` raises ModelError for
    a model of which the outputs cannot be understood: it is asked before `configure`, which holds up all others."""

    def __init__(
        self,
        clock: Clock,
        flight: Flight,
        settings: DeviceSettings,
        installation: Installation,
        *,
        send: Callable[[Message, Sequence[int]], None],
        emit: Callable[[LinkEvent], None],
        on_room: Callable[[], None],
        vet: Vet,
    ) -> None:
        self._clock = clock
        self._flight = flight
        self._vet = vet
        self._settings = settings
        self._installation = installation
        self._send = send
        self._emit = emit
        self._on_room = on_room
        self._keys = itertools.count(1)
        self._wanted: dict[str, ModelSpec] = {}
        self._refused: dict[str, _Refusal] = {}
        self._reload: set[str] = set()
        self._sessions: dict[str, Session] = {}
        # What another session of the same model has taken the place of.
        self._replaced: list[Session] = []
        self._request: _Request | None = None
        self._bound: tuple[ModelTensors, SlotPool] | None = None

    def want(self, specs: Iterable[ModelSpec]) -> None:
        """The models to have loaded; what was refused is tried again when it is wanted differently."""
        wanted = {spec.name: spec for spec in specs}
        kept = [name for name in self._refused if wanted.get(name) == self._wanted.get(name)]
        self._refused = {name: self._refused[name] for name in kept}
        self._wanted = wanted

    def configure(self, settings: DeviceSettings) -> None:
        """Go by these time-outs from now on."""
        self._settings = settings

    def retry(self) -> None:
        """Try again what was refused."""
        self._refused.clear()

    def reconsider(self, now: float) -> None:
        """Try again what was refused so long ago, or is another file by now."""
        for name, refusal in list(self._refused.items()):
            if now >= refusal.until or self._stamp(name) != refusal.stamp:
                del self._refused[name]

    def rebuild(self, name: str) -> None:
        """Configure this model anew in the same host."""
        if name in self._sessions:
            self._reload.add(name)

    def quarantine(self, name: str, now: float) -> None:
        """Take this model off the device, and leave it off for a while."""
        self._refuse(name, now)
        self.rebuild(name)

    def session(self, name: str) -> Session | None:
        """The model's present session."""
        return self._sessions.get(name)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """All that are on the device."""
        return (*self._sessions.values(), *self._replaced)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the models that are wanted."""
        return tuple(spec.path for spec in self._wanted.values())

    def reload(self) -> None:
        """Configure every model anew."""
        self._refused.clear()
        self._reload |= set(self._sessions)

    @property
    def busy(self) -> bool:
        """Whether there is a request, sent or waiting for the flight to be empty."""
        return self._request is not None

    @property
    def blocking(self) -> bool:
        """Whether the host is at a request that holds its GIL, so that it can neither beat nor complete."""
        return self._request is not None and self._request.sent and self._request.kind != "unload"

    def overdue(self, now: float) -> str | None:
        """What takes too long, None if nothing does."""
        request = self._request
        if request is None or not request.sent or now <= request.deadline:
            return None
        return f"{request.kind} of {request.name} took over {request.allowed:g} s"

    def step(self, now: float) -> None:
        """Go one step from the models that are loaded towards those that are wanted."""
        if self._request is None:
            self._request = self._next()
            if self._request is None:
                return
            self._request.began = now
            if self._request.kind != "unload":
                self._flight.accept(False)
        request = self._request
        if not request.sent and self._is_home(request):
            request.sent = True
            self._allow(request, now)
            self._send(request.message, ())

    def obeyed(self, message: Message, generation: int, now: float) -> None:
        """The host of `generation` has done what `message` says."""
        request = self._request
        if request is None or message.get("model") != request.key:
            return
        if message["type"] == "unload.done":
            self._unloaded(request)
        elif request.spec is None or self._wanted.get(request.name) != request.spec:
            # No longer wanted, or not like this, since it was asked for.
            self._discard(request)
        elif message["type"] == "load.done":
            self._bind(request, request.spec, message, now)
        elif message["type"] == "configure.done" and self._bound is not None:
            tensors, pool = self._bound
            self._bound = None
            queue = int(number(message.get("queue_size")))
            batch = max(1, min(request.spec.batch_size, queue))
            window = max(1, min(2 * batch, queue))
            session = Session(request.spec, request.key, generation, tensors, pool, batch, window)
            if (before := self._sessions.pop(request.name, None)) is not None:
                self._replaced.append(before)
                self._reload.discard(request.name)
            self._sessions[request.name] = session
            self._resume()
            self._emit(ModelReady(session, round((now - request.began) * 1000, 1)))

    def refuse(self, text: str, fix: str = "") -> bool:
        """The host refused the present request; False if there is none that this could be the answer to."""
        request = self._request
        if request is None:
            return False
        self._refuse(request.name, self._clock.monotonic())
        self._discard(request)
        self._emit(ModelFailed(request.name, DeviceRejected(text), fix))
        return True

    def drop(self) -> None:
        """What was asked for last failed for reasons that are not the model's; it is asked for again, or not, later."""
        if self._request is not None:
            self._discard(self._request)

    def host_lost(self) -> None:
        """The host is given up, and all its models with it."""
        self._request = None
        self._unbind()
        self._sessions.clear()
        self._replaced.clear()
        self._reload.clear()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _is_home(self, request: _Request) -> bool:
        """Whether nothing is in flight any more that the request would disturb."""
        if request.kind != "unload":
            return self._flight.empty
        return request.session is None or not self._flight.frames(request.session)

    def _next(self) -> _Request | None:
        gone = [session for name, session in self._sessions.items() if name not in self._wanted or name in self._reload]
        for session in (*self._replaced, *gone):
            self._flight.condemn(session)
            message: Message = {"type": "unload", "model": session.key}
            return _Request("unload", session.spec.name, session.key, message, session=session)
        for name, spec in self._wanted.items():
            serving = self._sessions.get(name)
            if (serving is None or serving.spec != spec) and name not in self._refused:
                key = next(self._keys)
                message = {
                    "type": "load",
                    "model": key,
                    "path": str(spec.path),
                    "batch_size": spec.batch_size,
                    "score_floor": spec.score_floor,
                }
                return _Request("load", name, key, message, spec)
        return None

    def _bind(self, request: _Request, spec: ModelSpec, message: Message, now: float) -> None:
        """Make the slots of a loaded model and have them bound: a window, a batch in hand on either side, one spare."""
        try:
            tensors = tensors_from_json(message["tensors"])
            self._vet(spec, tensors)
            pool = SlotPool(Layout.of(tensors, 4 * spec.batch_size + 1))
        except ModelError as error:
            self.refuse(str(error))
            return
        except (KeyError, TypeError, ValueError, OSError) as error:
            self.refuse(f"its tensors cannot be laid out: {error}")
            return
        self._bound = (tensors, pool)
        request.kind = "configure"
        self._allow(request, now)
        slots = pool.layout.slots
        configure: Message = {"type": "configure", "model": request.key, "tensors": message["tensors"], "slots": slots}
        self._send(configure, [pool.fd])
        pool.close_fd()

    def _allow(self, request: _Request, now: float) -> None:
        device = self._settings
        unloads = request.kind == "unload"
        request.allowed = device.recovery.unload_timeout if unloads else device.configure_timeout
        request.deadline = now + request.allowed

    def _refuse(self, name: str, now: float) -> None:
        self._refused[name] = _Refusal(now + self._settings.recovery.rejected_retry, self._stamp(name))

    def _stamp(self, name: str) -> Stamp:
        spec = self._wanted.get(name)
        return self._installation.stamp([spec.path] if spec else [])

    def _discard(self, request: _Request) -> None:
        """Have the host drop what it holds of a model that does not come into service."""
        self._unbind()
        self._request = _Request("unload", request.name, request.key, {"type": "unload", "model": request.key})

    def _unloaded(self, request: _Request) -> None:
        self._resume()
        self._replaced = [session for session in self._replaced if session.key != request.key]
        session = self._sessions.get(request.name)
        if session is not None and session.key == request.key:
            self._reload.discard(request.name)
            del self._sessions[request.name]
            self._emit(ModelUnloaded(request.name))

    def _resume(self) -> None:
        self._request = None
        self._flight.accept(True)
        self._on_room()

    def _unbind(self) -> None:
        if self._bound is not None:
            self._bound[1].close_fd()
            self._bound = None

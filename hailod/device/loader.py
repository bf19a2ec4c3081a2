"""Models onto the device and off it again, one request at a time, until those are loaded that are wanted.

A request holds the host's GIL and with it every callback, so what is in flight is let home first and nothing is sent
meanwhile. Driven by the link, on the control thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hailod.clock import Clock
from hailod.device.events import LinkEvent, ModelFailed, ModelReady, ModelUnloaded
from hailod.device.flight import Flight, ModelSpec, Session
from hailod.device.protocol import Message, number
from hailod.device.slots import Layout, SlotPool
from hailod.device.tensors import tensors_from_json
from hailod.errors import DeviceRejected
from hailod.types import ModelTensors


@dataclass(slots=True)
class _Request:
    """One request to the host, `sent` once the flight is empty. An unload has no `spec`."""

    kind: str
    name: str
    key: int
    message: Message
    spec: ModelSpec | None = None
    sent: bool = False
    began: float = 0.0
    deadline: float = 0.0


class Loader:
    """The models of one device. `send` takes a message and descriptors to the present host."""

    def __init__(
        self,
        clock: Clock,
        flight: Flight,
        timeout: float,
        *,
        send: Callable[[Message, Sequence[int]], None],
        emit: Callable[[LinkEvent], None],
        on_room: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._flight = flight
        self._timeout = timeout
        self._send = send
        self._emit = emit
        self._on_room = on_room
        self._keys = itertools.count(1)
        self._wanted: dict[str, ModelSpec] = {}
        self._refused: set[str] = set()
        self._reload: set[str] = set()
        self._sessions: dict[str, Session] = {}
        self._request: _Request | None = None
        self._bound: tuple[ModelTensors, SlotPool] | None = None

    def want(self, specs: Iterable[ModelSpec]) -> None:
        """The models to have loaded; what was refused is tried again when it is wanted differently."""
        wanted = {spec.name: spec for spec in specs}
        self._refused = {name for name in self._refused if wanted.get(name) == self._wanted.get(name)}
        self._reload |= {n for n, session in self._sessions.items() if n in wanted and wanted[n] != session.spec}
        self._wanted = wanted

    def retry(self) -> None:
        """Try again what was refused."""
        self._refused.clear()

    def reload(self) -> None:
        """Configure every model anew."""
        self._refused.clear()
        self._reload |= set(self._sessions)

    @property
    def busy(self) -> bool:
        """Whether there is a request, sent or waiting for the flight to be empty."""
        return self._request is not None

    @property
    def waiting(self) -> bool:
        """Whether the host has been sent a request and has not answered."""
        return self._request is not None and self._request.sent

    def overdue(self, now: float) -> str | None:
        """What takes too long, None if nothing does."""
        request = self._request
        if request is None or not request.sent or now <= request.deadline:
            return None
        return f"{request.kind} of {request.name} took over {self._timeout:g} s"

    def step(self, now: float) -> None:
        """Go one step from the models that are loaded towards those that are wanted."""
        if self._request is None:
            self._request = self._next()
            if self._request is None:
                return
            self._flight.accept(False)
        request = self._request
        if not request.sent and self._flight.empty:
            request.sent, request.began, request.deadline = True, now, now + self._timeout
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
            self._sessions[request.name] = session
            self._resume()
            self._emit(ModelReady(session, round((now - request.began) * 1000, 1)))

    def refuse(self, error: DeviceRejected) -> bool:
        """The host refused the present request; False if there is none that this could be the answer to."""
        request = self._request
        if request is None:
            return False
        self._refused.add(request.name)
        self._discard(request)
        self._emit(ModelFailed(request.name, error))
        return True

    def host_lost(self) -> None:
        """The host is given up, and all its models with it."""
        self._request = None
        self._unbind()
        self._sessions.clear()
        self._reload.clear()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _next(self) -> _Request | None:
        for name, session in self._sessions.items():
            if name not in self._wanted or name in self._reload:
                return _Request("unload", name, session.key, {"type": "unload", "model": session.key})
        for name, spec in self._wanted.items():
            if name not in self._sessions and name not in self._refused:
                key = next(self._keys)
                message: Message = {
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
            pool = SlotPool(Layout.of(tensors, 4 * spec.batch_size + 1))
        except (KeyError, TypeError, ValueError, OSError) as error:
            self.refuse(DeviceRejected(f"its tensors cannot be laid out: {error}"))
            return
        self._bound = (tensors, pool)
        request.kind, request.deadline = "configure", now + self._timeout
        slots = pool.layout.slots
        configure: Message = {"type": "configure", "model": request.key, "tensors": message["tensors"], "slots": slots}
        self._send(configure, [pool.fd])
        pool.close_fd()

    def _discard(self, request: _Request) -> None:
        """Have the host drop what it holds of a model that does not come into service."""
        self._unbind()
        self._request = _Request("unload", request.name, request.key, {"type": "unload", "model": request.key})

    def _unloaded(self, request: _Request) -> None:
        self._resume()
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

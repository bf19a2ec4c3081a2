"""What is in flight on the device: the one table in which dispatcher, results thread and control thread meet.

The dispatcher asks for `room` and calls `submit`, the results thread `receive`, the control thread opens, pauses and
ends sessions. A batch leaves the table exactly once: completed, or abandoned together with its host.
"""

from __future__ import annotations

import errno
import itertools
import socket
import struct
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog

from hailod.clock import Clock
from hailod.device.protocol import JOB_BYTES, MAX_IN_FLIGHT, Completed, Submit
from hailod.device.slots import SlotPool
from hailod.device.statuses import Fault, Stage, cure_of
from hailod.errors import (
    DeviceError,
    DeviceHung,
    DeviceLost,
    DeviceRejected,
    DeviceTooHot,
    DeviceUnavailable,
    SessionLost,
)
from hailod.mailbox import Item
from hailod.types import ModelTensors

log = structlog.get_logger(__name__)

RECEIVE_TIMEOUT_S = 0.5
# Nothing more can come, but the reader may ask a few more times before it ends.
_CLOSED_WAIT_S = 0.02
_RCVTIMEO = struct.pack("@ll", int(RECEIVE_TIMEOUT_S), int(RECEIVE_TIMEOUT_S % 1 * 1e6))

EXCEPTIONS: dict[Fault, type[DeviceError]] = {
    Fault.UNAVAILABLE: DeviceUnavailable,
    Fault.REJECTED: DeviceRejected,
    Fault.SESSION_LOST: SessionLost,
    Fault.DEVICE_LOST: DeviceLost,
    Fault.HUNG: DeviceHung,
    Fault.TOO_HOT: DeviceTooHot,
}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as the device is asked to load it."""

    name: str
    path: Path
    batch_size: int
    score_floor: float


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """A model that is configured in one host: its tensors, its slots, and how many frames may be in flight."""

    spec: ModelSpec
    key: int
    generation: int
    tensors: ModelTensors
    pool: SlotPool
    batch_size: int
    window: int


@dataclass(slots=True, eq=False)
class Batch:
    """Frames sent as one job, with what is needed to finish them. Times are monotonic seconds.

    `context` is whatever the dispatcher wants to find again beside the results, one entry per item.
    """

    session: Session
    items: Sequence[Item]
    slots: list[int]
    context: Sequence[object]
    taken: float
    submitted: float = 0.0
    job: int = 0


class Done(NamedTuple):
    """The outputs in the batch's slots are valid. `started`: the host took the job up; `ended`: its callback ran.

    `last`: nothing is in flight any more of what was being waited for.
    """

    batch: Batch
    started: float
    ended: float
    last: bool = False


class Failed(NamedTuple):
    """The batch has no results, and its slots are not to be used again. `stage`: when it failed, None: with its host.

    `last`: as in `Done`.
    """

    batch: Batch
    error: DeviceError
    stage: Stage | None = None
    last: bool = False


Completion = Done | Failed


@dataclass(frozen=True, slots=True, eq=False)
class SessionFailed:
    """A session has had its first failure, after which HailoRT takes nothing for it any more: told once."""

    session: Session
    status: int
    stage: Stage


@dataclass(frozen=True, slots=True)
class Drained:
    """Everything is home that was waited for before the host is asked for something."""


FlightEvent = SessionFailed | Drained


def error_of(status: int, stage: Stage) -> DeviceError:
    """The error for a status that HailoRT returned at `stage`."""
    cure = cure_of(status, stage)
    return EXCEPTIONS[cure.fault](f"HailoRT status {status} ({cure.name})", status=status)


class Flight:
    """The table and the jobs socket of the present host. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._numbers = itertools.count(1)
        self._jobs: socket.socket | None = None
        self._replaced: list[socket.socket] = []
        self._generation = 0
        self._accepting = False
        self._closed = False
        self._deaf = False
        self._batches: dict[int, Batch] = {}
        self._frames: Counter[int] = Counter()
        # By session: dead ones, and since when the others have delivered.
        self._condemned: set[int] = set()
        self._delivering: dict[int, float] = {}
        self._finished = 0

    # -- the control thread ------------------------------------------------------------------------------------------

    def attach(self, jobs: socket.socket, generation: int) -> None:
        """Jobs go to and come from this host from now on, once `accept` allows them."""
        jobs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _RCVTIMEO)
        with self._lock:
            if self._jobs is not None:
                self._replaced.append(self._jobs)
            self._jobs, self._generation = jobs, generation
            self._accepting = self._deaf = False
            self._condemned.clear()
            self._delivering.clear()
            self._changed.notify_all()

    def accept(self, accepting: bool) -> None:
        """Whether jobs may be sent."""
        with self._lock:
            self._accepting = accepting

    def abandon(self, error: DeviceError) -> list[Failed]:
        """The host is given up: nothing is sent to it any more, and all that it holds has failed."""
        with self._lock:
            self._accepting = False
            batches = list(self._batches.values())
            self._batches.clear()
            self._frames.clear()
        return [Failed(batch, error) for batch in batches]

    def condemn(self, session: Session) -> bool:
        """Send nothing to this session any more; whether that is news. What it holds is still to come home."""
        with self._lock:
            if session.key in self._condemned:
                return False
            self._condemned.add(session.key)
            return True

    def is_condemned(self, session: Session) -> bool:
        """Whether nothing is sent to this session any more."""
        with self._lock:
            return session.key in self._condemned

    def delivering_since(self, session: Session) -> float | None:
        """When the first results of this session came; None before."""
        with self._lock:
            return self._delivering.get(session.key)

    @property
    def finished(self) -> int:
        """How many frames came back with results, over all hosts."""
        with self._lock:
            return self._finished

    def close(self) -> None:
        """Wake the results thread for good."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    @property
    def empty(self) -> bool:
        with self._lock:
            return not self._batches

    @property
    def oldest(self) -> float | None:
        """When the oldest job was sent, None if there is none."""
        with self._lock:
            return next(iter(self._batches.values())).submitted if self._batches else None

    @property
    def deaf(self) -> bool:
        """Whether the host let its jobs socket run full."""
        with self._lock:
            return self._deaf

    # -- the dispatcher ----------------------------------------------------------------------------------------------

    def room(self, session: Session) -> int:
        """How many more frames `session` takes now."""
        with self._lock:
            if not self._takes(session) or len(self._batches) >= MAX_IN_FLIGHT:
                return 0
            return min(session.window - self._frames[session.key], session.pool.free)

    def frames(self, session: Session) -> int:
        """How many frames of `session` are on the device."""
        with self._lock:
            return self._frames[session.key]

    def submit(self, batch: Batch) -> DeviceError | None:
        """Send the batch; an error if it cannot be sent, and then it still belongs to the caller. Never blocks."""
        batch.job = next(self._numbers)
        session = batch.session
        data = Submit(session.key, session.generation, batch.job, bytes(batch.slots)).pack()
        with self._lock:
            if self._jobs is None or not self._takes(session):
                return SessionLost("the device is being replaced")
            batch.submitted = self._clock.monotonic()
            self._batches[batch.job] = batch
            self._frames[session.key] += len(batch.items)
            try:
                # Under the lock, because the socket must not be closed meanwhile; it does not block.
                self._jobs.send(data, socket.MSG_DONTWAIT)
            except OSError as error:
                self._leave(batch)
                self._deaf = error.errno == errno.EAGAIN
                self._accepting = False
                return DeviceLost(f"device host does not listen: {error.strerror}")
        return None

    # -- the results thread ------------------------------------------------------------------------------------------

    def receive(self) -> Completion | None:
        """The next completion, or None after `RECEIVE_TIMEOUT_S` without one."""
        with self._lock:
            while self._replaced:
                self._replaced.pop().close()
            if self._jobs is None:
                self._changed.wait(_CLOSED_WAIT_S if self._closed else RECEIVE_TIMEOUT_S)
            jobs = self._jobs
        if jobs is None:
            return None
        try:
            completed = Completed.unpack(jobs.recv(JOB_BYTES))
        except BlockingIOError:
            return None
        except (OSError, DeviceLost) as error:
            # Closed, broken or nonsense. A host that still runs ends when it finds its channel closed.
            log.debug("jobs channel is over", reason=str(error))
            self._detach(jobs)
            return None
        with self._lock:
            batch = self._batches.get(completed.job)
            if batch is None or completed.generation != batch.session.generation:
                return None
            self._leave(batch)
            if not completed.status:
                self._finished += len(batch.items)
                self._delivering.setdefault(batch.session.key, self._clock.monotonic())
            last = self._was_last(batch.session)
        if completed.status:
            stage = Stage.SUBMIT if completed.refused else Stage.COMPLETION
            return Failed(batch, error_of(completed.status, stage), stage, last)
        return Done(batch, completed.started_ns / 1e9, completed.ended_ns / 1e9, last)

    def release(self) -> None:
        """The results thread is about to end and reads no more: close whatever it would have closed."""
        with self._lock:
            for jobs in (*self._replaced, self._jobs):
                if jobs is not None:
                    jobs.close()
            self._replaced.clear()
            self._jobs = None

    def _takes(self, session: Session) -> bool:
        """Whether jobs may be sent to the session; the lock is held."""
        return self._accepting and session.generation == self._generation and session.key not in self._condemned

    def _was_last(self, session: Session) -> bool:
        """Whether what just came home from the session was the last to be waited for; the lock is held."""
        if session.key in self._condemned:
            return not self._frames[session.key]
        return not self._accepting and not self._batches

    def _leave(self, batch: Batch) -> None:
        """The batch is no longer in flight; the lock is held."""
        del self._batches[batch.job]
        self._frames[batch.session.key] -= len(batch.items)

    def _detach(self, jobs: socket.socket) -> None:
        """Let the channel go: only the reader closes the socket, so that nobody reads a number that was reused."""
        with self._lock:
            if self._jobs is jobs:
                self._jobs = None
            jobs.close()

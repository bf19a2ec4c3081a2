"""The asynchronous pipeline of one configured model: a bounded queue, the device's time, and the callback thread.

Callbacks come from one thread that Python did not start, strictly one at a time, in order. The first failure is the
last: whatever kills the pipeline is what every later submission raises, and what was in flight is aborted.
"""

from __future__ import annotations

import contextlib
import os
import sys
from _thread import allocate_lock, get_ident, start_new_thread
from collections.abc import Callable, Sequence
from enum import IntEnum
from threading import Condition, RLock

import numpy as np
import structlog

from hailod.simulator.chip.device import OpenDevice, Simulation
from hailod.simulator.chip.foreign import block, terminate
from hailod.simulator.chip.injector import Fate
from hailod.simulator.chip.scheduler import PRIORITY_MAX
from hailod.simulator.chip.timeline import Lane
from hailod.simulator.native import HailoRTStatusException
from hailod.simulator.networks.network import HefInfo, Program
from hailod.types import U8

log = structlog.get_logger(__name__)

INVALID_ARGUMENT = 2
INTERNAL_FAILURE = 8
STREAM_ABORT = 63
QUEUE_IS_FULL = 82

Frame = tuple[Sequence[U8], Sequence[U8]]
"""The bytes of one frame's inputs, and of the buffers its outputs go to."""
Callback = Callable[[int], None]
"""Told the status of a finished job."""
Deliver = Callable[[Sequence[U8], Sequence[U8] | None], int]
"""Puts results, None after a failure, into a frame's output buffers. A status it returns is told and harms nothing."""


def copied(buffers: Sequence[U8], results: Sequence[U8] | None) -> int:
    """What HailoRT does with results: the used part is copied; after a failure all is zero."""
    if results is None:
        for buffer in buffers:
            buffer[:] = 0
    else:
        for buffer, used in zip(buffers, results, strict=True):
            buffer[: used.size] = used
    return 0


class Job:
    """One call of `run_async`: a batch of frames, a callback, and what is to happen to it.

    For the chip: `left` frames that it has not begun, how much slower and later than usual, and the `end` it found.
    """

    __slots__ = (
        "callback",
        "delay",
        "done",
        "end",
        "factor",
        "fate",
        "frames",
        "landed",
        "left",
        "number",
        "results",
        "status",
    )

    def __init__(self, number: int, fate: Fate, frames: Sequence[Frame], callback: Callback | None) -> None:
        self.number = number
        self.fate = fate
        self.frames = frames
        self.callback = callback
        self.left = len(frames)
        self.factor = fate.factor
        self.delay = fate.delay
        self.end = 0.0
        self.results: list[Sequence[U8]] = []
        # When the inference was over and only the callback was left.
        self.landed: float | None = None
        self.status = fate.status
        self.done = allocate_lock()
        self.done.acquire()

    def wait(self, timeout: float) -> bool:
        """Whether the callback has returned, however the inference ended."""
        if not self.done.acquire(timeout=max(0.0, timeout)):
            return False
        self.done.release()
        return True


class _Sleep(IntEnum):
    """What the callback thread would be woken for."""

    AWAKE = 0
    UNTIL_DEADLINE = 1
    UNTIL_LAUNCH = 2
    WITHOUT_WORK = 3


class Pipeline:
    """A configured model at work. Closing it is its owner's duty: its thread keeps it alive.

    `batch_size` is as it was set, 0 for automatic. In a process forked from the one that made it, it does nothing.
    """

    def __init__(
        self,
        simulation: Simulation,
        device: OpenDevice,
        info: HefInfo,
        program: Program,
        *,
        batch_size: int,
        queue_size: int,
        deliver: Deliver = copied,
    ) -> None:
        self.queue_size = queue_size
        self._simulation = simulation
        self._name = info.name
        self._timeline = device.timeline
        timing, multi_context = simulation.timing(info)
        self._lane: Lane[Job] = Lane.of(
            timing, batch=batch_size, queue=queue_size, multi_context=multi_context, wake=self._stir
        )
        self._program = program
        self._deliver = deliver
        self._born = simulation.now()
        self._opened = device.opened
        self._pid = os.getpid()
        # Reentrant, as a garbage collection under it may close the model.
        self._lock = RLock()
        self._room = Condition(self._lock)
        self._starved = 0
        self._in_flight: dict[int, Job] = {}
        self._frames_in_flight = 0
        self._status = 0
        self._given_up = False
        self._closed = False
        self._sleep = _Sleep.AWAKE
        # An event that resets itself; a condition variable would allocate a lock per wait.
        self._wake = allocate_lock()
        self._wake.acquire()
        self._ended = allocate_lock()
        self._thread = 0
        self._calling = False

    def start(self) -> None:
        self._timeline.join(self._lane, self._simulation.now())
        self._ended.acquire()
        self._thread = start_new_thread(self._work, ())

    def submit(self, frames: Sequence[Frame], callback: Callback | None) -> Job:
        """Queue one job. Raises the status of libhailort, and is dead if it does."""
        number, fate = self._simulation.fate(self._name)
        refusal = fate.refusal
        with self._lock:
            self._look()
            if self._status:
                raise HailoRTStatusException(self._status)
            if not refusal and not self._fits(len(frames)):
                refusal = QUEUE_IS_FULL
            if not refusal:
                job = Job(number, fate, frames, callback)
                self._in_flight[number] = job
                self._frames_in_flight += len(frames)
                self._timeline.submit(self._lane, job, self._simulation.now())
                if self._sleep is _Sleep.WITHOUT_WORK or (self._sleep is _Sleep.UNTIL_LAUNCH and self._lane.launched):
                    self._stir()
                return job
        self.abort(holding_gil=False)
        raise HailoRTStatusException(refusal)

    def wait_ready(self, timeout: float, frames: int) -> bool:
        """Whether there is room for `frames` within `timeout` seconds. A dead pipeline looks empty."""
        with self._room:
            if self._fits(frames):
                return True
            self._starved += 1
            came = self._room.wait_for(lambda: self._fits(frames), timeout)
            self._starved -= 1
            return came

    def abort(self, *, holding_gil: bool) -> None:
        """Kill it: what is in flight gets STREAM_ABORT, on a hung device after a time-out per queue place."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._status = self._status or STREAM_ABORT
            self._room.notify_all()
            hung = self._is_hung()
        self._stir()
        if hung:
            block(self._simulation.options.transfer_timeout_s * self.queue_size, holding_gil=holding_gil)
        with self._lock:
            self._given_up = True
        self._stir()
        self._timeline.leave(self._lane, self._simulation.now())

    @property
    def calls_back_here(self) -> bool:
        """Whether a callback of its own is what is being run on this thread."""
        return self._calling and get_ident() == self._thread and os.getpid() == self._pid

    def close(self) -> None:
        """Abort, deliver the callbacks that are left, end the thread.

        Called from within the chip's bookkeeping, by a garbage collection, it happens a little later.
        """
        if os.getpid() != self._pid:
            return
        if self._timeline.entered:
            start_new_thread(self.close, ())
            return
        with self._lock:
            self._closed = True
        self.abort(holding_gil=False)
        # The callback thread cannot wait for itself, and runs no more once the interpreter ends.
        if get_ident() != self._thread and not sys.is_finalizing():
            self._ended.acquire()
            self._ended.release()

    # -- the scheduler's settings ------------------------------------------------------------------------------------

    def set_timeout(self, seconds: float) -> None:
        """How long fewer frames than the threshold may be kept waiting for other models."""
        self._lane.schedule.timeout = seconds
        self._stir()

    def set_threshold(self, frames: int) -> None:
        """From how many frames on it is this model's turn. Raises INVALID_ARGUMENT beyond the size of a batch."""
        if self._lane.schedule.batched and frames > self._lane.batch:
            raise HailoRTStatusException(INVALID_ARGUMENT)
        self._lane.schedule.threshold = frames
        self._stir()

    def set_priority(self, priority: int) -> None:
        """Higher goes first. Raises INVALID_ARGUMENT beyond 31."""
        if not 0 <= priority <= PRIORITY_MAX:
            raise HailoRTStatusException(INVALID_ARGUMENT)
        self._timeline.set_priority(self._lane, priority)

    # -- under the lock ----------------------------------------------------------------------------------------------

    def _fits(self, frames: int) -> bool:
        queued = 0 if self._status else self._frames_in_flight
        return queued + frames < 2 * self.queue_size

    def _look(self) -> None:
        """Notice what the device has done to this model meanwhile."""
        if not self._status and self._simulation.aborted(self._born):
            self._status = STREAM_ABORT
            self._room.notify_all()

    def _hung_until(self) -> float:
        """Until when no callback comes for what is in flight: for ever on a chip that is gone, else as was scripted."""
        if not self._in_flight or self._given_up:
            return float("-inf")
        if self._simulation.severed(self._opened):
            return float("inf")
        return max(job.fate.held_until for job in self._in_flight.values())

    def _is_hung(self) -> bool:
        return self._hung_until() > self._simulation.now()

    # -- waking and sleeping -----------------------------------------------------------------------------------------

    def _stir(self) -> None:
        """Let the callback thread look again, now or before it next sleeps. Takes no lock, so that anybody may call."""
        self._sleep = _Sleep.AWAKE
        if self._wake.locked():
            with contextlib.suppress(RuntimeError):
                self._wake.release()

    def _doze_until(self, moment: float) -> None:
        """Sleep until stirred or until the moment (inf: for ever)."""
        left = moment - self._simulation.now()
        self._wake.acquire(timeout=-1.0 if left == float("inf") else max(0.0, left))
        self._sleep = _Sleep.AWAKE

    # -- the callback thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while jobs := self._next_jobs():
                for job in jobs:
                    self._finish(job)
        except Exception:
            log.exception("simulated device failed")
            os.abort()
        finally:
            self._ended.release()

    def _next_jobs(self) -> list[Job]:
        """A job at its end, or all that were aborted; none once closed and drained."""
        while True:
            with self._lock:
                self._look()
                if self._status and not self._is_hung():
                    aborted = list(self._in_flight.values())
                    if aborted or self._closed:
                        return aborted
                if self._status:
                    self._sleep, until = _Sleep.UNTIL_DEADLINE, abs(self._hung_until())
                elif self._in_flight:
                    job, until = self._timeline.poll(self._lane, self._simulation.now())
                    if job is not None:
                        break
                    self._sleep, until = _Sleep.UNTIL_LAUNCH, min(until, self._simulation.next_instant())
                else:
                    self._sleep, until = _Sleep.WITHOUT_WORK, float("inf")
            self._doze_until(until)
        self._compute(job)
        self._sleep_until(max(job.end, job.fate.held_until))
        return [job]

    def _sleep_until(self, end: float) -> None:
        """Return at `end`, or when the model died. On a chip that is gone that is not before it is given up."""
        while True:
            with self._lock:
                self._look()
                if self._given_up or (self._status and not self._is_hung()):
                    return
                if self._simulation.severed(self._opened):
                    end = float("inf")
                if self._simulation.now() >= end:
                    return
                self._sleep, until = _Sleep.UNTIL_DEADLINE, min(end, self._simulation.next_instant())
            self._doze_until(until)

    def _compute(self, job: Job) -> None:
        try:
            job.results = [self._program(inputs) for inputs, _ in job.frames]
        except Exception:
            log.exception("simulated inference failed", job=job.number)
            job.status = job.status or INTERNAL_FAILURE

    def _finish(self, job: Job) -> None:
        if job.fate.aborts:
            os.abort()
        with self._lock:
            status = STREAM_ABORT if self._status else job.status
            self._status = self._status or status
            del self._in_flight[job.number]
            self._frames_in_flight -= len(job.frames)
            if self._starved:
                self._room.notify_all()
        job.landed = self._simulation.now()
        if status:
            self._timeline.leave(self._lane, job.landed)
            for _, outputs in job.frames:
                self._deliver(outputs, None)
        else:
            for (_, outputs), results in zip(job.frames, job.results, strict=True):
                status = self._deliver(outputs, results) or status
            if job.fate.fill is not None:
                self._spoil(job)
        if job.callback is not None:
            self._calling = True
            try:
                job.callback(status)
            except BaseException as error:  # noqa: BLE001 - the process ends here, as it does in HailoRT
                terminate(error)
            self._calling = False
        job.done.release()

    def _spoil(self, job: Job) -> None:
        """Put scripted garbage in the place of the outputs: NaN where they may be floats, else random bytes."""
        random = np.random.default_rng((self._simulation.faults.seed, job.number))
        for _, outputs in job.frames:
            for buffer in outputs:
                if job.fate.fill == "nan" and buffer.size % 4 == 0:
                    buffer[:] = np.full(buffer.size // 4, np.nan, np.float32).view(np.uint8)
                else:
                    buffer[:] = random.integers(0, 256, buffer.size, np.uint8)

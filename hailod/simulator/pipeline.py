"""The asynchronous pipeline of one configured model: a bounded queue, the device's time, and the callback thread.

Callbacks come from one thread that Python did not start, strictly one at a time, in order. The first failure is the
last: whatever kills the pipeline is what every later submission raises, and what was in flight is aborted.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from _thread import allocate_lock, get_ident, start_new_thread
from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum
from threading import Condition, RLock
from typing import NoReturn

import structlog

from hailod.simulator.device import Simulation, Timeline, block
from hailod.simulator.native import HailoRTStatusException
from hailod.simulator.network import Program, Timing
from hailod.types import U8

log = structlog.get_logger(__name__)

INTERNAL_FAILURE = 8
STREAM_ABORT = 63
QUEUE_IS_FULL = 82

Frame = tuple[U8, Sequence[U8]]
"""The bytes of one frame's input, and of the buffers its outputs go to."""
Callback = Callable[[int], None]
"""Told the status of a finished job."""


class Job:
    """One call of `run_async`: a batch of frames and a callback. `left` counts the frames the device has not begun."""

    __slots__ = ("callback", "done", "frames", "left", "number", "results", "status", "submitted")

    def __init__(self, number: int, frames: Sequence[Frame], callback: Callback | None, submitted: float) -> None:
        self.number = number
        self.frames = frames
        self.callback = callback
        self.submitted = submitted
        self.left = len(frames)
        self.results: list[Sequence[U8]] = []
        self.status = 0
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
    WITHOUT_WORK = 2


class Pipeline:
    """A configured model at work. Closing it is its owner's duty: its thread keeps it alive."""

    def __init__(
        self,
        simulation: Simulation,
        timeline: Timeline,
        timing: Timing,
        program: Program,
        *,
        batch_size: int,
        queue_size: int,
    ) -> None:
        self.queue_size = queue_size
        self._simulation = simulation
        self._timeline = timeline
        self._timing = timing
        self._program = program
        self._batch_size = batch_size
        # Reentrant, as a garbage collection under it may close the model.
        self._lock = RLock()
        self._room = Condition(self._lock)
        self._starved = 0
        self._waiting: deque[Job] = deque()
        self._in_flight = 0
        self._newest = 0
        self._status = 0
        self._given_up = False
        self._closed = False
        self._sleep = _Sleep.AWAKE
        # A binary semaphore; a condition variable would allocate a lock per wait.
        self._wake = allocate_lock()
        self._wake.acquire()
        self._ended = allocate_lock()
        self._thread = 0

    def start(self) -> None:
        self._ended.acquire()
        self._thread = start_new_thread(self._work, ())

    def submit(self, frames: Sequence[Frame], callback: Callback | None) -> Job:
        """Queue one job. Raises the status of libhailort, and is dead if it does."""
        number = self._simulation.next_job()
        refusal = self._simulation.faults.fail_submits.get(number, 0)
        with self._lock:
            if self._status:
                raise HailoRTStatusException(self._status)
            if not refusal and not self._fits(len(frames)):
                refusal = QUEUE_IS_FULL
            if not refusal:
                job = Job(number, frames, callback, time.monotonic())
                self._waiting.append(job)
                self._in_flight += len(frames)
                self._newest = number
                if self._sleep is _Sleep.WITHOUT_WORK:
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
        with self._lock:
            self._status = self._status or STREAM_ABORT
            self._room.notify_all()
            hung = self._in_flight > 0 and not self._given_up and not self._simulation.answers(self._newest)
            self._stir()
        if hung:
            block(self._simulation.options.transfer_timeout_s * self.queue_size, holding_gil=holding_gil)
        with self._lock:
            self._given_up = True
            self._stir()

    def close(self) -> None:
        """Abort, deliver the callbacks that are left, end the thread."""
        with self._lock:
            self._closed = True
        self.abort(holding_gil=False)
        # The callback thread cannot wait for itself, and runs no more once the interpreter ends.
        if get_ident() != self._thread and not sys.is_finalizing():
            self._ended.acquire()
            self._ended.release()

    def _fits(self, frames: int) -> bool:
        queued = 0 if self._status else self._in_flight
        return queued + frames < 2 * self.queue_size

    def _stir(self) -> None:
        if self._sleep is not _Sleep.AWAKE:
            self._sleep = _Sleep.AWAKE
            self._wake.release()

    # -- the callback thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while jobs := self._next_batch():
                for job in jobs:
                    self._finish(job)
        except Exception:
            log.exception("simulated device failed")
            os.abort()
        finally:
            self._ended.release()

    def _next_batch(self) -> list[Job]:
        """The jobs that end together, at their end; none once closed and drained."""
        while True:
            with self._lock:
                if self._status:
                    aborted = list(self._waiting)
                    self._waiting.clear()
                    if aborted or self._closed:
                        return aborted
                timeout = -1.0
                self._sleep = _Sleep.WITHOUT_WORK
                if self._waiting:
                    now = time.monotonic()
                    jobs, when = self._timeline.serve(self._waiting, self._batch_size, self._timing, now)
                    if jobs:
                        self._sleep = _Sleep.AWAKE
                        break
                    self._sleep = _Sleep.UNTIL_DEADLINE
                    timeout = max(0.0, when - now)
            self._doze(timeout)
        for job in jobs:
            self._compute(job)
        self._sleep_until(when)
        return jobs

    def _sleep_until(self, end: float) -> None:
        while (left := end - time.monotonic()) > 0:
            with self._lock:
                if self._status:
                    return
                self._sleep = _Sleep.UNTIL_DEADLINE
            self._doze(left)

    def _hang(self) -> None:
        while True:
            with self._lock:
                if self._given_up:
                    return
                self._sleep = _Sleep.UNTIL_DEADLINE
            self._doze(-1.0)

    def _doze(self, timeout: float) -> None:
        """Sleep until stirred or, unless it is negative, for `timeout` seconds."""
        if not self._wake.acquire(timeout=timeout):
            with self._lock:
                if self._sleep is _Sleep.AWAKE:
                    self._wake.acquire()
                self._sleep = _Sleep.AWAKE

    def _compute(self, job: Job) -> None:
        try:
            job.results = [self._program(frame) for frame, _ in job.frames]
        except Exception:
            log.exception("simulated inference failed", job=job.number)
            job.status = INTERNAL_FAILURE

    def _finish(self, job: Job) -> None:
        faults = self._simulation.faults
        if faults.abort_at == job.number:
            os.abort()
        if not self._simulation.answers(job.number):
            self._hang()
        with self._lock:
            status = STREAM_ABORT if self._status else faults.fail_completions.get(job.number, job.status)
            self._status = self._status or status
            self._in_flight -= len(job.frames)
            if self._starved:
                self._room.notify_all()
        if status:
            for _, outputs in job.frames:
                for buffer in outputs:
                    buffer[:] = 0
        else:
            for (_, outputs), results in zip(job.frames, job.results, strict=True):
                for buffer, used in zip(outputs, results, strict=True):
                    buffer[: used.size] = used
        if job.callback is not None:
            try:
                job.callback(status)
            except BaseException as error:  # noqa: BLE001 - the process ends here, as it does in HailoRT
                _terminate(error)
        job.done.release()


def _terminate(error: BaseException) -> NoReturn:
    """What the C++ run-time does with an exception that leaves a callback."""
    text = "".join(traceback.format_exception_only(error)).strip()
    where = "".join(f"  {f.filename}({f.lineno}): {f.name}\n" for f in traceback.extract_tb(error.__traceback__))
    message = f"terminate called after throwing an instance of 'pybind11::error_already_set'\n  what():  {text}\n"
    os.write(2, f"{message}\nAt:\n{where}".encode(errors="replace"))
    os.abort()

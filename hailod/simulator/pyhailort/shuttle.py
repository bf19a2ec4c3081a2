"""The frames of one network group between its rings and the device: HailoRT's stream threads.

Any process puts frames into the input rings and takes results from the output rings. In the process that holds the
device one thread takes a frame of every input and a free place of every output, and hands them to the pipeline; what
the pipeline finishes it passes on. A result that nobody fetches keeps its place, so the device waits for its readers.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import structlog

from hailod.simulator.native import HailoRTStatusException
from hailod.simulator.pyhailort.rings import Event, Ring, Tokens, ready
from hailod.types import U8

log = structlog.get_logger(__name__)

TIMEOUT = 4
STREAM_ABORT = 63

Finished = Callable[[int], None]


class Device(Protocol):
    """What moves frames: a running pipeline."""

    def submit(self, frames: Sequence[tuple[Sequence[U8], Sequence[U8]]], callback: Finished) -> object: ...

    def abort(self, *, holding_gil: bool) -> None: ...

    def close(self) -> None: ...


class Shuttle:
    """The rings of a network group, by stream, and whether frames move. Must be closed by the process that made it."""

    def __init__(self, inputs: Sequence[Ring], outputs: Sequence[Ring]) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.running = Event()
        self._down = Event()
        self._down.set()
        self._status = np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), np.int64, 1)
        self._owner = os.getpid()
        self._device: Device | None = None
        self._ended = allocate_lock()

    # In any process.

    def take(self, tokens: Tokens, timeout: float | None) -> int:
        """The next number, within `timeout` seconds. Raises TIMEOUT, or why nothing moves any more."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.check()
            number = tokens.take()
            if number is not None:
                return number
            left = None if deadline is None else deadline - time.monotonic()
            if not ready([tokens, self._down], left):
                raise HailoRTStatusException(TIMEOUT)

    def wait(self, tokens: Sequence[Tokens], timeout: float) -> None:
        """Return when one of `tokens` can be taken from. Raises as `take` does."""
        self.check()
        if not ready([*tokens, self._down], timeout):
            raise HailoRTStatusException(TIMEOUT)

    def check(self) -> None:
        """Raise the status that ended the movement of frames, if it has ended."""
        if self._down.is_set:
            raise HailoRTStatusException(int(self._status[0]) or STREAM_ABORT)

    # In the process that holds the device.

    def start(self, device: Device) -> None:
        """Let frames move; results of another time are forgotten."""
        for ring in (*self.inputs, *self.outputs):
            ring.drop()
        self._status[0] = 0
        self._device = device
        self._down.clear()
        self.running.set()
        self._ended.acquire()
        start_new_thread(self._move, (device,))

    def stop(self) -> None:
        """Abort what is in flight; whoever waits for a frame gets STREAM_ABORT. Harmless when nothing moves."""
        device, self._device = self._device, None
        if device is None or os.getpid() != self._owner:
            return
        self.running.clear()
        self._down.set()
        device.abort(holding_gil=True)
        device.close()
        # No other thread runs any more once the interpreter ends.
        if not sys.is_finalizing():
            self._ended.acquire()
            self._ended.release()

    def close(self) -> None:
        """Stop, and give everything back."""
        self.stop()
        for ring in (*self.inputs, *self.outputs):
            ring.close()
        self.running.close()
        self._down.close()

    def _fail(self, status: int) -> None:
        if not self._status[0]:
            self._status[0] = status
        self._down.set()

    def _move(self, device: Device) -> None:
        try:
            while True:
                self._submit(device)
        except HailoRTStatusException as error:
            self._fail(int(str(error)))
        finally:
            self._ended.release()

    def _submit(self, device: Device) -> None:
        sources: list[int] = []
        places: list[int] = []
        try:
            for ring in self.inputs:
                sources.append(self.take(ring.filled, None))
            for ring in self.outputs:
                places.append(self.take(ring.free, None))
            frame = (
                [ring.frame(number) for ring, number in zip(self.inputs, sources, strict=True)],
                [ring.place(number) for ring, number in zip(self.outputs, places, strict=True)],
            )
            device.submit([frame], lambda status: self._finish(status, sources, places))
        except HailoRTStatusException:
            self._give_back(sources, places)
            raise

    def _finish(self, status: int, sources: Sequence[int], places: Sequence[int]) -> None:
        if status:
            if not self._down.is_set:
                log.warning("synchronous inference failed", status=status)
            self._give_back(sources, places)
            self._fail(status)
            return
        for ring, number in zip(self.inputs, sources, strict=True):
            ring.free.put(number)
        for ring, number in zip(self.outputs, places, strict=True):
            ring.filled.put(number)

    def _give_back(self, sources: Sequence[int], places: Sequence[int]) -> None:
        for ring, number in zip(self.inputs, sources, strict=False):
            ring.free.put(number)
        for ring, number in zip(self.outputs, places, strict=False):
            ring.free.put(number)

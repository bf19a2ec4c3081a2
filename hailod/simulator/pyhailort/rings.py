"""Frames that cross between processes: the buffer pool behind each stream of the synchronous API.

HailoRT's streams survive a fork: the processes share the buffers, and threads of the one that holds the device move
them. So it is here. A ring is a piece of anonymous shared memory cut into places, and two pipes that carry the numbers
of places: of those that are free, and of those that hold a frame, in order. Whoever reads a number owns the place until
he writes it on. Made before the fork, a ring works between any of the processes.
"""

from __future__ import annotations

import mmap
import os
import select
import time
from collections.abc import Sequence

import numpy as np

from hailod.types import U8

MAX_PLACES = 255
PAGE = mmap.PAGESIZE
TRAILER = 8
"""Bytes behind a frame that say how many of it are used."""


class Event:
    """A flag that all processes see and can wait for."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._descriptor

    def set(self) -> None:
        os.eventfd_write(self._descriptor, 1)

    def clear(self) -> None:
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            return

    @property
    def is_set(self) -> bool:
        return bool(ready([self], 0))

    def close(self) -> None:
        os.close(self._descriptor)


class Tokens:
    """Numbers of places, first in, first out, between any processes."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._reader

    def put(self, place: int) -> None:
        os.write(self._writer, bytes((place,)))

    def take(self) -> int | None:
        """The next number; None when there is none now. Never blocks."""
        try:
            return os.read(self._reader, 1)[0]
        except BlockingIOError:
            return None

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


Waitable = Event | Tokens


def ready(things: Sequence[Waitable], timeout: float | None) -> list[Waitable]:
    """Which of `things` can be taken from, waiting up to `timeout` seconds (None: for ever) for the first."""
    poll = select.poll()
    for thing in things:
        poll.register(thing.fileno(), select.POLLIN)
    found = {descriptor for descriptor, _ in poll.poll(None if timeout is None else max(0.0, timeout) * 1000)}
    return [thing for thing in things if thing.fileno() in found]


class Ring:
    """Places for frames of up to `nbytes` bytes each; memory is used where a frame has been."""

    def __init__(self, places: int, nbytes: int) -> None:
        if not 1 <= places <= MAX_PLACES:
            raise ValueError(f"a ring has 1 to {MAX_PLACES} places, not {places}")
        self.places = places
        self._nbytes = nbytes
        self._stride = -(-(nbytes + TRAILER) // PAGE) * PAGE
        self._memory = mmap.mmap(-1, places * self._stride)
        self.free = Tokens()
        self.filled = Tokens()
        for place in range(places):
            self.free.put(place)

    def place(self, number: int) -> U8:
        """The memory of one place, trailer included, to be held only while the number is owned."""
        return np.frombuffer(self._memory, np.uint8, self._nbytes + TRAILER, number * self._stride)

    def frame(self, number: int) -> U8:
        """The used bytes of an owned place."""
        place = self.place(number)
        return place[: int(place[-TRAILER:].view(np.int64)[0])]

    def put(self, number: int, frame: U8) -> None:
        """Copy a frame into an owned place, and pass it on."""
        fill(self.place(number), frame)
        self.filled.put(number)

    def drop(self) -> None:
        """Forget the frames that nobody has fetched."""
        while (number := self.filled.take()) is not None:
            self.free.put(number)

    def drained(self, timeout: float) -> bool:
        """Whether all places were free at one moment within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        held: list[int] = []
        while len(held) < self.places:
            number = self.free.take()
            if number is not None:
                held.append(number)
            elif not ready([self.free], deadline - time.monotonic()):
                break
        for number in held:
            self.free.put(number)
        return len(held) == self.places

    def close(self) -> None:
        """Give descriptors back; the memory goes with its last view."""
        self.free.close()
        self.filled.close()


def fill(place: U8, frame: U8) -> None:
    """Write a frame into the memory of a place."""
    place[: frame.size] = frame
    place[-TRAILER:].view(np.int64)[0] = frame.size


def deliver(places: Sequence[U8], results: Sequence[U8] | None) -> int:
    """How a pipeline's results come into places; those of a failure (None) do not. Returns a status: success."""
    for place, used in zip(places, results or (), strict=False):
        fill(place, used)
    return 0

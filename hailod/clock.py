"""Time as an argument: one real clock, and one that tests turn by hand."""

from __future__ import annotations

import time
from typing import Protocol

# The two clocks of a machine are slewed together: what moves their difference by more is a setting of the wall clock.
STEP_S = 1.0
# Two readings that lie further apart were interrupted between, and say nothing about the difference.
_TOGETHER_S = 0.1


class Clock(Protocol):
    """Seconds: `monotonic` for every decision, `wall` (Unix time) only for what people and messages see."""

    def monotonic(self) -> float: ...

    def wall(self) -> float: ...


class SystemClock:
    """The machine's clocks. `monotonic` is CLOCK_MONOTONIC and so comparable between processes."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


class Timeline:
    """The wall time of monotonic moments, so that what began before the wall clock was set is still told rightly.

    The difference of the clocks is read again only when it has changed by more than STEP_S: what is told of one moment
    stays the same to the millisecond until then. Any thread may ask.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.wall() - clock.monotonic()

    def wall(self, moment: float) -> float:
        """The Unix time of a monotonic moment."""
        self.look()
        return moment + self._offset

    def look(self) -> float:
        """By how many seconds the wall clock was set since this object last looked, 0 if by no more than STEP_S."""
        before = self._clock.monotonic()
        wall = self._clock.wall()
        if self._clock.monotonic() - before > _TOGETHER_S:
            return 0.0
        offset = wall - before
        step = offset - self._offset
        if abs(step) <= STEP_S:
            return 0.0
        self._offset = offset
        return step


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self, monotonic: float = 1000.0, wall: float = 1_795_000_000.0) -> None:
        self._monotonic = monotonic
        self._wall = wall

    def monotonic(self) -> float:
        return self._monotonic

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        """Move both clocks forward; time never runs backwards."""
        if seconds < 0:
            raise ValueError("a clock does not run backwards")
        self._monotonic += seconds
        self._wall += seconds

    def set_wall(self, wall: float) -> None:
        """Set the wall clock alone, as a time server does."""
        self._wall = wall

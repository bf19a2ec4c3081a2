"""Watches the wall clock, by which nothing is decided and everything is told: whether it is set, and when it jumps."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from hailod.clock import Clock, Timeline
from hailod.control.events import Events

log = structlog.get_logger(__name__)

# Less is the business of a time client, and of nobody who reads messages.
JUMP_S = 2.0


class Timekeeping:
    """Used by the control thread. `synced` is whether the wall clock is set, as of the last look.

    `mark` is called with it when it changes, before anything else is told.
    """

    def __init__(
        self, clock: Clock, is_synced: Callable[[], bool], mark: Callable[[bool], None], events: Events
    ) -> None:
        self.synced = True
        self._timeline = Timeline(clock)
        self._is_synced = is_synced
        self._mark = mark
        self._events = events

    def look(self) -> bool:
        """Look at the clock, and tell what it did; says whether documents that hold times are to be told again."""
        step = self._timeline.look()
        before, self.synced = self.synced, self._is_synced()
        if self.synced != before:
            self._mark(self.synced)
            log.info("wall clock is set" if self.synced else "wall clock is not set yet: messages say so")
        if abs(step) >= JUMP_S:
            log.info("wall clock was set", by_s=round(step, 3))
            self._events.node("clock_jumped", by_s=round(step, 3))
        return step != 0.0 or self.synced != before

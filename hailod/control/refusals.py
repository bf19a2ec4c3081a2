"""How refusals are told when strangers ask for more of them than anyone can read.

The node's events go out at 5 a second and the log ends on somebody's SD card: a flood of nonsense must neither delay
the event that the device is lost, nor fill the disk, nor have the settings told a thousand times.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from hailod.clock import Clock
from hailod.control.events import Events
from hailod.errors import CommandError
from hailod.mqtt import commands
from hailod.mqtt.bucket import TokenBucket
from hailod.mqtt.commands import Origin

log = structlog.get_logger(__name__)

RATE_PER_S = 1.0
BURST = 20.0


class Desk(Protocol):
    """Who can tell the settings again."""

    def tell_settings(self) -> None:
        """Publish the settings documents again."""


class Refusals:
    """Tells refusals by a line in the log and by the event `command_failed`: 20 at once, then one a second.

    What is beyond that is counted, and told as `untold` by the next one, at the latest a second after the last. Used by
    the control thread.
    """

    def __init__(self, clock: Clock, events: Events) -> None:
        self._clock = clock
        self._events = events
        self._lines = TokenBucket(RATE_PER_S, BURST)
        self._unwritten = 0
        self._told = TokenBucket(RATE_PER_S, BURST)
        self._waiting: tuple[Origin, CommandError] | None = None
        self._untold = 0

    def write(self, text: str, **details: object) -> None:
        """A line in the log."""
        if not self._lines.take(self._clock.monotonic()):
            self._unwritten += 1
            return
        unwritten, self._unwritten = self._unwritten, 0
        log.warning(text, **details, **({"untold": unwritten} if unwritten else {}))

    def tell(self, origin: Origin, error: CommandError, desk: Desk | None) -> None:
        """The event; of a `set/...` also the settings again, so that whoever set the value sees it jump back."""
        if self._waiting is not None:
            self._untold += 1
        self._waiting = (origin, error)
        self.tick(self._clock.monotonic(), desk)

    def tick(self, now: float, desk: Desk | None) -> None:
        """Tell what waits, when it is time."""
        if self._waiting is None or not self._told.take(now):
            return
        (origin, error), self._waiting = self._waiting, None
        untold, self._untold = self._untold, 0
        details = commands.failure(origin, error)
        self._events.node("command_failed", **details, **({"untold": untold} if untold else {}))
        if desk is not None and (origin.reply_to is None or untold):
            desk.tell_settings()

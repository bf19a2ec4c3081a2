"""The device lent to other programs, as the control thread does it: the lease, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from hailod.clock import Clock
from hailod.control.conditions import Conditions
from hailod.control.events import Events
from hailod.control.lease import Lease, Loan, clock_time
from hailod.device.events import DeviceReleased, DeviceUp, LinkEvent
from hailod.health import DEVICE_CODES, Code
from hailod.pipeline.engine import Engine

log = structlog.get_logger(__name__)


class Lending:
    """Gives the device away and takes it back. `on_change`: whether it is lent shows in the settings."""

    def __init__(
        self, clock: Clock, engine: Engine, conditions: Conditions, events: Events, on_change: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._engine = engine
        self._conditions = conditions
        self._events = events
        self._on_change = on_change
        self._lease = Lease()

    @property
    def lent(self) -> bool:
        """Whether others may have the device, or are about to."""
        return self._lease.lent

    @property
    def released(self) -> bool:
        """Whether others may have it."""
        return self._lease.state is Loan.LENT

    @property
    def until(self) -> float:
        """When it is taken back by itself, in Unix seconds."""
        return self._clock.wall() + self._lease.remaining(self._clock.monotonic())

    def release(self, for_s: float) -> None:
        """Lend it for so long from now on."""
        self._lease.grant(self._clock.monotonic(), for_s)
        if self.released:
            self._tell()
        else:
            self._engine.release()

    def acquire(self, by: str = "cmd") -> None:
        """Open the device again, or look at once whether it can be opened."""
        if self._lease.take_back(by):
            self._conditions.raise_(Code.DEVICE_STARTING, "the device is being taken back")
            self._conditions.clear_all(DEVICE_CODES - {Code.DEVICE_STARTING})
            self._on_change()
        self._engine.acquire()

    def tick(self, now: float) -> None:
        """Take it back when its time is over."""
        if self._lease.due(now):
            self.acquire("time")

    def hear(self, event: LinkEvent) -> None:
        """The device host is gone, or the device is open again."""
        now = self._clock.monotonic()
        if isinstance(event, DeviceUp) and (back := self._lease.regained(now)):
            log.info("device taken back", by=back.by, after_s=round(back.after_s, 1))
            self._events.node("device_acquired", after_s=round(back.after_s, 1), by=back.by)
        elif isinstance(event, DeviceReleased) and self._lease.handed_over(now):
            log.info("device lent to other programs", for_s=self._lease.for_s)
            self._tell()
            self._conditions.clear_all(DEVICE_CODES - {Code.DEVICE_RELEASED})
            self._events.node("device_released", for_s=self._lease.for_s, by="cmd")
            self._on_change()

    def _tell(self) -> None:
        until = clock_time(self.until, self._clock.wall())
        self._conditions.raise_(
            Code.DEVICE_RELEASED,
            f"the device is lent to other programs until {until}",
            doing=f"it is taken back by itself at {until}",
            fix="hailod ctl device.acquire takes it back at once",
        )

"""What health says of the settings that were set over MQTT: those that are not on the disk, and those left out."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from hailod.clock import Clock
from hailod.control.conditions import Conditions
from hailod.control.saver import SaverEvent, StateSaved, StateUnsaved
from hailod.health import Code

log = structlog.get_logger(__name__)

# Settings that were left out at the start are told for so long, or until others are saved in their place.
DISCARDED_HOLD_S = 3600.0
DISCARDED_SHOWN = 20


class KeepingNews:
    """Used by the control thread."""

    def __init__(self, clock: Clock, conditions: Conditions) -> None:
        self._clock = clock
        self._conditions = conditions
        self._discarded_over: float | None = None

    def tell_discarded(self, discarded: Sequence[str]) -> None:
        """These settings were left out at the start; each is a line that says which and why."""
        if not discarded:
            return
        for line in discarded[:DISCARDED_SHOWN]:
            log.warning("setting left out", reason=line)
        more = f" (and {len(discarded) - 1} more)" if len(discarded) > 1 else ""
        doing = "it is left out; all else that was set over MQTT is in effect"
        fix = "set it again over MQTT if it is still wanted"
        self._conditions.raise_(Code.STATE_DISCARDED, f"{discarded[0]}{more}", doing=doing, fix=fix)
        self._discarded_over = self._clock.monotonic() + DISCARDED_HOLD_S

    def hear(self, event: SaverEvent) -> None:
        """Something became of what is to be kept."""
        match event:
            case StateUnsaved(text=text, fix=fix):
                doing = "changes run, but a restart would lose them; it is tried again every minute and at each change"
                self._conditions.raise_(Code.STATE_UNSAVED, text, doing=doing, fix=fix)
            case StateSaved(ticket=ticket):
                self._conditions.clear(Code.STATE_UNSAVED)
                if ticket > 0:
                    self._discarded_over = self._clock.monotonic()

    def tick(self, now: float) -> None:
        """Look at the clock."""
        if self._discarded_over is not None and now >= self._discarded_over:
            self._discarded_over = None
            self._conditions.clear(Code.STATE_DISCARDED)

"""What health says of the connection to the broker."""

from __future__ import annotations

from hailod.clock import Clock
from hailod.control.conditions import Conditions
from hailod.health import Code
from hailod.mqtt.messages import LinkState

# A broker that starts together with us gets so long.
BROKER_PATIENCE_S = 5.0


class BrokerNews:
    """Used by the control thread."""

    def __init__(self, clock: Clock, conditions: Conditions) -> None:
        self._clock = clock
        self._conditions = conditions
        self._link = LinkState(False)
        # When a broker that was never reached becomes a condition; None once one was.
        self._due: float | None = None

    def starting(self) -> None:
        """The first connection is about to be tried."""
        self._due = self._clock.monotonic() + BROKER_PATIENCE_S

    def hear(self, link: LinkState) -> bool:
        """How the connection stands now; True when it has just come about."""
        before, self._link = self._link, link
        if link.connected:
            self._due = None
            self._conditions.clear(Code.BROKER_DOWN)
        elif self._due is None:
            self._tell_down()
        standing = {Code.BROKER_UNSTABLE: link.trouble if link.connected else None, Code.BROKER_LIMITED: link.limits}
        for code, trouble in standing.items():
            if trouble is None:
                self._conditions.clear(code)
            else:
                self._conditions.raise_(code, trouble.text, fix=trouble.fix)
        return link.connected and not before.connected

    def tick(self, now: float) -> None:
        """Look at the clock."""
        if self._due is not None and now >= self._due:
            self._due = None
            self._tell_down()

    def _tell_down(self) -> None:
        link = self._link
        text, fix = link.trouble or ("not yet connected", "")
        doing = "trying" if link.retry_s is None else f"trying again in about {max(link.retry_s, 1.0):.0f} s"
        self._conditions.raise_(Code.BROKER_DOWN, f"no connection to the broker: {text}", doing=doing, fix=fix)

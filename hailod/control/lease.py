"""The device lent to other programs: for how long, and how it comes back. Pure: it is told the time.

    OURS ──grant──► LENDING ──handed_over──► LENT ──take_back──► RETURNING ──regained──► OURS

In LENDING the device host is on its way out, in RETURNING the device is being opened again, which takes as long as
another program holds on to it. A grant in any state is a new loan, of which the time counts from then on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

_SAME_DAY = timedelta(hours=12)


class Loan(StrEnum):
    """Whose the device is."""

    OURS = "ours"
    LENDING = "lending"
    LENT = "lent"
    RETURNING = "returning"


@dataclass(frozen=True, slots=True)
class Return:
    """The device is back, `after_s` seconds after it was handed over, because of `by`: `cmd` or `time`."""

    after_s: float
    by: str


class Lease:
    """One loan at a time. All times are monotonic seconds."""

    def __init__(self) -> None:
        self._state = Loan.OURS
        self._for_s = 0.0
        self._since = 0.0
        self._until = 0.0
        self._by = ""

    @property
    def state(self) -> Loan:
        return self._state

    @property
    def lent(self) -> bool:
        """Whether other programs may have the device, or are about to."""
        return self._state in (Loan.LENDING, Loan.LENT)

    @property
    def for_s(self) -> float:
        """How long the present loan was granted for."""
        return self._for_s

    def grant(self, now: float, for_s: float) -> None:
        """Lend the device until `for_s` seconds from now; what is lent already stays lent until then."""
        self._for_s, self._until = for_s, now + for_s
        if self._state is not Loan.LENT:
            self._state, self._since = Loan.LENDING, now

    def handed_over(self, now: float) -> bool:
        """The device is free for others; whether that is what was waited for."""
        if self._state is not Loan.LENDING:
            return False
        self._state, self._since = Loan.LENT, now
        return True

    def remaining(self, now: float) -> float:
        """Seconds until the device is taken back by itself; 0 when it is not lent."""
        return max(self._until - now, 0.0) if self.lent else 0.0

    def due(self, now: float) -> bool:
        """Whether the time is over. What is still being handed over is not taken back: its command waits for it."""
        return self._state is Loan.LENT and now >= self._until

    def take_back(self, by: str) -> bool:
        """Ask for the device; whether it was lent."""
        if not self.lent:
            return False
        # What was never handed over does not come back.
        self._state = Loan.RETURNING if self._state is Loan.LENT else Loan.OURS
        self._by = by
        return True

    def regained(self, now: float) -> Return | None:
        """The device is open; how that ended a loan, None when there was none."""
        if self._state is not Loan.RETURNING:
            return None
        self._state = Loan.OURS
        return Return(now - self._since, self._by)


def clock_time(moment: float, now: float) -> str:
    """`moment` (Unix seconds) as a clock on the wall shows it, with its day when that might be another one."""
    when, today = datetime.fromtimestamp(moment), datetime.fromtimestamp(now)  # noqa: DTZ006 -- local, for people
    same = when.date() == today.date() or abs(when - today) < _SAME_DAY
    return f"{when:%H:%M}" if same else f"{when:%Y-%m-%d %H:%M}"

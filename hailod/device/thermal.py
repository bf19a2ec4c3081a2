"""When the chip is too warm, less is asked of it: before its firmware slows it down, and in steps. Pure.

At `shed_at` degrees the rate of inferences is cut to 75 % of what it was, and to 50 and 25 % at one and two `shed_step`
more. The chip itself lowers its clock from 104 degrees on and stops at 120 (as published logs have it); a chip that
does is at the last step whatever its thermometer says. A step is left when the temperature is `hysteresis` below where
it was entered, and after `hold` seconds at the earliest: heat sinks are slow, and a rate that flaps helps nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

from hailod.config.model import ThermalSettings

SHARES = (1.0, 0.75, 0.5, 0.25)
"""What is left of the rate at each step, from none to the last."""


@dataclass(frozen=True, slots=True)
class Heat:
    """The step that is in force: `share` of the rate is left. `throttled`: the chip has lowered its clock by itself."""

    step: int = 0
    share: float = 1.0
    temp_c: float | None = None
    throttled: bool = False

    @property
    def shedding(self) -> bool:
        return self.step > 0


class Load:
    """What the device delivers when it is not held back, and how much of that a step leaves."""

    WINDOW = 5.0
    # Below this a limit saves nothing and blinds the node.
    LEAST = 0.5

    def __init__(self) -> None:
        self._since: tuple[float, int] | None = None
        self._latest = 0.0, 0
        self._rate: float | None = None
        self._base: float | None = None

    def count(self, finished: int, now: float) -> None:
        """So many frames are finished by now."""
        self._latest = now, finished
        if self._since is None:
            self._since = now, finished
        elif now - self._since[0] >= self.WINDOW:
            self._rate = self._recent()
            self._since = now, finished

    def limit(self, heat: Heat) -> float | None:
        """Frames a second at this step, a share of what they were when shedding began; None without shedding."""
        if not heat.shedding:
            self._base = None
            return None
        if self._base is None:
            self._base = self._recent() if self._rate is None else self._rate
        return max(self._base * heat.share, self.LEAST)

    def _recent(self) -> float:
        """The rate since the present window began."""
        (now, finished), (then, before) = self._latest, self._since or self._latest
        return (finished - before) / (now - then) if now > then else 0.0


class Thermostat:
    """Follows the chip's temperature; told the time."""

    def __init__(self, settings: ThermalSettings) -> None:
        self._settings = settings
        self._step = 0
        self._entered = 0.0
        self._throttled = False
        self._temp_c: float | None = None

    def configure(self, settings: ThermalSettings) -> None:
        self._settings = settings

    def throttle(self, throttled: bool) -> None:
        """The chip says that it has lowered its clock, or that it runs at full speed again."""
        self._throttled = throttled

    def measure(self, temp_c: float | None, now: float) -> Heat:
        """The chip has this temperature now (None: it does not tell); the step that is in force from now on."""
        self._temp_c = temp_c
        wanted = self._wanted(temp_c)
        if wanted > self._step or (wanted < self._step and now - self._entered >= self._settings.hold):
            # Up as far as it must, down one step at a time.
            self._step = wanted if wanted > self._step else self._step - 1
            self._entered = now
        return self.heat

    @property
    def heat(self) -> Heat:
        return Heat(self._step, SHARES[self._step], self._temp_c, self._throttled)

    def cool(self, now: float, since: float) -> bool:
        """Whether a chip that stopped itself at `since` may work again."""
        if self._temp_c is None:
            return now - since >= self._settings.resume_after
        return self._temp_c < self._settings.resume_below

    def reset(self) -> None:
        """The chip is another one, or was away."""
        self._step, self._throttled, self._temp_c = 0, False, None

    def _wanted(self, temp_c: float | None) -> int:
        last = len(SHARES) - 1
        if self._throttled:
            return last
        if temp_c is None:
            return 0
        limits = [self._settings.shed_at + n * self._settings.shed_step for n in range(last)]
        risen = sum(temp_c >= limit for limit in limits)
        kept = sum(temp_c > limit - self._settings.hysteresis for limit in limits)
        return max(risen, min(kept, self._step))

"""Heat: a temperature curve, and what the chip's firmware does along it.

Above ORANGE_C the clock is lowered in four steps, at RED_C the firmware stops all dataflow. Each limit is left again at
its own, lower hysteresis. The first and the last limit, the clocks and their number are the chip's; published logs do
not show where the steps between lie, so they are spread evenly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

CORE_CLOCK_HZ = 400_000_000
ORANGE_C, ORANGE_HYSTERESIS_C = 104.0, 99.0
RED_C, RED_HYSTERESIS_C = 120.0, 110.0
LEVELS = (
    (ORANGE_C, ORANGE_HYSTERESIS_C, 350_000_000),
    (108.0, 103.0, 300_000_000),
    (112.0, 107.0, 250_000_000),
    (116.0, 111.0, 200_000_000),
)
"""Throttling levels 0 to 3: entered at, left below (degrees Celsius), and the clock meanwhile (Hz)."""

GREEN, ORANGE, RED = 0, 1, 2
UNTHROTTLED = -1


def clock_hz(level: int) -> int:
    """The core's clock at a throttling level."""
    return CORE_CLOCK_HZ if level == UNTHROTTLED else LEVELS[level][2]


@dataclass(frozen=True, slots=True)
class Curve:
    """A value over time: linear between points (seconds, value), constant before the first and after the last."""

    points: Sequence[tuple[float, float]]

    def at(self, seconds: float) -> float:
        before = self.points[0]
        for point in self.points:
            if point[0] > seconds:
                if before[0] >= point[0] or seconds < before[0]:
                    return point[1]
                share = (seconds - before[0]) / (point[0] - before[0])
                return before[1] + share * (point[1] - before[1])
            before = point
        return before[1]


@dataclass(frozen=True, slots=True)
class Heat:
    """From `at` on (seconds): the throttling level, -1 for none, and whether dataflow is stopped."""

    at: float
    celsius: float
    level: int = UNTHROTTLED
    red: bool = False

    @property
    def zone(self) -> int:
        if self.red:
            return RED
        return GREEN if self.level == UNTHROTTLED else ORANGE


_UP = [*((limit, index) for index, (limit, _, _) in enumerate(LEVELS)), (RED_C, len(LEVELS))]
_DOWN = [*((limit, index) for index, (_, limit, _) in enumerate(LEVELS)), (RED_HYSTERESIS_C, len(LEVELS))]


def history(curve: Curve) -> tuple[Heat, ...]:
    """Every change of level or zone along the curve, after how it begins."""
    first = curve.points[0]
    heat = Heat(first[0], first[1])
    for _, index in (limit for limit in _UP if limit[0] <= first[1]):
        heat = _risen(heat, first[0], first[1], index)
    found = [heat]
    for (start, low), (end, high) in pairwise(curve.points):
        for limit, index in _crossed(low, high):
            at = start + (end - start) * (limit - low) / (high - low)
            heat = (_risen if high > low else _fallen)(heat, at, limit, index)
            if (heat.level, heat.red) != (found[-1].level, found[-1].red):
                found.append(heat)
    return tuple(found)


def _crossed(low: float, high: float) -> Iterator[tuple[float, int]]:
    """The limits between two values that count in this direction, in the order in which they are met."""
    if high > low:
        yield from sorted(limit for limit in _UP if low < limit[0] <= high)
    elif high < low:
        yield from sorted((limit for limit in _DOWN if high < limit[0] <= low), reverse=True)


def _risen(heat: Heat, at: float, celsius: float, index: int) -> Heat:
    if index == len(LEVELS):
        return Heat(at, celsius, heat.level, red=True)
    return Heat(at, celsius, max(heat.level, index), heat.red)


def _fallen(heat: Heat, at: float, celsius: float, index: int) -> Heat:
    if index == len(LEVELS):
        return Heat(at, celsius, heat.level, red=False)
    return Heat(at, celsius, min(heat.level, index - 1), heat.red)

"""Did a figure grow? Pure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.benchmarks.soaklib.sample import Sample

# What is counted at a pause is the same at each pause.
EXACT = ("threads", "descriptors", "children", "mappings", "missing_slots")
# Memory breathes: allocators keep what they were given. So much more at the end is no leak, in MB or messages.
LOOSE: Mapping[str, float] = {"rss_mb": 4.0, "pss_mb": 4.0, "host_pss_mb": 4.0, "outbox": 50.0}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure over the time after the warm-up: medians of its first and last quarter, and the slope between any two
    samples (Theil-Sen, per hour)."""

    name: str
    first: float
    last: float
    per_hour: float
    allowed: float

    @property
    def grew(self) -> bool:
        return self.last - self.first > self.allowed

    def __str__(self) -> str:
        slope = "zero" if not self.grew else "not zero"
        return (
            f"{self.first:.1f} -> {self.last:.1f} (allowed: {self.allowed:g} more), "
            f"{self.per_hour:+.1f} an hour: {slope}"
        )

    def document(self) -> dict[str, object]:
        return {"name": self.name, "grew": self.grew, "text": str(self), "per_hour": self.per_hour}


def judge(samples: Sequence[Sample]) -> list[Verdict]:
    """A verdict on every figure."""
    allowed = {**dict.fromkeys(EXACT, 0.0), **LOOSE}
    return [
        verdict(name, [(one.at, float(getattr(one, name))) for one in samples], most) for name, most in allowed.items()
    ]


def verdict(name: str, points: Sequence[tuple[float, float]], allowed: float) -> Verdict:
    """On one figure, given as (seconds, value)."""
    quarter = max(len(points) // 4, 1)
    first = median(value for _, value in points[:quarter])
    last = median(value for _, value in points[-quarter:])
    return Verdict(name, first, last, 3600 * theil_sen(points), allowed)


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between any two points; 0 for fewer than two."""
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in itertools.combinations(points, 2) if x2 > x1]
    return median(slopes) if slopes else 0.0

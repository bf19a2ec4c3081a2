"""When a camera's frame is due, how fast frames come, and how long to wait before trying again. All pure."""

from __future__ import annotations

import random
from collections import deque

# A frame this much of an interval early is on time: cameras jitter, and a rate equal to theirs must not lose frames.
_EARLY = 0.25

_RATE_WINDOW = 5.0
_RATE_SAMPLES = 256


class Pacer:
    """Chooses frames so that their mean rate is at most `max_fps`; None lets all pass.

    Due times lie on a grid, so the mean is exact whatever the camera's own rate (25 fps paced to 10 gives 10, not 8.3),
    and no more than two frames follow each other at once after a pause.
    """

    def __init__(self, max_fps: float | None) -> None:
        self._interval = 0.0
        self._due: float | None = None
        self.set_max_fps(max_fps)

    def set_max_fps(self, max_fps: float | None) -> None:
        self._interval = 1.0 / max_fps if max_fps else 0.0
        self._due = None

    def admit(self, now: float) -> bool:
        """Whether the frame that came at `now` is to be used."""
        if self._due is None:
            self._due = now
        if now < self._due - _EARLY * self._interval:
            return False
        self._due = max(self._due + self._interval, now)
        return True


class RateMeter:
    """Frames per second over the last few seconds."""

    def __init__(self) -> None:
        self._times: deque[tuple[float, int]] = deque(maxlen=_RATE_SAMPLES)

    def count(self, now: float, frames: int = 1) -> None:
        self._times.append((now, frames))

    def rate(self, now: float) -> float:
        """The mean rate; 0 when less than two readings lie within the window."""
        while self._times and self._times[0][0] < now - _RATE_WINDOW:
            self._times.popleft()
        if len(self._times) < 2:
            return 0.0
        elapsed = self._times[-1][0] - self._times[0][0]
        return sum(frames for _, frames in list(self._times)[1:]) / elapsed if elapsed > 0 else 0.0


class Backoff:
    """Full-jitter back-off: each delay is uniform between 0 and a bound that doubles from `initial` to `maximum`."""

    def __init__(self, initial: float, maximum: float, rng: random.Random) -> None:
        self._initial = initial
        self._maximum = max(initial, maximum)
        self._rng = rng
        self._bound = initial

    def next_delay(self) -> float:
        delay = self._rng.uniform(0.0, self._bound)
        self._bound = min(self._bound * 2.0, self._maximum)
        return delay

    def reset(self) -> None:
        self._bound = self._initial

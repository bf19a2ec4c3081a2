"""What is wrong with a camera that delivers: behind its stream, mostly broken, or its picture hangs. Pure.

**Frozen.** A camera that hangs may go on sending: its encoder, or a relay before it, repeats the last picture, and that
looks like a scene in which nothing happens. A sensor never gives the same picture twice: its noise, and the light,
change some of 256 samples from one key frame to the next. So these alone are compared, for equality, which costs
microseconds a frame. Between two key frames an encoder may repeat a still scene to the bit; the time has to be longer
than their distance.

It is off unless asked for, because a picture may stand still by right: digital signage, a test card, a covered lens or
a privacy shutter, a room so dark that the sensor's noise is cut off at black. A clock drawn into the picture that goes
on while the rest hangs hides it, if it lies on a sample.

**Corrupt.** What cannot be decoded is counted and goes no further. When most of a few seconds is like that, the camera
still delivers and yet sees little, which its user should know.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from hailod.sources.base import Captured
from hailod.types import Picture

# Samples per side of the grid that stands for a picture; sides that are no multiple have up to twice as many.
_GRID: Final = 16

# Corruption is judged over so many seconds, and not before some of them were seen.
_CORRUPT_WINDOW: Final = 5
_CORRUPT_LEAST: Final = 3.0

# A camera is called behind or corrupt until it has been well for this long.
_HOLD: Final = 10.0


@dataclass(frozen=True, slots=True)
class Flaws:
    """What is wrong with the stream now."""

    frozen: bool = False
    behind: bool = False
    corrupt: bool = False


class Quality:
    """Judges what a camera delivers. `frozen_after` in seconds; None: a picture may stand still for ever."""

    def __init__(self, frozen_after: float | None) -> None:
        self._stillness = Stillness(frozen_after)
        self._corruption = Corruption()
        self._skipped_at: float | None = None
        self._corrupt_at: float | None = None

    def observe(self, captured: Captured, now: float, *, joined: bool) -> Flaws:
        """The flaws after `captured` came at `now` (monotonic).

        `joined`: the decoder has had its first picture. What is broken before it, or after frames were skipped, is so
        because the stream was joined between two key frames.
        """
        if captured.skipped:
            self._skipped_at = now
        elif joined and self._corruption.observe(captured.picture is not None, captured.corrupt, now):
            self._corrupt_at = now
        frozen = captured.picture is not None and self._stillness.observe(captured.picture, now)
        return Flaws(frozen, _recent(self._skipped_at, now), _recent(self._corrupt_at, now))

    def restart(self) -> None:
        """What came until now says nothing about what comes."""
        self._stillness.restart()
        self._corruption.restart()
        self._skipped_at = self._corrupt_at = None


class Stillness:
    """Whether a picture has been the same for `after` seconds."""

    def __init__(self, after: float | None) -> None:
        self._after = after
        self._sample: tuple[int, int, bytes] | None = None
        self._since = 0.0

    def observe(self, picture: Picture, now: float) -> bool:
        if self._after is None:
            return False
        sample = _sample(picture)
        if sample != self._sample:
            self._sample, self._since = sample, now
        return now - self._since >= self._after

    def restart(self) -> None:
        self._sample = None


class Corruption:
    """Whether more frames were broken than sound over the last few seconds."""

    def __init__(self) -> None:
        # Per second: when it began, sound, broken.
        self._seconds: deque[tuple[float, int, int]] = deque(maxlen=_CORRUPT_WINDOW)

    def observe(self, sound: bool, corrupt: int, now: float) -> bool:
        """Count a picture, if there was one, and how many before it were broken."""
        if self._seconds and now - self._seconds[-1][0] < 1.0:
            begun, before, broken = self._seconds.pop()
            self._seconds.append((begun, before + sound, broken + corrupt))
        else:
            self._seconds.append((now, int(sound), corrupt))
        while now - self._seconds[0][0] > _CORRUPT_WINDOW:
            self._seconds.popleft()
        if now - self._seconds[0][0] < _CORRUPT_LEAST:
            return False
        return sum(broken for _, _, broken in self._seconds) > sum(good for _, good, _ in self._seconds)

    def restart(self) -> None:
        self._seconds.clear()


def _sample(picture: Picture) -> tuple[int, int, bytes]:
    """The picture's size and a grid of its first plane, which is luma where there is one."""
    plane = picture.planes[0]
    down, across = (max(side // _GRID, 1) for side in plane.shape[:2])
    return picture.width, picture.height, plane[down // 2 :: down, across // 2 :: across].tobytes()


def _recent(moment: float | None, now: float) -> bool:
    return moment is not None and now - moment < _HOLD

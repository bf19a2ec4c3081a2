"""What lies between the scene and the viewer: rain, and the noise of the sensor."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hailod.types import U8

_LAYERS = 4
_MARGIN = 64


class Sensor:
    """Adds noise, and rain if there is any, to luma; the same to the same picture number."""

    def __init__(self, width: int, height: int, sigma: float, *, rain: bool, seed: int) -> None:
        rng = np.random.default_rng([seed, 77])
        self._seed = seed
        self._size = (width, height)
        shape = (height + _MARGIN, width + _MARGIN)
        grain = rng.standard_normal(shape, np.float32) * np.float32(sigma)
        # Compression smooths noise a little.
        grain = 0.6 * grain + 0.9 * cv2.GaussianBlur(grain, (3, 3), 0)
        self._noise: NDArray[np.int16] = np.rint(grain).astype(np.int16)
        self._rain = [_streaks(rng, width, height) for _ in range(_LAYERS)] if rain else []

    def expose(self, luma: U8, index: int) -> None:
        """Change `luma` (height, width) in place."""
        rng = np.random.default_rng([self._seed, 78, index])
        width, height = self._size
        if self._rain:
            layer = self._rain[index % _LAYERS]
            x, y = int(rng.integers(width)), int(rng.integers(height))
            cv2.add(luma, layer[y : y + height, x : x + width], dst=luma)
        x, y = int(rng.integers(_MARGIN)), int(rng.integers(_MARGIN))
        cv2.add(luma, self._noise[y : y + height, x : x + width], dst=luma, dtype=cv2.CV_8U)


def _streaks(rng: np.random.Generator, width: int, height: int) -> U8:
    """A field of slanted streaks, twice the picture along both axes, that repeats."""
    canvas = np.zeros((height, width), np.uint8)
    slant = 0.18
    for _ in range(round(width * height / 1100)):
        length = height * rng.uniform(0.02, 0.06)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        end = (round(x + slant * length), round(y + length))
        cv2.line(canvas, (round(x), round(y)), end, float(rng.uniform(14, 42)), 1, cv2.LINE_AA)
    return np.ascontiguousarray(np.tile(canvas, (2, 2)))

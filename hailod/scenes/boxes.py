"""A test card that moves: cheap enough for any rate, and of any size."""

from __future__ import annotations

import numpy as np

from hailod.types import U8, ColorMatrix, Picture, PixelFormat


class Boxes:
    """Coloured boxes that cross a grey gradient at constant speed and bounce off its edges.

    `size` is (width, height). Everything follows from the arguments.
    """

    def __init__(self, seed: int, size: tuple[int, int]) -> None:
        self._width, self._height = size
        rng = np.random.default_rng(seed)
        smallest = min(size) // 8
        count = 4
        self._sides = rng.integers(smallest, 2 * smallest, (count, 2))
        self._starts = rng.random((count, 2))
        self._speeds = rng.uniform(0.002, 0.02, (count, 2))
        self._colours = rng.integers(32, 224, (count, 3))
        ramp = np.linspace(48, 160, self._width, dtype=np.uint8)
        self._ground: U8 = np.broadcast_to(ramp, (self._height, self._width))

    def __call__(self, index: int) -> Picture:
        half = ((self._height + 1) // 2, (self._width + 1) // 2)
        y = self._ground.copy()
        u, v = np.full(half, 128, np.uint8), np.full(half, 128, np.uint8)
        # A triangle wave is a ball between two walls.
        phase = (self._starts + index * self._speeds) % 2.0
        place = np.where(phase > 1.0, 2.0 - phase, phase)
        room = np.array([self._width, self._height]) - self._sides
        for (left, top), (width, height), colour in zip(
            (place * room).astype(int), self._sides, self._colours, strict=True
        ):
            y[top : top + height, left : left + width] = colour[0]
            chroma = slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2)
            u[chroma], v[chroma] = colour[1], colour[2]
        return Picture(PixelFormat.I420, self._width, self._height, (y, u, v), ColorMatrix.BT601, full_range=False)

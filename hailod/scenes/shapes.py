"""What figures are made of in the picture: filled outlines, painted in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hailod.scenes.view import Colour
from hailod.types import F32, U8

_HALF = np.linspace(np.pi / 2, 3 * np.pi / 2, 6, dtype=np.float32)
_ROUND = np.stack(
    (
        np.cos(np.linspace(0, 2 * np.pi, 16, endpoint=False)),
        np.sin(np.linspace(0, 2 * np.pi, 16, endpoint=False)),
    ),
    axis=1,
).astype(np.float32)

# Coordinates are handed to OpenCV in sixteenths of a pixel.
_SHIFT = 4
_FAR = 30000.0


class Shape(NamedTuple):
    """A convex outline (n, 2) in pixels and its colour."""

    outline: F32
    colour: Colour


Bounds = tuple[int, int, int, int]
"""Pixels x1, y1, x2, y2, the last two excluded."""


def capsules(starts: F32, ends: F32, start_radii: F32, end_radii: F32) -> F32:
    """Outlines (n, 12, 2) of n limbs from `starts` to `ends` (n, 2), rounded with their radii (n,)."""
    along = ends - starts
    angle = np.arctan2(along[:, 1], along[:, 0])[:, None]
    back, front = angle + _HALF, angle + _HALF + np.pi
    outline = np.empty((len(starts), 2 * len(_HALF), 2), np.float32)
    outline[:, : len(_HALF), 0] = starts[:, :1] + start_radii[:, None] * np.cos(back)
    outline[:, : len(_HALF), 1] = starts[:, 1:] + start_radii[:, None] * np.sin(back)
    outline[:, len(_HALF) :, 0] = ends[:, :1] + end_radii[:, None] * np.cos(front)
    outline[:, len(_HALF) :, 1] = ends[:, 1:] + end_radii[:, None] * np.sin(front)
    return outline


def disc(centre: Sequence[float] | F32, radius: float, squash: float = 1.0) -> F32:
    """The outline of an ellipse of that radius and, upright, `squash` times as much."""
    return _ROUND * np.array([radius, radius * squash], np.float32) + np.asarray(centre, np.float32)


def hull(centres: F32, radii: Sequence[float] | F32) -> F32:
    """The outline of a skin drawn tight around discs."""
    points = (centres[:, None, :] + np.asarray(radii, np.float32)[:, None, None] * _ROUND[::2]).reshape(-1, 2)
    return cv2.convexHull(points).reshape(-1, 2).astype(np.float32, copy=False)


def paint(canvas: U8, shapes: Sequence[Shape]) -> None:
    """Fill the shapes one over the other, with smooth edges."""
    for outline, (_, colour) in zip(_fixed(shapes), shapes, strict=True):
        cv2.fillConvexPoly(canvas, outline, colour, cv2.LINE_AA, _SHIFT)


def stamp(canvas: NDArray[np.uint8] | NDArray[np.int32], shapes: Sequence[Shape], value: int) -> None:
    """Write `value` wherever the shapes cover a pixel of a single-channel canvas."""
    for outline in _fixed(shapes):
        cv2.fillConvexPoly(canvas, outline, value, cv2.LINE_8, _SHIFT)


def bounds(shapes: Iterable[Shape], width: int, height: int, margin: int = 2) -> Bounds:
    """The pixels of a canvas that the shapes may touch; empty where x2 <= x1 or y2 <= y1."""
    x1, y1, x2, y2 = extent(shapes)
    return (
        max(0, int(x1) - margin),
        max(0, int(y1) - margin),
        min(width, int(x2) + margin + 1),
        min(height, int(y2) + margin + 1),
    )


def extent(shapes: Iterable[Shape]) -> tuple[float, float, float, float]:
    """The box around the shapes, wherever they are."""
    points = np.concatenate([shape.outline for shape in shapes])
    low, high = points.min(0), points.max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def moved(shapes: Iterable[Shape], dx: float, dy: float) -> list[Shape]:
    """The shapes elsewhere."""
    step = np.array([dx, dy], np.float32)
    return [Shape(outline + step, colour) for outline, colour in shapes]


def _fixed(shapes: Sequence[Shape]) -> list[NDArray[np.int32]]:
    """The outlines as OpenCV wants them."""
    lengths = [len(outline) for outline, _ in shapes]
    points = np.concatenate([outline for outline, _ in shapes])
    fixed = np.rint(points.clip(-_FAR, _FAR) * (1 << _SHIFT)).astype(np.int32)
    return np.split(fixed, np.cumsum(lengths[:-1]))

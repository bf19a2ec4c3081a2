"""Where a camera's picture lies in a model's input, and the way back. Pure mathematics; boxes are x1, y1, x2, y2.

A camera's `View` is taken in this order: crop the decoded frame, rotate clockwise, flip. The result is resized into a
rectangle of the model's input. All of it is one transposition at most and one scale and shift per axis, so the way back
is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from hailod.types import F32

Rotate = Literal[0, 90, 180, 270]
Flip = Literal["none", "horizontal", "vertical", "both"]
Resize = Literal["letterbox", "stretch"]
Align = Literal["center", "top_left"]
Size = tuple[int, int]

_UPRIGHT = (0, 1, 2, 3)


@dataclass(frozen=True, slots=True)
class View:
    """What a camera shows of its frame: `crop` as fractions x1, y1, x2, y2, then `rotate` clockwise, then `flip`."""

    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    rotate: Rotate = 0
    flip: Flip = "none"

    @property
    def transposed(self) -> bool:
        """Whether rows become columns, before any mirroring."""
        return self.rotate in (90, 270)

    @property
    def mirrored_x(self) -> bool:
        """Whether left and right are exchanged, after any transposition."""
        return (self.rotate in (90, 180)) != (self.flip in ("horizontal", "both"))

    @property
    def mirrored_y(self) -> bool:
        """Whether top and bottom are exchanged, after any transposition."""
        return (self.rotate in (180, 270)) != (self.flip in ("vertical", "both"))


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle of whole pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def size(self) -> Size:
        return self.width, self.height


@dataclass(frozen=True, slots=True)
class Placement:
    """The pixels `source` of a frame, oriented as `view` says, fill `target` of a model's input.

    Sizes are (width, height). `source` starts at even pixels, so that it can be cut from 4:2:0 planes.
    """

    frame_size: Size
    input_size: Size
    view: View
    source: Rect
    target: Rect
    _columns: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _inverse_columns: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _scale: F32 = field(init=False, repr=False, compare=False)
    _shift: F32 = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # frame[i] = model[columns[i]] * scale[i] + shift[i]. A mirrored axis exchanges its two edges and its sign; the
        # mirrors are the view's, that is those of the model's axes.
        view, source, target = self.view, self.source, self.target
        model_axes = (
            (view.mirrored_x, self.input_size[0], target.x, target.width),
            (view.mirrored_y, self.input_size[1], target.y, target.height),
        )
        frame_axes = (
            (self.frame_size[0], source.x, source.width),
            (self.frame_size[1], source.y, source.height),
        )
        columns, scale, shift = [0] * 4, [0.0] * 4, [0.0] * 4
        for frame_axis, (frame_length, source_start, source_length) in enumerate(frame_axes):
            model_axis = 1 - frame_axis if view.transposed else frame_axis
            mirrored, input_length, target_start, target_length = model_axes[model_axis]
            per_target = source_length / target_length / frame_length
            sign = -1.0 if mirrored else 1.0
            origin = target_start + target_length if mirrored else target_start
            for edge in (0, 2):
                columns[frame_axis + edge] = model_axis + (2 - edge if mirrored else edge)
                scale[frame_axis + edge] = sign * input_length * per_target
                shift[frame_axis + edge] = source_start / frame_length - sign * origin * per_target
        object.__setattr__(self, "_columns", tuple(columns))
        object.__setattr__(self, "_inverse_columns", tuple(columns.index(i) for i in range(4)))
        object.__setattr__(self, "_scale", np.array(scale, np.float32))
        object.__setattr__(self, "_shift", np.array(shift, np.float32))

    def to_frame(self, boxes: F32) -> F32:
        """Boxes (n, 4) of the model's input, 0..1 or beyond, as boxes of the decoded frame, clipped to 0..1."""
        placed: F32 = (boxes if self._columns == _UPRIGHT else boxes[:, self._columns]) * self._scale
        placed += self._shift
        np.maximum(placed, 0.0, out=placed)
        np.minimum(placed, 1.0, out=placed)
        return placed

    def to_model(self, boxes: F32) -> F32:
        """Boxes (n, 4) of the decoded frame as boxes of the model's input; beyond 0..1 where the crop cuts them."""
        placed: F32 = ((boxes - self._shift) / self._scale)[:, self._inverse_columns]
        return placed


def place(
    frame_size: Size,
    view: View,
    input_size: Size,
    resize: Resize = "letterbox",
    align: Align = "center",
    *,
    grid: int = 1,
) -> Placement:
    """Lay the view of a frame into a model's input; sizes are (width, height).

    `letterbox` keeps the aspect and leaves a border, `stretch` fills the input. `grid` is 2 for inputs that share
    chroma among pixels: the target then starts and ends at even pixels. Raises ValueError for sizes below 2 pixels.
    """
    if min(*frame_size, *input_size) < 2:
        raise ValueError(f"a frame of {frame_size} cannot be laid into an input of {input_size}")
    x, width = _cut(frame_size[0], view.crop[0], view.crop[2])
    y, height = _cut(frame_size[1], view.crop[1], view.crop[3])
    seen = (height, width) if view.transposed else (width, height)
    target = Rect(0, 0, *input_size)
    if resize == "letterbox":
        scale = min(input_size[0] / seen[0], input_size[1] / seen[1])
        fitted = [_snap(side * scale, grid, limit) for side, limit in zip(seen, input_size, strict=True)]
        margins = [limit - side for side, limit in zip(fitted, input_size, strict=True)]
        offsets = [margin // 2 // grid * grid if align == "center" else 0 for margin in margins]
        target = Rect(*offsets, *fitted)
    return Placement(frame_size, input_size, view, Rect(x, y, width, height), target)


def _cut(length: int, start: float, end: float) -> Size:
    """Offset and length of a crop along one axis: even, except that a crop to the end of an odd axis takes its end."""
    first = min(2 * round(start * length / 2), (length - 2) // 2 * 2)
    last = length if end >= 1.0 else min(2 * round(end * length / 2), length)
    return first, max(last - first, 2)


def _snap(length: float, grid: int, limit: int) -> int:
    # Halves go up, as people count; Python's round would send them to the even neighbour.
    return min(max(math.floor(length / grid + 0.5) * grid, grid), limit)

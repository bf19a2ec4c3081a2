"""HailoRT's host-side decoders: quantised heads in, every box that reaches the threshold out, best first.

In float32, in the order of libhailort's own formulas, so that recorded outputs of the real ones come out to the last
bits. A cell may be detected as several classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hailod.simulator.networks.nms import Boxes, Quantisation, Quantised
from hailod.types import F32

MASK_COEFFICIENTS = 32
_BOX = 4
_OBJECTNESS = 4
_FIRST_CLASS = 5


@dataclass(frozen=True, slots=True)
class Head:
    """A quantised tensor (h, w, c) and what its numbers mean."""

    values: Quantised
    quant: Quantisation

    @property
    def grid(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def real(self) -> F32:
        return self.quant.dequantise(self.values)

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> F32:
        """The features (n, c) of some cells."""
        return self.quant.dequantise(self.values[rows, columns])


def decode_yolox(heads: Sequence[tuple[Head, Head, Head]], threshold: float) -> Boxes:
    """Per stride reg (h, w, 4), objectness (h, w, 1) and classes (h, w, n), sigmoids done on the chip."""
    floor = np.float32(threshold)
    collected = _Collector()
    for reg, obj, cls in heads:
        height, width = (np.float32(side) for side in obj.grid)
        objectness = obj.real()[..., 0]
        rows, columns = np.nonzero(objectness >= floor)
        score = cls.at(rows, columns) * objectness[rows, columns, None]
        cells, labels = np.nonzero(score >= floor)
        box = reg.at(rows, columns)[cells]
        x = (box[:, 0] + columns[cells].astype(np.float32)) / width
        y = (box[:, 1] + rows[cells].astype(np.float32)) / height
        w, h = _exp(box[:, 2]) / width, _exp(box[:, 3]) / height
        left, top = x - w / np.float32(2), y - h / np.float32(2)
        collected.add(np.stack([top, left, top + h, left + w], axis=1), score[cells, labels], labels)
    return collected.best_first()


def decode_yolov5(
    heads: Sequence[Head],
    anchors: Sequence[Sequence[float]],
    image: tuple[int, int],
    classes: int,
    threshold: float,
    *,
    masks: bool = False,
) -> Boxes:
    """Per stride (h, w, anchors x (5 + classes)); `anchors` are w, h pairs in pixels of `image` (height, width).

    With `masks` there are 32 coefficients more to each anchor, and the heads are logits: only that operator applies
    the sigmoid itself. The coefficients are weighed with the objectness, as libhailort does.
    """
    floor = np.float32(threshold)
    activate = _sigmoid if masks else np.asarray
    collected = _Collector()
    for head, pairs in zip(heads, anchors, strict=True):
        height, width = head.grid
        sizes = np.array(pairs, np.float32).reshape(-1, 2).astype(np.int32)
        entries = head.real().reshape(height, width, len(sizes), -1)
        objectness = activate(entries[..., _OBJECTNESS])
        rows, columns, which = np.nonzero(objectness >= floor)
        entry, certainty = entries[rows, columns, which], objectness[rows, columns, which]
        score = activate(entry[:, _FIRST_CLASS : _FIRST_CLASS + classes]) * certainty[:, None]
        cells, labels = np.nonzero(score >= floor)
        t = activate(entry[cells, :_BOX])
        anchor = sizes[which[cells]].astype(np.float32)
        two, half = np.float32(2), np.float32(0.5)
        w = np.square(two * t[:, 2]) * anchor[:, 0] / np.float32(image[1])
        h = np.square(two * t[:, 3]) * anchor[:, 1] / np.float32(image[0])
        x = (t[:, 0] * two - half + columns[cells].astype(np.float32)) / np.float32(width)
        y = (t[:, 1] * two - half + rows[cells].astype(np.float32)) / np.float32(height)
        left, top = x - w / two, y - h / two
        weights = entry[cells, _FIRST_CLASS + classes :] * certainty[cells, None] if masks else None
        collected.add(np.stack([top, left, top + h, left + w], axis=1), score[cells, labels], labels, weights)
    return collected.best_first()


def decode_yolov8(
    heads: Sequence[tuple[Head, Head]], strides: Sequence[int], image: tuple[int, int], threshold: float
) -> Boxes:
    """Per stride reg (h, w, 4 x bins) as logits, and classes (h, w, n), their sigmoid done on the chip."""
    floor = np.float32(threshold)
    collected = _Collector()
    height, width = np.float32(image[0]), np.float32(image[1])
    for (reg, cls), step in zip(heads, strides, strict=True):
        score = cls.real()
        rows, columns, labels = np.nonzero(score >= floor)
        bins = _exp(reg.at(rows, columns).reshape(len(rows), 4, -1))
        weights = bins / bins.sum(axis=2, dtype=np.float32, keepdims=True)
        distance = (weights * np.arange(bins.shape[2], dtype=np.float32)).sum(axis=2, dtype=np.float32)
        stride, half = np.float32(step), np.float32(0.5)
        x = (columns.astype(np.float32) + half) * stride / width
        y = (rows.astype(np.float32) + half) * stride / height
        left, top, right, bottom = (distance[:, side] * stride for side in range(4))
        box = np.stack([y - top / height, x - left / width, y + bottom / height, x + right / width], axis=1)
        collected.add(box, score[rows, columns, labels], labels)
    return collected.best_first()


@dataclass(frozen=True, slots=True)
class Prototypes:
    """What the masks of a frame are mixed from: (h, w, 32), spread bilinearly over the picture (height, width)."""

    values: F32
    picture: tuple[int, int]
    threshold: float

    def mask(self, coefficients: F32, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """The pixels of a part of the picture that belong to the object."""
        mixed = _sigmoid(self.values @ coefficients)
        down = _bilinear(self.picture[0], mixed.shape[0], rows)
        across = _bilinear(self.picture[1], mixed.shape[1], columns)
        inside: NDArray[np.bool_] = down @ mixed @ across.T > np.float32(self.threshold)
        return inside


class _Collector:
    """Boxes of several strides."""

    def __init__(self) -> None:
        self._boxes: list[F32] = []
        self._scores: list[F32] = []
        self._classes: list[NDArray[np.intp]] = []
        self._coefficients: list[F32] = []

    def add(self, boxes: F32, scores: F32, classes: NDArray[np.intp], coefficients: F32 | None = None) -> None:
        self._boxes.append(boxes)
        self._scores.append(scores)
        self._classes.append(classes)
        if coefficients is not None:
            self._coefficients.append(coefficients)

    def best_first(self) -> Boxes:
        return Boxes.best_first(
            np.concatenate(self._boxes),
            np.concatenate(self._scores),
            np.concatenate(self._classes),
            np.concatenate(self._coefficients) if self._coefficients else None,
        )


def _bilinear(size: int, source: int, part: slice) -> F32:
    """Weights (pixels, source) of interpolation between cell centres, edges repeated."""
    positions = (np.arange(part.start, part.stop, dtype=np.float32) + 0.5) * source / size - 0.5
    low = np.floor(positions).astype(int)
    share = (positions - low).astype(np.float32)
    weights = np.zeros((len(positions), source), np.float32)
    each = np.arange(len(positions))
    np.add.at(weights, (each, np.clip(low, 0, source - 1)), 1 - share)
    np.add.at(weights, (each, np.clip(low + 1, 0, source - 1)), share)
    return weights


def _sigmoid(values: F32) -> F32:
    activated: F32 = np.float32(1) / (np.float32(1) + _exp(-values))
    return activated


def _exp(values: F32) -> F32:
    # NumPy's float32 exp is a unit in the last place off the C library's; rounding a float64 result is not.
    with np.errstate(over="ignore"):
        return np.exp(values.astype(np.float64)).astype(np.float32)

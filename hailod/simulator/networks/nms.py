"""Boxes, and HailoRT's host-side suppression of those that overlap, in float32 as libhailort computes it.

Boxes are y_min, x_min, y_max, x_max, normalised to the model's input and not clipped. Suppression is per class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hailod.types import F32, I32

Quantised = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Quantisation:
    """real = (q - zero_point) * scale, in float32."""

    scale: float
    zero_point: float

    def dequantise(self, values: NDArray[Any]) -> F32:
        real: F32 = (values.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)
        return real

    def quantise(self, values: NDArray[Any], dtype: np.dtype[Any]) -> Quantised:
        """Round and saturate to the unsigned `dtype`."""
        q = np.rint(values * np.float32(1.0 / self.scale) + np.float32(self.zero_point))
        quantised: Quantised = np.clip(q, 0, np.iinfo(dtype).max).astype(dtype)
        return quantised


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Detections as parallel arrays: `boxes` (n, 4), `scores` (n,) descending, `classes` (n,).

    `coefficients` (n, k) weigh the prototypes of a detection's mask, where there are masks.
    """

    boxes: F32
    scores: F32
    classes: I32
    coefficients: F32 | None = None

    def __getitem__(self, chosen: NDArray[Any] | slice) -> Boxes:
        weights = None if self.coefficients is None else self.coefficients[chosen]
        return Boxes(self.boxes[chosen], self.scores[chosen], self.classes[chosen], weights)

    def __len__(self) -> int:
        return len(self.scores)

    @staticmethod
    def best_first(boxes: ArrayLike, scores: ArrayLike, classes: ArrayLike, coefficients: F32 | None = None) -> Boxes:
        """Detections in any order, sorted by score; of equal ones the first stays first."""
        order = np.argsort(-np.asarray(scores, np.float32), kind="stable")
        return Boxes(
            np.asarray(boxes, np.float32).reshape(-1, 4)[order],
            np.asarray(scores, np.float32)[order],
            np.asarray(classes, np.int32)[order],
            None if coefficients is None else coefficients[order],
        )


def suppress(found: Boxes, iou_threshold: float, max_per_class: int | None = None) -> Boxes:
    """Per class: drop what overlaps a better box by `iou_threshold` or more, then keep the `max_per_class` best."""
    kept: list[int] = []
    for label in np.unique(found.classes):
        candidates = np.nonzero(found.classes == label)[0]
        survivors = 0
        while candidates.size and survivors != max_per_class:
            best, rest = candidates[0], candidates[1:]
            kept.append(int(best))
            survivors += 1
            candidates = rest[_iou(found.boxes[best], found.boxes[rest]) < np.float32(iou_threshold)]
    return found[np.sort(np.asarray(kept, np.intp))]


def best_per_class(found: Boxes, most: int) -> Boxes:
    """The `most` best of each class."""
    return suppress(found, np.inf, most)


def _iou(box: F32, others: F32) -> F32:
    corner = np.maximum(box[:2], others[:, :2])
    size = np.maximum(np.minimum(box[2:], others[:, 2:]) - corner, np.float32(0))
    overlap: F32 = size[:, 0] * size[:, 1]
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    iou: F32 = np.zeros_like(overlap)
    np.divide(overlap, area + areas - overlap, out=iou, where=overlap > 0)
    return iou

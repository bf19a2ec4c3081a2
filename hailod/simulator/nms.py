"""HailoRT's host-side YOLOX decoding and NMS, in float32 as libhailort computes it, and its two result layouts.

Boxes are y_min, x_min, y_max, x_max, normalised to the model's input and not clipped. An anchor may be detected as
several classes; suppression is per class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hailod.types import F32, I32, U8

Quantised = NDArray[np.uint8] | NDArray[np.uint16]

RECORD = np.dtype([("box", "<f4", (4,)), ("score", "<f4"), ("class_id", "<u2")])
"""One detection of an NMS_BY_SCORE buffer: 22 bytes, packed."""


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


@dataclass(frozen=True, slots=True)
class YoloxHead:
    """The three quantised tensors of one stride: reg (h, w, 4), objectness (h, w, 1), classes (h, w, n)."""

    reg: Quantised
    obj: Quantised
    cls: Quantised
    reg_quant: Quantisation
    obj_quant: Quantisation
    cls_quant: Quantisation


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Detections as parallel arrays: `boxes` (n, 4), `scores` (n,) descending, `classes` (n,)."""

    boxes: F32
    scores: F32
    classes: I32


def decode_yolox(heads: Sequence[YoloxHead], threshold: float) -> Boxes:
    """Every class of every cell whose objectness and score reach `threshold`, best score first."""
    floor = np.float32(threshold)
    boxes: list[F32] = []
    scores: list[F32] = []
    classes: list[NDArray[np.intp]] = []
    for head in heads:
        height, width = np.float32(head.obj.shape[0]), np.float32(head.obj.shape[1])
        objectness = head.obj_quant.dequantise(head.obj[..., 0])
        rows, columns = np.nonzero(objectness >= floor)
        score = head.cls_quant.dequantise(head.cls[rows, columns]) * objectness[rows, columns, None]
        cells, labels = np.nonzero(score >= floor)
        reg = head.reg_quant.dequantise(head.reg[rows, columns])[cells]
        x = (reg[:, 0] + columns[cells].astype(np.float32)) / width
        y = (reg[:, 1] + rows[cells].astype(np.float32)) / height
        w, h = _exp(reg[:, 2]) / width, _exp(reg[:, 3]) / height
        left, top = x - w / np.float32(2), y - h / np.float32(2)
        boxes.append(np.stack([top, left, top + h, left + w], axis=1))
        scores.append(score[cells, labels])
        classes.append(labels)
    return _descending(np.concatenate(boxes), np.concatenate(scores), np.concatenate(classes).astype(np.int32))


def suppress(found: Boxes, iou_threshold: float, max_per_class: int) -> Boxes:
    """Per class: drop what overlaps a better box by `iou_threshold` or more, then keep the `max_per_class` best."""
    kept: list[int] = []
    for label in np.unique(found.classes):
        candidates = np.nonzero(found.classes == label)[0]
        survivors = 0
        while candidates.size and survivors < max_per_class:
            best, rest = candidates[0], candidates[1:]
            kept.append(int(best))
            survivors += 1
            candidates = rest[_iou(found.boxes[best], found.boxes[rest]) < np.float32(iou_threshold)]
    order = np.sort(np.asarray(kept, np.intp))
    return Boxes(found.boxes[order], found.scores[order], found.classes[order])


def pack_by_class(found: Boxes, classes: int) -> U8:
    """The used bytes of an NMS_BY_CLASS buffer: per class its count as float32, then count x (box, score)."""
    rows = np.concatenate([found.boxes, found.scores[:, None]], axis=1)
    counts = np.bincount(found.classes, minlength=classes)
    packed = np.zeros(classes + 5 * len(rows), np.float32)
    offset = 0
    for label, count in enumerate(counts):
        packed[offset] = count
        offset += 1
        if count:
            packed[offset : offset + 5 * count] = rows[found.classes == label].reshape(-1)
            offset += 5 * int(count)
    return packed.view(np.uint8)


def pack_by_score(found: Boxes) -> U8:
    """The used bytes of an NMS_BY_SCORE buffer: the count as uint16, then packed `RECORD`s."""
    records = np.empty(len(found.scores), RECORD)
    records["box"], records["score"], records["class_id"] = found.boxes, found.scores, found.classes
    return np.frombuffer(len(records).to_bytes(2, "little") + records.tobytes(), np.uint8)


def _descending(boxes: F32, scores: F32, classes: I32) -> Boxes:
    order = np.argsort(-scores, kind="stable")
    return Boxes(boxes[order], scores[order], classes[order])


def _iou(box: F32, others: F32) -> F32:
    corner = np.maximum(box[:2], others[:, :2])
    size = np.maximum(np.minimum(box[2:], others[:, 2:]) - corner, np.float32(0))
    overlap: F32 = size[:, 0] * size[:, 1]
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    iou: F32 = overlap / (area + areas - overlap)
    return iou


def _exp(values: F32) -> F32:
    # NumPy's float32 exp is a unit in the last place off the C library's; rounding a float64 result is not.
    return np.exp(values.astype(np.float64)).astype(np.float32)

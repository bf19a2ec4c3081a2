"""Detection buffers as pyhailort reads them: views of the bound memory, or one object per detection."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hailod.simulator.networks import layouts
from hailod.types import U8

Array = NDArray[Any]
BOX_VALUES = 5


def per_class(raw: Any, classes: int) -> list[Array]:
    """NMS by class: per class a view (n, 5) of the flat `raw`, or a fresh float64 (0, 5)."""
    found: list[Array] = []
    offset = 0
    for _ in range(classes):
        count = int(raw[offset])
        offset += 1
        rows = raw[offset : offset + BOX_VALUES * count]
        found.append(rows.reshape(count, BOX_VALUES) if count else np.empty((0, BOX_VALUES)))
        offset += BOX_VALUES * count
    return found


@dataclass(frozen=True, slots=True)
class NativeRectangle:
    """`_pyhailort.HailoRectangle`: a box."""

    y_min: float
    x_min: float
    y_max: float
    x_max: float

    @staticmethod
    def of(box: Array) -> NativeRectangle:
        return NativeRectangle(*(float(edge) for edge in box))


@dataclass(frozen=True, slots=True)
class NativeDetection:
    """`_pyhailort.Detection`: one record of an NMS_BY_SCORE buffer."""

    y_min: float
    x_min: float
    y_max: float
    x_max: float
    score: float
    class_id: int

    @staticmethod
    def of(record: np.void) -> NativeDetection:
        y_min, x_min, y_max, x_max = (float(edge) for edge in record["box"])
        return NativeDetection(y_min, x_min, y_max, x_max, float(record["score"]), int(record["class_id"]))


@dataclass(frozen=True, slots=True)
class NativeDetectionWithByteMask:
    """`_pyhailort.DetectionWithByteMask`: one record of an NMS_WITH_BYTE_MASK buffer."""

    box: NativeRectangle
    score: float
    class_id: int
    mask_size: int
    mask_offset: int
    _address: int

    @staticmethod
    def of(record: np.void) -> NativeDetectionWithByteMask:
        has_offset = "mask_offset" in (record.dtype.names or ())
        return NativeDetectionWithByteMask(
            NativeRectangle.of(record["box"]),
            float(record["score"]),
            int(record["class_id"]),
            int(record["mask_size"]),
            int(record["mask_offset"]) if has_offset else 0,
            int(record["mask"]),
        )

    def mask(self) -> U8:
        """A copy of the mask from the address that the record holds: the buffer that was bound must still be there."""
        if not self.mask_size:
            return np.empty(0, np.uint8)
        return np.frombuffer(ctypes.string_at(self._address, self.mask_size), np.uint8).copy()


def convert_nms_by_score_buffer_to_detections(src_buffer: Any) -> list[NativeDetection]:
    """The records of an NMS_BY_SCORE buffer, as many as its count says."""
    raw = _bytes(src_buffer)
    size = layouts.DETECTION.itemsize
    return [
        NativeDetection.of(_record(raw, layouts.DETECTION, layouts.COUNT.itemsize + index * size))
        for index in range(_count(raw))
    ]


def convert_nms_with_byte_mask_buffer_to_detections(
    src_buffer: Any, profile: str = "4.23"
) -> list[NativeDetectionWithByteMask]:
    """The records of an NMS_WITH_BYTE_MASK buffer, as many as its count says."""
    raw, record = _bytes(src_buffer), layouts.MASKED_DETECTIONS[profile]
    found: list[NativeDetectionWithByteMask] = []
    offset = layouts.COUNT.itemsize
    for _ in range(_count(raw)):
        detection = NativeDetectionWithByteMask.of(_record(raw, record, offset))
        offset += record.itemsize + detection.mask_size
        found.append(detection)
    return found


class Detection:
    """One detection of an NMS_BY_SCORE buffer."""

    def __init__(self, detection: NativeDetection) -> None:
        self._detection = detection

    @property
    def y_min(self) -> float:
        return self._detection.y_min

    @property
    def x_min(self) -> float:
        return self._detection.x_min

    @property
    def y_max(self) -> float:
        return self._detection.y_max

    @property
    def x_max(self) -> float:
        return self._detection.x_max

    @property
    def score(self) -> float:
        return self._detection.score

    @property
    def class_id(self) -> int:
        return self._detection.class_id


class DetectionWithByteMask:
    """One detection of an NMS_WITH_BYTE_MASK buffer and its mask: 0 or 1 per pixel of the box, flat, row by row."""

    def __init__(self, detection: NativeDetectionWithByteMask) -> None:
        self._detection = detection
        self._mask = detection.mask()

    @property
    def y_min(self) -> float:
        return self._detection.box.y_min

    @property
    def x_min(self) -> float:
        return self._detection.box.x_min

    @property
    def y_max(self) -> float:
        return self._detection.box.y_max

    @property
    def x_max(self) -> float:
        return self._detection.box.x_max

    @property
    def score(self) -> float:
        return self._detection.score

    @property
    def class_id(self) -> int:
        return self._detection.class_id

    @property
    def mask(self) -> U8:
        return self._mask


def _bytes(buffer: Any) -> U8:
    raw: U8 = np.asarray(buffer).reshape(-1).view(np.uint8)
    return raw


def _record(raw: U8, record: np.dtype[Any], offset: int) -> np.void:
    """One record. The library reads on beyond the end of what was bound; here there are zeros."""
    there = raw[offset : offset + record.itemsize]
    padded = np.zeros(record.itemsize, np.uint8)
    padded[: there.size] = there
    found: np.void = padded.view(record)[0]
    return found


def _count(raw: U8) -> int:
    return int(raw[:2].view(layouts.COUNT)[0])

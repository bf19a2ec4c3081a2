"""HailoRT's detection buffers as libhailort writes them, byte for byte.

Boxes are y_min, x_min, y_max, x_max, normalised to the model's input and not clipped; everything is packed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hailod.simulator.networks.nms import Boxes
from hailod.types import U8

COUNT = np.dtype("<u2")
BBOX = np.dtype([("box", "<f4", (4,)), ("score", "<f4")])
DETECTION = np.dtype([("box", "<f4", (4,)), ("score", "<f4"), ("class_id", "<u2")])
"""One detection of an NMS_BY_SCORE buffer: 22 bytes."""

_MASKED = [("box", "<f4", (4,)), ("score", "<f4"), ("class_id", "<u2"), ("mask_size", "<u8"), ("mask", "<u8")]
MASKED_DETECTIONS = {"4.23": np.dtype(_MASKED), "5.2": np.dtype([*_MASKED, ("mask_offset", "<u8")])}
"""What precedes the mask of one detection of an NMS_WITH_BYTE_MASK buffer, by profile: 38 and 46 bytes.

`mask` is the address of the mask in the memory of the process, `mask_offset` its place in the buffer.
"""

MaskOf = Callable[[int, slice, slice], NDArray[np.bool_]]
"""Detection number, rows and columns of the picture to its mask there."""


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
    """The used bytes of an NMS_BY_SCORE buffer: the count as uint16, then packed `DETECTION`s."""
    records = np.empty(len(found.scores), DETECTION)
    records["box"], records["score"], records["class_id"] = found.boxes, found.scores, found.classes
    return np.frombuffer(len(records).to_bytes(2, "little") + records.tobytes(), np.uint8)


@dataclass(frozen=True, slots=True)
class MaskedLayout:
    """An NMS_WITH_BYTE_MASK buffer: `size` bytes, at most `max_total` detections of a picture (height, width)."""

    record: np.dtype[Any]
    size: int
    max_total: int
    picture: tuple[int, int]

    def pack(self, found: Boxes, mask_of: MaskOf) -> U8:
        """The used bytes; addresses are still zero.

        Beyond either limit the count names one detection more than was written, as libhailort's does.
        """
        packed = np.zeros(self.size, np.uint8)
        offset = COUNT.itemsize
        count = 0
        for index in range(len(found.scores)):
            count += 1
            if count > self.max_total:
                break
            box = found.boxes[index]
            size = self._side(box[3] - box[1], 1) * self._side(box[2] - box[0], 0)
            start = offset + self.record.itemsize
            if start + size >= self.size:
                break
            record = packed[offset:start].view(self.record)
            record["box"], record["score"], record["class_id"] = box, found.scores[index], found.classes[index]
            record["mask_size"] = size
            if "mask_offset" in (self.record.names or ()):
                record["mask_offset"] = start
            self._copy_mask(packed[start : start + size], box, mask_of, index)
            offset = start + size
        packed[: COUNT.itemsize] = np.frombuffer(count.to_bytes(2, "little"), np.uint8)
        return packed[:offset]

    def locate(self, used: U8) -> bool:
        """Write into each detection the address that its mask has in `used`; whether all of them had room."""
        count = min(int(used[: COUNT.itemsize].view(COUNT)[0]), self.max_total)
        offset = COUNT.itemsize
        for _ in range(count):
            if offset == used.size:
                return False
            start = offset + self.record.itemsize
            record = used[offset:start].view(self.record)
            record["mask"] = used.ctypes.data + start
            offset = start + int(record["mask_size"][0])
        return True

    def _copy_mask(self, target: U8, box: NDArray[np.float32], mask_of: MaskOf, index: int) -> None:
        # libhailort copies the last row and column of the box as well, and of a box that reaches beyond the picture
        # only the inner part, both in rows of the whole box's width: what follows overwrites, the rest is left over.
        top, bottom = self._edge(box[0], 0), self._edge(box[2], 0)
        left, right = self._edge(box[1], 1), self._edge(box[3], 1)
        width = self._side(box[3] - box[1], 1)
        inside = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
        height_limit, width_limit = self.picture
        rows, columns = slice(top, min(bottom + 1, height_limit)), slice(left, min(right + 1, width_limit))
        if rows.stop > rows.start and columns.stop > columns.start:
            inside[: rows.stop - top, : columns.stop - left] = mask_of(index, rows, columns)
        for row, pixels in enumerate(inside):
            start = row * width
            end = min(start + pixels.size, target.size)
            if end > start:
                target[start:end] = pixels[: end - start]

    def _side(self, extent: float, axis: int) -> int:
        return max(0, math.ceil(np.float32(extent) * np.float32(self.picture[axis])))

    def _edge(self, position: float, axis: int) -> int:
        return min(max(math.ceil(np.float32(position) * np.float32(self.picture[axis])), 0), self.picture[axis])

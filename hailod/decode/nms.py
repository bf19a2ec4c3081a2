"""Decoders of outputs on which HailoRT has run non-maximum suppression itself.

HailoRT writes boxes as y_min, x_min, y_max, x_max, normalised to the model's input and not clipped. Only what its
counts describe is valid; the rest of the buffer is left over from earlier frames.
"""

from __future__ import annotations

import struct
from array import array
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hailod.decode.base import FAR, MAX_SCORE, Tensors, output_of
from hailod.errors import DecodeError, ModelError
from hailod.models.manifest import Manifest
from hailod.types import Detections, ModelTensors, NmsShape, TensorInfo, TensorOrder

_RECORD = struct.Struct("<fffffH")
# score, class, x1, y1, x2, y2
_Found = tuple[float, int, float, float, float, float]
_score = itemgetter(0)


class NmsByClass:
    """HAILO_NMS_BY_CLASS: float32, for each class a count and then that many boxes of five numbers, without gaps."""

    EXPECTS = "one float32 output of order HAILO_NMS_BY_CLASS with classes * (1 + 5 * max_per_class) elements"

    def __init__(self, _manifest: Manifest, tensors: ModelTensors) -> None:
        output, shape = _nms_output(tensors, TensorOrder.NMS_BY_CLASS, self.EXPECTS)
        elements = shape.classes * (1 + 5 * shape.max_per_class)
        if output.dtype != "float32" or output.shape != (elements,):
            raise ModelError(f"expects {self.EXPECTS}; came {output.dtype} {output.shape} with {shape}")
        self._name = output.name
        self._elements = elements
        self.classes = shape.classes
        self._limit = shape.max_per_class

    def decode(self, tensors: Tensors, threshold: float) -> Detections:
        # A plain walk, which the counts need anyway: with the few boxes of a real scene NumPy takes twice the time.
        numbers = _floats(output_of(tensors, self._name), self._elements)
        found: list[_Found] = []
        offset = 0
        for class_id in range(self.classes):
            count = numbers[offset]
            offset += 1
            # NaN counts as true here and fails the comparison below.
            if count:
                if not (0 < count <= self._limit and count == int(count)):
                    raise DecodeError(f"class {class_id} claims {count} boxes; at most {self._limit} are possible")
                end = offset + 5 * int(count)
                while offset < end:
                    y1, x1, y2, x2, score = numbers[offset : offset + 5]
                    offset += 5
                    if not _possible(y1, x1, y2, x2, score):
                        raise DecodeError(f"class {class_id} has the box {y1, x1, y2, x2} with score {score}")
                    if score >= threshold:
                        found.append((min(score, 1.0), class_id, x1, y1, x2, y2))
        return _detections(found)


class NmsByScore:
    """HAILO_NMS_BY_SCORE: bytes, a uint16 count and then that many packed records of box, score and uint16 class."""

    EXPECTS = "one uint8 output of order HAILO_NMS_BY_SCORE with 2 + 22 * max_total bytes"

    def __init__(self, _manifest: Manifest, tensors: ModelTensors) -> None:
        output, shape = _nms_output(tensors, TensorOrder.NMS_BY_SCORE, self.EXPECTS)
        size = output.shape[0] if len(output.shape) == 1 else 0
        if output.dtype != "uint8" or size < 2 + _RECORD.size or (size - 2) % _RECORD.size:
            raise ModelError(f"expects {self.EXPECTS}; came {output.dtype} {output.shape}")
        self._name = output.name
        self._size = size
        self._capacity = (size - 2) // _RECORD.size
        self.classes = shape.classes

    def decode(self, tensors: Tensors, threshold: float) -> Detections:
        buffer = output_of(tensors, self._name)
        if buffer.dtype != np.uint8 or buffer.shape != (self._size,):
            raise DecodeError(f"{self._name}: expected {self._size} bytes, came {buffer.dtype} {buffer.shape}")
        count = int(buffer[0]) | int(buffer[1]) << 8
        # HailoRT may count one record more than its limit; the buffer has no room for that last and weakest one.
        if count > self._capacity + 1:
            raise DecodeError(f"{self._name}: claims {count} boxes; at most {self._capacity} are possible")
        found: list[_Found] = []
        records = _RECORD.iter_unpack(buffer[2 : 2 + min(count, self._capacity) * _RECORD.size].data)
        for y1, x1, y2, x2, score, class_id in records:
            if class_id >= self.classes or not _possible(y1, x1, y2, x2, score):
                raise DecodeError(f"class {class_id} of {self.classes} has the box {y1, x1, y2, x2} with score {score}")
            if score >= threshold:
                found.append((min(score, 1.0), class_id, x1, y1, x2, y2))
        return _detections(found)


def _possible(y1: float, x1: float, y2: float, x2: float, score: float) -> bool:
    """Whether a box has its corners in order and within reason, and a score; false for NaN."""
    return -FAR < y1 <= y2 < FAR and -FAR < x1 <= x2 < FAR and 0.0 <= score <= MAX_SCORE


def _detections(found: list[_Found]) -> Detections:
    if not found:
        return Detections.none()
    found.sort(key=_score, reverse=True)
    rows = np.frombuffer(array("f", chain.from_iterable(found)), np.float32).reshape(-1, 6)
    return Detections(rows[:, 2:], rows[:, 0], rows[:, 1].astype(np.int32))


def _nms_output(tensors: ModelTensors, order: TensorOrder, expects: str) -> tuple[TensorInfo, NmsShape]:
    if len(tensors.outputs) != 1 or tensors.outputs[0].order is not order:
        came = ", ".join(output.order for output in tensors.outputs) or "none"
        raise ModelError(f"expects {expects}; came {came}")
    output = tensors.outputs[0]
    if output.nms is None:
        raise ModelError(f"expects {expects}; came {output.name} without its number of classes")
    return output, output.nms


def _floats(buffer: NDArray[Any], elements: int) -> memoryview:
    """The buffer for reading number by number, which a memoryview does faster than an array."""
    if buffer.dtype != np.float32 or buffer.shape != (elements,) or not buffer.flags.c_contiguous:
        raise DecodeError(f"expected {elements} float32 numbers, came {buffer.dtype} {buffer.shape}")
    return buffer.data

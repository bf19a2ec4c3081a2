"""The settings of a network group's NMS, which any of its processes may change while it runs."""

from __future__ import annotations

import mmap
from dataclasses import replace

import numpy as np

from hailod.simulator.native import HailoRTStatusException
from hailod.simulator.networks.network import NmsSettings, nms_tensor
from hailod.types import TensorInfo, TensorOrder

INVALID_ARGUMENT = 2

HEADROOM = 4
"""How far above what was compiled the limits may be set: buffers are made for that much when it is configured."""


class SharedSettings:
    """As they are now, in shared memory: thresholds and limits. Made before a fork, seen on both sides."""

    def __init__(self, compiled: NmsSettings, output: TensorInfo) -> None:
        assert output.nms is not None
        self._compiled = compiled
        self._shape = output.nms
        self._values = np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), np.float64, 4)
        self._values[:] = (
            compiled.score_threshold,
            compiled.iou_threshold,
            compiled.max_per_class,
            output.nms.max_mask_bytes,
        )

    def read(self) -> NmsSettings:
        score, iou, per_class, _ = self._values.tolist()
        return replace(self._compiled, score_threshold=score, iou_threshold=iou, max_per_class=int(per_class))

    def apply(self, output: TensorInfo) -> TensorInfo:
        """The NMS output with the limits as they are now; any other output as it is."""
        return self._sized(output, int(self._values[2]), int(self._values[3]))

    def roomiest(self, output: TensorInfo) -> TensorInfo:
        """The NMS output with the highest limits that may be set; any other output as it is."""
        return self._sized(output, self._shape.max_per_class * HEADROOM, self._shape.max_mask_bytes * HEADROOM)

    def _sized(self, output: TensorInfo, per_class: int, mask_bytes: int) -> TensorInfo:
        if output.nms is None or output.order is TensorOrder.NMS_BY_SCORE:
            return output
        limits = replace(output.nms, max_per_class=per_class, max_mask_bytes=mask_bytes)
        return nms_tensor(output.name, output.order, limits, self._compiled.max_total, self._compiled.profile)

    def set_score_threshold(self, threshold: float) -> None:
        self._values[0] = threshold

    def set_iou_threshold(self, threshold: float) -> None:
        self._values[1] = threshold

    def set_max_per_class(self, limit: int) -> None:
        """INVALID_ARGUMENT beyond the headroom."""
        self._set(2, limit, self._shape.max_per_class)

    def set_max_mask_bytes(self, limit: int) -> None:
        """INVALID_ARGUMENT beyond the headroom."""
        self._set(3, limit, self._shape.max_mask_bytes)

    def _set(self, index: int, limit: int, compiled: int) -> None:
        if not 1 <= limit <= compiled * HEADROOM:
            raise HailoRTStatusException(INVALID_ARGUMENT)
        self._values[index] = limit

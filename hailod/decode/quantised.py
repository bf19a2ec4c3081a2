"""Channels of an output tensor, compared as they come and made real numbers only where it matters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hailod.decode.base import Tensors, output_of
from hailod.errors import DecodeError, ModelError
from hailod.types import F32, TensorInfo

_LARGEST = {"uint8": 255, "uint16": 65535}
# Thresholds come from settings and are few; a caller that makes them up must not fill memory.
_MAX_THRESHOLDS = 64


class Channels:
    """Some channels of some cells of one output, seen as (cells, channels).

    `depth` is the number of channels of the whole tensor, `channels` and `cells` what belongs here. Integers are
    real = (q - zero_point) * scale, with one pair for the tensor or one per channel; float32 numbers are real already.
    Raises ModelError for another type or an impossible quantisation.
    """

    def __init__(self, tensor: TensorInfo, depth: int, channels: slice, cells: slice = slice(None)) -> None:
        if tensor.dtype != "float32" and tensor.dtype not in _LARGEST:
            raise ModelError(f"output {tensor.name} is {tensor.dtype} (allowed: uint8, uint16, float32)")
        self.count = len(range(*channels.indices(depth)))
        self._tensor = tensor
        self._depth = depth
        self._channels = channels
        self._cells = cells
        self._dtype = np.dtype(tensor.dtype)
        self._largest = _LARGEST.get(tensor.dtype)
        self._scale = _per_channel(tensor, tensor.scale, depth)[channels]
        self._zero_point = _per_channel(tensor, tensor.zero_point, depth)[channels]
        if not (self._scale > 0).all():
            raise ModelError(f"output {tensor.name} has the scale {tensor.scale}; only scales above 0 are possible")
        self._minima: dict[float, int | NDArray[np.int64]] = {}

    @property
    def lowest(self) -> float:
        """The least real number that these channels can express."""
        return -np.inf if self._largest is None else float((-self._zero_point * self._scale).min())

    def read(self, tensors: Tensors) -> NDArray[Any]:
        """These channels as they lie in the slot: a view of (cells, channels)."""
        values = output_of(tensors, self._tensor.name)
        if values.dtype != self._dtype or values.shape != self._tensor.shape:
            raise DecodeError(
                f"{self._tensor.name}: expected {self._tensor.dtype} {self._tensor.shape}, "
                f"came {values.dtype} {values.shape}"
            )
        return values.reshape(-1, self._depth)[self._cells, self._channels]

    def at_least(self, values: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
        """Which of `values` (any rows, all channels) reach `threshold`. DecodeError where one is not finite."""
        if self._largest is None:
            if not np.isfinite(values).all():
                raise DecodeError(f"{self._tensor.name}: numbers that are not finite")
            return values >= np.float32(threshold)
        minimum = self._minima.get(threshold)
        if minimum is None:
            if len(self._minima) >= _MAX_THRESHOLDS:
                self._minima.clear()
            minimum = self._minima[threshold] = self._quantised_minimum(threshold)
        result: NDArray[np.bool_] = values >= minimum
        return result

    def real(self, values: NDArray[Any], channel: NDArray[np.intp] | None = None) -> F32:
        """The real numbers behind `values`: of all channels, or each of the channel that `channel` gives for it."""
        if self._largest is None:
            return values.astype(np.float32)
        scale, zero_point = self._scale, self._zero_point
        if channel is not None:
            scale, zero_point = scale[channel], zero_point[channel]
        real: F32 = (values.astype(np.float32) - zero_point) * scale
        return real

    def _quantised_minimum(self, threshold: float) -> int | NDArray[np.int64]:
        """The least q of each channel, up to one beyond the largest, whose real number reaches the threshold."""
        assert self._largest is not None
        limit = np.float32(threshold)
        # The estimate is off by one at most, where float32 rounds; the exact rule decides among its neighbours.
        estimate = np.ceil(threshold / self._scale.astype(np.float64) + self._zero_point).astype(np.int64)
        around = estimate + np.array([[-1], [0], [1]])
        reaches = (around.astype(np.float32) - self._zero_point) * self._scale >= limit
        minima = np.clip(np.where(reaches.any(0), estimate - 1 + reaches.argmax(0), estimate + 2), 0, self._largest + 1)
        return int(minima[0]) if (minima == minima[0]).all() else minima


def _per_channel(tensor: TensorInfo, numbers: tuple[float, ...], depth: int) -> F32:
    if len(numbers) not in (1, depth) or not np.isfinite(numbers).all():
        raise ModelError(f"output {tensor.name} has the quantisation {numbers} for {depth} channels")
    return np.broadcast_to(np.array(numbers, np.float32), (depth,))

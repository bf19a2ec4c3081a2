"""How a graph's float outputs are cut and quantised into the raw heads that a HEF of it would have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hailod.errors import ModelError
from hailod.models.manifest import SimulatorManifest
from hailod.simulator import nms
from hailod.simulator.nms import Boxes, Quantisation, Quantised, YoloxHead
from hailod.types import TensorInfo, TensorOrder

YOLOX_PARTS = ("reg", "obj", "cls")


class Heads(ABC):
    """The raw outputs of a model: what they are, and how they come from the graph's."""

    tensors: tuple[TensorInfo, ...]

    @abstractmethod
    def split(self, results: Sequence[NDArray[Any]]) -> list[Quantised]:
        """The graph's outputs, batch of one, as arrays of the shapes and dtypes of `tensors`."""

    def detect(self, tensors: Sequence[Quantised], threshold: float) -> Boxes:
        """What a host-side NMS operator finds in the heads before suppression."""
        raise ModelError("this model has no detection meta-architecture")


class YoloxHeads(Heads):
    """reg, obj, cls per stride, of a graph that gives them as one (cells, 5 + classes), undecoded, scores sigmoided.

    The ranges are known without calibration: scores are 0..1; centres lie within a few cells; sizes are logarithms of
    cells, from well below one to the whole picture.
    """

    def __init__(self, name: str, size: tuple[int, int], manifest: SimulatorManifest) -> None:
        self._dtype = np.dtype(manifest.quantisation)
        self._classes = manifest.classes
        top = np.iinfo(self._dtype).max
        self._score = Quantisation(1 / top, 0.0)
        self._grids = [(size[0] // stride, size[1] // stride) for stride in manifest.strides]
        self._regs = [_spanning(-3.0, max(3.5, float(np.log(max(grid))) + 0.25), top) for grid in self._grids]
        self.tensors = tuple(
            _tensor(f"{name}/{part}{stride}", (*grid, channels), self._dtype, quant)
            for stride, grid, reg in zip(manifest.strides, self._grids, self._regs, strict=True)
            for part, channels, quant in zip(
                YOLOX_PARTS, (4, 1, manifest.classes), (reg, self._score, self._score), strict=True
            )
        )

    def split(self, results: Sequence[NDArray[Any]]) -> list[Quantised]:
        rows = results[0][0]
        cells = sum(height * width for height, width in self._grids)
        if len(results) != 1 or rows.shape != (cells, 5 + self._classes):
            raise ModelError(f"YOLOX: expected one output (1, {cells}, {5 + self._classes}), got {results[0].shape}")
        heads: list[Quantised] = []
        offset = 0
        for (height, width), reg in zip(self._grids, self._regs, strict=True):
            grid = rows[offset : offset + height * width].reshape(height, width, -1)
            offset += height * width
            heads.append(reg.quantise(grid[..., :4], self._dtype))
            heads.append(self._score.quantise(grid[..., 4:5], self._dtype))
            heads.append(self._score.quantise(grid[..., 5:], self._dtype))
        return heads

    def detect(self, tensors: Sequence[Quantised], threshold: float) -> Boxes:
        per_stride = zip(tensors[0::3], tensors[1::3], tensors[2::3], self._regs, strict=True)
        return nms.decode_yolox(
            [YoloxHead(reg, obj, cls, quant, self._score, self._score) for reg, obj, cls, quant in per_stride],
            threshold,
        )


class RawHeads(Heads):
    """Each output of a graph as it is: floats quantised to the range seen in calibration, integers taken as they come.

    (1, c) is NC, (1, c, h, w) and (1, h, w, c) are NHWC, (1, n, c) of floats is NHWC of one row, an integer
    (1, h, w) is a label map, NHW.
    """

    def __init__(self, name: str, answers: Sequence[Sequence[NDArray[Any]]], planar: bool, quantisation: str) -> None:
        self._planar = planar
        self._dtype = np.dtype(quantisation)
        self._quants: list[Quantisation | None] = []
        tensors = []
        for index, seen in enumerate(zip(*answers, strict=True)):
            head = self._lay(seen[0])
            floating = head.dtype.kind == "f"
            quant = self._calibrated(seen) if floating else None
            self._quants.append(quant)
            # Bytes that never add up to more than 256 are a quantised softmax.
            softmax = head.dtype == np.uint8 and head.ndim == 1 and all(int(values.sum()) <= 260 for values in seen)
            scale = Quantisation(1 / 256, 0.0) if softmax else Quantisation(1.0, 0.0)
            dtype = head.dtype if head.dtype == np.uint8 else self._dtype
            tensors.append(_tensor(f"{name}/output{index + 1}", head.shape, dtype, quant or scale))
        self.tensors = tuple(tensors)

    def split(self, results: Sequence[NDArray[Any]]) -> list[Quantised]:
        return [
            self._lay(result).astype(tensor.dtype) if quant is None else quant.quantise(self._lay(result), self._dtype)
            for result, quant, tensor in zip(results, self._quants, self.tensors, strict=True)
        ]

    def _lay(self, result: NDArray[Any]) -> NDArray[Any]:
        if result.ndim not in (2, 3, 4) or result.shape[0] != 1:
            raise ModelError(f"an output of shape {result.shape} has no counterpart in a HEF")
        head: NDArray[Any] = result[0]
        if result.ndim == 3 and result.dtype.kind == "f":
            return result
        return head.transpose(1, 2, 0) if result.ndim == 4 and self._planar else head

    def _calibrated(self, seen: Sequence[NDArray[Any]]) -> Quantisation:
        low = min(0.0, *(float(values.min()) for values in seen))
        high = max(0.0, *(float(values.max()) for values in seen))
        margin = 0.1 * (high - low) or 1.0
        # A range that ends at zero or at one is that of an activation and needs no margin.
        low = low - margin if low < 0 else 0.0
        high = 1.0 if low >= 0.0 and 0.5 < high <= 1.0 else high + margin
        return _spanning(low, high, np.iinfo(self._dtype).max)


def _spanning(low: float, high: float, top: int) -> Quantisation:
    """The quantisation that spans low..high and has an integer zero point."""
    scale = float(np.float32((high - low) / top))
    return Quantisation(scale, float(round(-low / scale)))


def _tensor(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], quant: Quantisation) -> TensorInfo:
    order = {1: TensorOrder.NC, 2: TensorOrder.NHW, 3: TensorOrder.NHWC}[len(shape)]
    nbytes = int(np.prod(shape)) * dtype.itemsize
    return TensorInfo(name, shape, dtype.name, order, nbytes, (quant.scale,), (quant.zero_point,))

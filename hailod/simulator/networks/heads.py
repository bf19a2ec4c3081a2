"""How a graph's float outputs are cut and quantised into the raw heads that a HEF of it would have."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hailod.errors import ModelError
from hailod.models.manifest import SimulatorManifest
from hailod.simulator.networks import operators
from hailod.simulator.networks.nms import Boxes, Quantisation, Quantised
from hailod.simulator.networks.operators import MASK_COEFFICIENTS, Head, Prototypes
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

    def prototypes(self, tensors: Sequence[Quantised]) -> Prototypes | None:
        """What masks are made of; None where the operator makes none."""
        return None


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
        return operators.decode_yolox(
            [(Head(reg, quant), Head(obj, self._score), Head(cls, self._score)) for reg, obj, cls, quant in per_stride],
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

    def _find(self, grid: tuple[int, int], fits: Callable[[int], bool], wanted: str, but: int | None = None) -> int:
        """The output on a grid with a fitting number of channels."""
        for index, tensor in enumerate(self.tensors):
            if index != but and len(tensor.shape) == 3 and tensor.shape[:2] == grid and fits(tensor.shape[2]):
                return index
        raise ModelError(f"expected an output {grid[0]} x {grid[1]} of {wanted}, got {self._shapes()}")

    def _head(self, tensors: Sequence[Quantised], index: int) -> Head:
        info = self.tensors[index]
        return Head(tensors[index], Quantisation(info.scale[0], info.zero_point[0]))

    def _shapes(self) -> str:
        return ", ".join(" x ".join(map(str, tensor.shape)) for tensor in self.tensors)

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


class Yolov8Heads(RawHeads):
    """Per stride a distance head (4 x bins logits) and a class head, as two outputs of the graph in any order."""

    def __init__(
        self, name: str, answers: Sequence[Sequence[NDArray[Any]]], planar: bool, size: tuple[int, int],
        manifest: SimulatorManifest,
    ) -> None:  # fmt: skip
        super().__init__(name, answers, planar, manifest.quantisation)
        self._size = size
        self._strides = manifest.strides
        self._pairs = []
        for stride in manifest.strides:
            grid = (size[0] // stride, size[1] // stride)
            cls = self._find(grid, partial(operator.eq, manifest.classes), f"{manifest.classes} classes")
            reg = self._find(grid, lambda channels: channels % 4 == 0, "4 x bins distances", but=cls)
            self._pairs.append((reg, cls))

    def detect(self, tensors: Sequence[Quantised], threshold: float) -> Boxes:
        heads = [(self._head(tensors, reg), self._head(tensors, cls)) for reg, cls in self._pairs]
        return operators.decode_yolov8(heads, self._strides, self._size, threshold)


class Yolov5Heads(RawHeads):
    """Per stride one head of anchors; with masks, logits and 32 coefficients to each, and a tensor of prototypes."""

    def __init__(
        self, name: str, answers: Sequence[Sequence[NDArray[Any]]], planar: bool, size: tuple[int, int],
        manifest: SimulatorManifest,
    ) -> None:  # fmt: skip
        super().__init__(name, answers, planar, manifest.quantisation)
        self._size = size
        self._manifest = manifest
        if len(manifest.anchors) != len(manifest.strides):
            raise ModelError(f"expected anchors for each of the strides {manifest.strides}, got {manifest.anchors}")
        self._masks = manifest.meta_arch == "yolov5_seg"
        entry = 5 + manifest.classes + (MASK_COEFFICIENTS if self._masks else 0)
        self._order = []
        for stride, pairs in zip(manifest.strides, manifest.anchors, strict=True):
            wanted = entry * (len(pairs) // 2)
            grid = (size[0] // stride, size[1] // stride)
            self._order.append(self._find(grid, partial(operator.eq, wanted), f"{wanted} values"))
        rest = [index for index in range(len(self.tensors)) if index not in self._order]
        if self._masks and [self.tensors[index].shape[-1] for index in rest] != [MASK_COEFFICIENTS]:
            raise ModelError(f"expected one output of {MASK_COEFFICIENTS} prototypes, got {self._shapes()}")
        self._proto = rest[0] if self._masks else None

    def detect(self, tensors: Sequence[Quantised], threshold: float) -> Boxes:
        heads = [self._head(tensors, index) for index in self._order]
        manifest = self._manifest
        return operators.decode_yolov5(
            heads, manifest.anchors, self._size, manifest.classes, threshold, masks=self._masks
        )

    def prototypes(self, tensors: Sequence[Quantised]) -> Prototypes | None:
        if self._proto is None:
            return None
        return Prototypes(self._head(tensors, self._proto).real(), self._size, self._manifest.mask_threshold)


def _spanning(low: float, high: float, top: int) -> Quantisation:
    """The quantisation that spans low..high and has an integer zero point."""
    scale = float(np.float32((high - low) / top))
    return Quantisation(scale, float(round(-low / scale)))


def _tensor(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], quant: Quantisation) -> TensorInfo:
    order = {1: TensorOrder.NC, 2: TensorOrder.NHW, 3: TensorOrder.NHWC}[len(shape)]
    nbytes = int(np.prod(shape)) * dtype.itemsize
    return TensorInfo(name, shape, dtype.name, order, nbytes, (quant.scale,), (quant.zero_point,))

"""The raw heads of YOLOX: per cell a box as x, y, log w, log h in cells, an objectness, and a score for each class.

Objectness and classes have been through their sigmoid in the graph. A cell may show several classes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from hailod.decode.base import FAR, MAX_SCORE, Tensors
from hailod.decode.quantised import Channels
from hailod.decode.suppression import suppress
from hailod.errors import DecodeError, ModelError
from hailod.models.manifest import Manifest
from hailod.types import F32, I32, Detections, ModelTensors, TensorInfo, TensorOrder

_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
_BOX = 4
# Suppression takes time by the square; a real scene offers a few hundred, noise offers hundreds of thousands.
_MAX_CANDIDATES = 2048
# Scores that were quantised are never much below 0; box offsets can be.
_MIN_SCORE = -0.05


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """One grid of cells, with the tensors or parts of tensors that describe them."""

    columns: int
    rows: int
    box: Channels
    objectness: Channels
    classes: Channels


class Yolox:
    """YOLOX heads per stride, in separate tensors or one, or of all strides in one tensor; quantised or float32.

    Tensors are told apart by their shapes. Of more than 2048 candidates only the best take part in the suppression.
    """

    EXPECTS = (
        "for each stride (h, w, 4), (h, w, 1) and (h, w, classes), or one (h, w, 5 + classes), "
        "or one (cells, 5 + classes) for strides 8, 16, 32; uint8, uint16 or float32"
    )

    def __init__(self, manifest: Manifest, tensors: ModelTensors) -> None:
        self._iou = manifest.nms_iou
        self._max_per_class = manifest.nms_max_per_class
        self._levels = _levels(tensors)
        counts = {level.classes.count for level in self._levels}
        if len(counts) != 1:
            raise ModelError(f"expects {self.EXPECTS}; came different numbers of classes: {sorted(counts)}")
        (self.classes,) = counts

    def decode(self, tensors: Tensors, threshold: float) -> Detections:
        found = [part for level in self._levels if (part := _candidates(level, tensors, threshold)) is not None]
        if not found:
            return Detections.none()
        boxes, scores, classes = (np.concatenate(parts) for parts in zip(*found, strict=True))
        if len(scores) > _MAX_CANDIDATES:
            best = np.argpartition(-scores, _MAX_CANDIDATES)[:_MAX_CANDIDATES]
            boxes, scores, classes = boxes[best], scores[best], classes[best]
        kept = suppress(boxes, scores, classes, iou=self._iou, max_per_class=self._max_per_class)
        return Detections(boxes[kept], np.minimum(scores[kept], np.float32(1.0)), classes[kept])


def _candidates(level: _Level, tensors: Tensors, threshold: float) -> tuple[F32, F32, I32] | None:
    """Boxes, scores and classes of one grid that reach the threshold, before any suppression; None if none does."""
    objectness = level.objectness.read(tensors)
    # No class scores more than 1, so neither does a cell score more than its objectness.
    cells = level.objectness.at_least(objectness, threshold)[:, 0].nonzero()[0]
    if not cells.size:
        return None
    certainty = level.objectness.real(objectness[cells])[:, 0]
    classes = level.classes.read(tensors)[cells]
    which, labels = level.classes.at_least(classes, threshold).nonzero()
    likelihood = level.classes.real(classes[which, labels], labels)
    if max(certainty.max(initial=0.0), likelihood.max(initial=0.0)) > MAX_SCORE:
        raise DecodeError("objectness or class scores above 1: the graph lacks its sigmoid")
    scores = certainty[which] * likelihood
    reached = scores >= np.float32(threshold)
    which, labels, scores = which[reached], labels[reached], scores[reached]
    cells = cells[which]
    box = level.box.real(level.box.read(tensors)[cells])
    grid = np.array([level.columns, level.rows], np.float32)
    corner = np.column_stack((cells % level.columns, cells // level.columns)).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        centre = (corner + box[:, :2]) / grid
        half = np.exp(box[:, 2:]) / (2 * grid)
        boxes: F32 = np.concatenate((centre - half, centre + half), axis=1)
    # False for NaN too.
    if not (np.abs(boxes) < FAR).all():
        raise DecodeError("a box far outside the picture, or none at all")
    return boxes, scores, labels.astype(np.int32)


def _levels(tensors: ModelTensors) -> list[_Level]:
    """The grids of a model, found by the shapes of its outputs; ModelError where they are no YOLOX heads."""
    if len(tensors.outputs) == 1:
        level = _concatenated(tensors)
        if level is not None:
            return level
    grids: defaultdict[tuple[int, int], list[TensorInfo]] = defaultdict(list)
    for output in tensors.outputs:
        rows, columns, _ = _grid_shape(output)
        grids[rows, columns].append(output)
    if not grids:
        raise ModelError(f"expects {Yolox.EXPECTS}; came no output")
    return [_level(rows, columns, outputs) for (rows, columns), outputs in sorted(grids.items(), reverse=True)]


def _level(rows: int, columns: int, outputs: list[TensorInfo]) -> _Level:
    depths = [_grid_shape(output)[2] for output in outputs]
    if len(outputs) == 1 and depths[0] > _BOX + 1:
        return _packed(outputs[0], depths[0], rows, columns, slice(None))
    whole = [Channels(output, depth, slice(None)) for output, depth in zip(outputs, depths, strict=True)]
    if len(outputs) == 3:
        boxes = [i for i, depth in enumerate(depths) if depth == _BOX]
        # With four classes their tensor has a box's shape; what it can express tells them apart.
        if len(boxes) == 2:
            boxes = [i for i in boxes if whole[i].lowest < _MIN_SCORE]
        ones = [i for i, depth in enumerate(depths) if depth == 1]
        if len(boxes) == 1 and ones:
            box, objectness = boxes[0], ones[0]
            (classes,) = {0, 1, 2} - {box, objectness}
            return _Level(columns, rows, whole[box], whole[objectness], whole[classes])
    came = ", ".join(str(output.shape) for output in outputs)
    raise ModelError(f"expects {Yolox.EXPECTS}; came {came}, in which box, objectness and classes cannot be told")


def _packed(output: TensorInfo, depth: int, rows: int, columns: int, cells: slice) -> _Level:
    box, objectness, classes = slice(0, _BOX), slice(_BOX, _BOX + 1), slice(_BOX + 1, depth)
    parts = (Channels(output, depth, part, cells) for part in (box, objectness, classes))
    return _Level(columns, rows, *parts)


def _concatenated(tensors: ModelTensors) -> list[_Level] | None:
    """The grids of one (cells, 5 + classes) tensor, or None where its shape is not that."""
    (output,) = tensors.outputs
    shape = tuple(side for side in output.shape if side != 1)
    if len(shape) != 2 or shape[1] <= _BOX + 1 or not tensors.inputs or len(tensors.inputs[0].shape) != 3:
        return None
    height, width, _ = tensors.inputs[0].shape
    for strides in _STRIDES:
        grids = [(height // stride, width // stride) for stride in strides]
        if sum(rows * columns for rows, columns in grids) == shape[0]:
            levels, start = [], 0
            for rows, columns in grids:
                levels.append(_packed(output, shape[1], rows, columns, slice(start, start + rows * columns)))
                start += rows * columns
            return levels
    return None


def _grid_shape(output: TensorInfo) -> tuple[int, int, int]:
    """Rows, columns and channels of a map; HailoRT may present one of a single channel as (rows, columns)."""
    shape = output.shape if len(output.shape) != 2 else (*output.shape, 1)
    if output.order not in (TensorOrder.NHWC, TensorOrder.NHW) or len(shape) != 3:
        raise ModelError(f"expects {Yolox.EXPECTS}; came {output.order} {output.shape}")
    rows, columns, channels = shape
    return rows, columns, channels

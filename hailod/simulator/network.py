"""What a simulated model is: its tensors as a HEF would give them, its cost, and how a frame becomes output bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hailod.simulator import nms, presets
from hailod.simulator.nms import Boxes
from hailod.types import U8, NmsShape, TensorInfo, TensorOrder

Program = Callable[[U8], Sequence[U8]]
"""One frame through a configured model: the input's bytes in, for each output the bytes that are used of its buffer."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Service time of a batch of n frames: `switch + n * frame` seconds."""

    switch: float = 0.0
    frame: float = 0.0


@dataclass(frozen=True, slots=True)
class NmsSettings:
    """What the host-side NMS of a model is configured to."""

    score_threshold: float
    iou_threshold: float
    max_per_class: int


@dataclass(frozen=True, slots=True)
class HefInfo:
    """What is known of a model before it is configured. `arch` is the chip that it was compiled for, None for any."""

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    timing: Timing = Timing()
    multi_context: bool = False
    arch: str | None = None
    nms: NmsSettings | None = None


class Network(ABC):
    """A loaded model."""

    info: HefInfo

    @abstractmethod
    def compile(
        self, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], settings: NmsSettings | None
    ) -> Program:
        """The program for the formats the user chose, which may differ from `info` in dtype and in order of NMS."""


def nms_tensor(name: str, order: TensorOrder, limits: NmsShape) -> TensorInfo:
    """An NMS output in one of HailoRT's two detection layouts."""
    if order is TensorOrder.NMS_BY_CLASS:
        elements = limits.classes * (1 + 5 * limits.max_per_class)
        return TensorInfo(name, (elements,), "float32", order, elements * 4, nms=limits)
    size = 2 + limits.classes * limits.max_per_class * nms.RECORD.itemsize
    return TensorInfo(name, (size,), "uint8", order, size, nms=limits)


def pack(found: Boxes, output: TensorInfo) -> U8:
    """Detections as the bytes of an NMS output."""
    assert output.nms is not None
    if output.order is TensorOrder.NMS_BY_CLASS:
        return nms.pack_by_class(found, output.nms.classes)
    return nms.pack_by_score(found)


def suppressed(found: Boxes, settings: NmsSettings) -> Boxes:
    """What the configured NMS leaves of `found`."""
    return nms.suppress(found, settings.iou_threshold, settings.max_per_class)


def cost(stem: str, arch: str, *, preset: str | None, switch_ms: float | None, frame_ms: float | None) -> HefInfo:
    """Timing, contexts and chip of a model: its own figures, else its preset, else the published ones of its name.

    With none of them the service time is zero. ModelError when the preset does not exist.
    """
    timed = presets.preset(preset) if preset is not None else None
    if timed is None and switch_ms is None and frame_ms is None:
        timed = presets.find(stem, arch)
    if switch_ms is not None or frame_ms is not None or timed is None:
        own = Timing((switch_ms or 0.0) / 1000, (frame_ms or 0.0) / 1000)
        return HefInfo(stem, (), (), own, multi_context=own.switch > 0, arch=timed.chip if timed else None)
    timing = Timing(timed.switch_ms / 1000, timed.frame_ms / 1000)
    return HefInfo(stem, (), (), timing, timed.multi_context, timed.chip)


class ScriptedNetwork(Network):
    """A timing-only model: whatever the picture, it sees what the script says. Nothing is computed per frame."""

    def __init__(self, info: HefInfo, script: Boxes) -> None:
        self.info = info
        self._script = script

    def compile(
        self, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], settings: NmsSettings | None
    ) -> Program:
        assert settings is not None
        seen = self._script.scores >= np.float32(settings.score_threshold)
        boxes = Boxes(self._script.boxes[seen], self._script.scores[seen], self._script.classes[seen])
        # The script is what the device reports after its NMS; an IoU of 2 suppresses nothing.
        kept = nms.suppress(boxes, 2.0, settings.max_per_class)
        results = tuple(pack(kept, output) for output in outputs)
        return lambda _: results

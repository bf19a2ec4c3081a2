"""Models that compute nothing: their tensors are given, what they see is scripted or random, and always valid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hailod.models.manifest import ScriptedBox
from hailod.simulator.networks.network import HefInfo, Network, NmsSettings, Program, write_detections
from hailod.simulator.networks.nms import Boxes, Quantisation
from hailod.types import U8, NmsShape, TensorInfo

Scene = Callable[[int], Boxes]
"""What a model sees in its n-th frame since it was configured, counted from 0: boxes best first, normalised."""

Scenes = Mapping[str, Scene]
EMPTY: Scenes = MappingProxyType({})

RANDOM_FRAMES = 64
"""Random outputs repeat after so many frames."""
RANDOM_STEP = 97
RANDOM_BOXES = 8


class ScriptedNetwork(Network):
    """A network group of known tensors. NMS outputs show the scene; raw outputs are seeded random numbers.

    `scenes`, by name of the group, has the last word, and may change at any time.
    """

    def __init__(self, info: HefInfo, scene: Scene, seed: int = 0, scenes: Scenes = EMPTY) -> None:
        self.info = info
        self._scene = scene
        self._seed = seed
        self._scenes = scenes

    def compile(
        self, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], settings: NmsSettings | None
    ) -> Program:
        frames = itertools.count()
        picture = _picture(inputs)
        writers = [
            self._detections(output, settings, picture) if output.nms is not None else self._numbers(index, output)
            for index, output in enumerate(outputs)
        ]

        def run(_: Sequence[U8]) -> Sequence[U8]:
            frame = next(frames)
            return [write(frame) for write in writers]

        return run

    def _detections(
        self, output: TensorInfo, settings: NmsSettings | None, picture: tuple[int, int]
    ) -> Callable[[int], U8]:
        assert output.nms is not None
        # The core's own NMS has its threshold and limits compiled in.
        chosen = settings or built_in(output.nms)

        # Scenes mostly repeat: what was written once is not computed again.
        @lru_cache(maxsize=RANDOM_FRAMES)
        def written(found: Boxes) -> U8:
            seen = found[found.scores >= np.float32(chosen.score_threshold)]
            return write_detections(seen, output, chosen, picture, ellipses(seen, picture))

        return lambda frame: written(self._scenes.get(self.info.name, self._scene)(frame))

    def _numbers(self, index: int, output: TensorInfo) -> Callable[[int], U8]:
        """Each frame is another part of one stretch of random numbers, so that no frame costs anything."""
        compiled = self.info.outputs[index]
        wide = compiled.dtype == "uint16"
        random, size = np.random.default_rng((self._seed, index)), math.prod(compiled.shape)
        stretch = random.integers(
            0,
            0xFFFF if wide else 0xFF,
            size + RANDOM_FRAMES * RANDOM_STEP,
            np.uint16 if wide else np.uint8,
            endpoint=True,
        )

        def numbers(frame: int) -> U8:
            start = frame % RANDOM_FRAMES * RANDOM_STEP
            values: NDArray[np.generic] = stretch[start : start + size]
            if output.dtype == "float32":
                values = dequantised(values.reshape(compiled.shape), compiled).reshape(-1)
            return values.view(np.uint8)

        return numbers


def built_in(limits: NmsShape) -> NmsSettings:
    """The settings of an NMS that the host cannot change."""
    return NmsSettings(0.0, 1.0, limits.max_per_class, limits.classes * limits.max_per_class)


def dequantised(values: NDArray[np.generic], compiled: TensorInfo) -> NDArray[np.float32]:
    """Real values of a tensor with one quantisation, or with one per feature."""
    if len(compiled.scale) == 1:
        return Quantisation(compiled.scale[0], compiled.zero_point[0]).dequantise(values)
    zero, scale = np.array(compiled.zero_point, np.float32), np.array(compiled.scale, np.float32)
    real: NDArray[np.float32] = (values.astype(np.float32) - zero) * scale
    return real


def script(detections: Sequence[ScriptedBox]) -> Scene:
    """The scene of a manifest's detections."""

    @lru_cache(maxsize=RANDOM_FRAMES)
    def scene(frame: int) -> Boxes:
        now = [box for box in detections if box.first <= frame and (box.last is None or frame <= box.last)]
        return Boxes.best_first(
            [_corners(box, frame) for box in now], [box.score for box in now], [box.class_id for box in now]
        )

    if all(box.last is None and box.first == 0 for box in detections):
        always = scene(0)
        return lambda _: always
    return scene


def random_scene(limits: NmsShape, seed: int) -> Scene:
    """A few boxes per frame within the limits and the picture, every score different."""

    @lru_cache(maxsize=RANDOM_FRAMES)
    def scene(frame: int) -> Boxes:
        random = np.random.default_rng((seed, frame))
        count = int(random.integers(0, min(RANDOM_BOXES, limits.max_per_class), endpoint=True))
        corners = np.sort(random.random((count, 2, 2), np.float32), axis=1).reshape(count, 4)
        scores = np.sort(random.random(count, np.float32))[::-1] * np.float32(0.6) + np.float32(0.4)
        return Boxes.best_first(corners, scores, random.integers(0, limits.classes, count))

    return lambda frame: scene(frame % RANDOM_FRAMES)


def ellipses(found: Boxes, picture: tuple[int, int]) -> Callable[[int, slice, slice], NDArray[np.bool_]]:
    """Masks of objects that nobody computed: the ellipse within each box."""

    def mask(index: int, rows: slice, columns: slice) -> NDArray[np.bool_]:
        top, left, bottom, right = found.boxes[index] * np.array([*picture, *picture], np.float32)
        y = (np.arange(rows.start, rows.stop) + 0.5 - (top + bottom) / 2) / max(1e-6, (bottom - top) / 2)
        x = (np.arange(columns.start, columns.stop) + 0.5 - (left + right) / 2) / max(1e-6, (right - left) / 2)
        inside: NDArray[np.bool_] = np.square(y)[:, None] + np.square(x)[None, :] <= 1.0
        return inside

    return mask


def _corners(box: ScriptedBox, frame: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = box.box
    if box.to is not None and box.last is not None and box.last > box.first:
        share = (frame - box.first) / (box.last - box.first)
        left, top, right, bottom = (start + share * (end - start) for start, end in zip(box.box, box.to, strict=True))
    return top, left, bottom, right


def _picture(inputs: Sequence[TensorInfo]) -> tuple[int, int]:
    """Height and width that masks are drawn in: those of the first input."""
    shape = inputs[0].shape if inputs else ()
    return (shape[0], shape[1]) if len(shape) >= 2 else (1, 1)

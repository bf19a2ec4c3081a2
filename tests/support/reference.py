"""What YOLOX says of a picture, computed the plainest way there is: what the daemon does faster is compared to this.

Nothing here is shared with `hailod`: the whole frame becomes BGR before it is resized, the graph runs in float32, and
its rows are decoded one by one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

STRIDES = (8, 16, 32)
PAD = 114
NMS_IOU = 0.65


@dataclass(frozen=True, slots=True)
class Thing:
    """Something seen: `box` is x1, y1, x2, y2 in 0..1 of the frame."""

    label: str
    score: float
    box: tuple[float, float, float, float]


def iou(a: Thing, b: Thing) -> float:
    """The overlap of two boxes as a share of what they cover together."""
    width = max(0.0, min(a.box[2], b.box[2]) - max(a.box[0], b.box[0]))
    height = max(0.0, min(a.box[3], b.box[3]) - max(a.box[1], b.box[1]))
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a.box, b.box))
    together = sum(areas) - width * height
    return width * height / together if together > 0 else 0.0


def bgr_of(frame: VideoFrame) -> NDArray[np.uint8]:
    """The whole frame as FFmpeg converts it."""
    return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


def frames_of(clip: Path) -> Iterator[VideoFrame]:
    """The frames of a clip in the order in which they are shown."""
    with av.open(str(clip)) as container:
        yield from container.decode(video=0)


class Reference:
    """A YOLOX graph that wants BGR of 0..255 and answers rows of x, y, log w, log h, objectness, classes."""

    def __init__(self, model: Path, labels: Sequence[str]) -> None:
        # Read when the library is loaded: it is not to send telemetry, nor to keep a thread for it.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._side: int = self._session.get_inputs()[0].shape[2]
        self._labels = labels

    @property
    def side(self) -> int:
        """The graph takes a square of this side."""
        return self._side

    def letterbox(self, bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The whole frame, resized into the top left corner of a grey square."""
        scale = self._scale(bgr.shape[1], bgr.shape[0])
        small = cv2.resize(bgr, (int(bgr.shape[1] * scale), int(bgr.shape[0] * scale)))
        square = np.full((self._side, self._side, 3), PAD, np.uint8)
        square[: small.shape[0], : small.shape[1]] = small
        return square

    def see(self, square: NDArray[np.uint8], width: int, height: int, threshold: float) -> list[Thing]:
        """What is in a letterboxed BGR square, as boxes of the frame of `width` x `height` that was laid into it."""
        return suppressed(self.candidates(square, width, height, threshold))

    def candidates(self, square: NDArray[np.uint8], width: int, height: int, threshold: float) -> list[Thing]:
        """The same before suppression: what every cell says, with boxes that may reach beyond the frame."""
        picture = np.ascontiguousarray(square.transpose(2, 0, 1)[None], np.float32)
        rows = self._session.run(None, {self._input: picture})[0][0]
        scale = self._scale(width, height)
        found = []
        for row, (column, line, stride) in zip(rows, self._cells(), strict=True):
            if row[4] < threshold:
                continue
            x, y = (row[0] + column) * stride / scale / width, (row[1] + line) * stride / scale / height
            w, h = math.exp(row[2]) * stride / scale / width, math.exp(row[3]) * stride / scale / height
            for index in np.flatnonzero(row[5:] * row[4] >= threshold):
                score = float(row[4] * row[5 + index])
                box = float(x - w / 2), float(y - h / 2), float(x + w / 2), float(y + h / 2)
                found.append(Thing(self._labels[int(index)], score, box))
        return found

    def _cells(self) -> Iterator[tuple[int, int, int]]:
        for stride in STRIDES:
            for line in range(self._side // stride):
                for column in range(self._side // stride):
                    yield column, line, stride

    def _scale(self, width: int, height: int) -> float:
        return min(self._side / width, self._side / height)


def suppressed(things: list[Thing]) -> list[Thing]:
    """Of things of one label that overlap much, the one with the best score; as far as they lie in the frame."""
    kept: list[Thing] = []
    for thing in sorted(things, key=lambda thing: -thing.score):
        if all(other.label != thing.label or iou(other, thing) < NMS_IOU for other in kept):
            kept.append(thing)
    return [clipped(thing) for thing in kept]


def clipped(thing: Thing) -> Thing:
    """The thing as far as it lies in the frame."""
    x1, y1, x2, y2 = (min(max(edge, 0.0), 1.0) for edge in thing.box)
    return Thing(thing.label, thing.score, (x1, y1, x2, y2))


def things_of(message: dict[str, Any]) -> list[Thing]:
    """What a `detections` message tells."""
    return [Thing(d["l"], d["s"], tuple(d["b"])) for d in message["dets"]]

"""The input that the daemon makes of a frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from hailod.geometry import View
from hailod.prepare import Preparer
from hailod.sources.pictures import picture_of
from hailod.types import TensorInfo, TensorOrder
from tests.support.reference import PAD


def prepared_by_daemon(side: int) -> Callable[[VideoFrame], NDArray[np.uint8]]:
    """Lays frames into a square as the daemon does, and gives them as the BGR that the graph wants."""
    tensor = TensorInfo("input", (side, side, 3), "uint8", TensorOrder.NHWC, side * side * 3)
    preparer, out = Preparer(tensor, align="top_left", pad=PAD), np.empty(tensor.shape, np.uint8)

    def prepare(frame: VideoFrame) -> NDArray[np.uint8]:
        preparer.prepare(picture_of(frame), View(), out)
        return out[..., ::-1]

    return prepare

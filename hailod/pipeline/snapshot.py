"""A camera's picture as a JPEG that is no larger than it may be."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hailod.geometry import View
from hailod.prepare import Preparer
from hailod.types import U8, Frame, Picture, TensorInfo, TensorOrder

# From good to just recognisable; below that a smaller picture shows more.
_QUALITIES = (90, 80, 70, 55, 40, 25)
_SMALLEST = 64


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A JPEG of what a camera saw at `wall` (Unix seconds); `quality` is libjpeg's, width and height are pixels."""

    jpeg: bytes
    width: int
    height: int
    quality: int
    wall: float


def encode(frame: Frame, limit: int) -> Snapshot | None:
    """The frame as the camera sent it, so that the boxes of its detections lie on it, in at most `limit` bytes.

    The quality falls until it fits, and only then the size, by halves. None: not even the smallest fits. Takes tens of
    milliseconds for each attempt. Raises ValueError for a picture that is none.
    """
    try:
        picture = _bgr(frame.picture)
    except cv2.error as error:
        raise ValueError(error.err) from None
    while min(picture.shape[:2]) >= _SMALLEST:
        height, width = picture.shape[:2]
        for quality in _QUALITIES:
            done, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if done and jpeg.nbytes <= limit:
                return Snapshot(jpeg.tobytes(), width, height, quality, frame.wall)
        picture = np.asarray(cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)
    return None


def _bgr(picture: Picture) -> U8:
    """The whole picture, (height, width, 3) in the order that OpenCV writes."""
    shape = (picture.height, picture.width, 3)
    tensor = TensorInfo("picture", shape, "uint8", TensorOrder.NHWC, picture.height * picture.width * 3)
    out = np.empty(shape, np.uint8)
    Preparer(tensor, resize="stretch").prepare(picture, View(), out)
    cv2.cvtColor(out, cv2.COLOR_RGB2BGR, dst=out)
    return out

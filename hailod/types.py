"""The values that flow from camera to message. All are immutable; arrays in them are not written after construction."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

# The longest list of frames that is handed to the device as one job.
MAX_BATCH = 32


class PixelFormat(StrEnum):
    """How the planes of a `Picture` lie.

    I420: Y (h, w), U and V (ceil(h/2), ceil(w/2)). NV12: Y (h, w), UV (ceil(h/2), ceil(w/2), 2).
    YUYV: one plane (h, w, 2). GRAY: one plane (h, w). RGB and BGR: one plane (h, w, 3).
    """

    I420 = "i420"
    NV12 = "nv12"
    YUYV = "yuyv"
    GRAY = "gray"
    RGB = "rgb"
    BGR = "bgr"


class ColorMatrix(StrEnum):
    """Which weights turn YUV into RGB (ITU-R BT.601 or BT.709)."""

    BT601 = "bt601"
    BT709 = "bt709"


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One decoded picture as the decoder left it: uint8 planes, possibly with row padding, not to be written.

    `owner` keeps the decoder's buffer alive for as long as the planes are referenced.
    """

    format: PixelFormat
    width: int
    height: int
    planes: tuple[U8, ...]
    matrix: ColorMatrix = ColorMatrix.BT601
    full_range: bool = False
    owner: object = None


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A picture of one camera at one moment; a reference, never a copy. Garbage collection returns its buffer.

    `number` counts from 1 per start of the camera; `captured` is monotonic seconds, `wall` Unix seconds;
    `generation` is the camera worker's, so that a frame of an abandoned worker can be told.
    """

    camera: str
    number: int
    captured: float
    wall: float
    picture: Picture
    generation: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What one model saw in one frame. Boxes are x1, y1, x2, y2, normalised to 0..1 of whatever frame the holder names.

    `boxes` float32 (n, 4), `scores` float32 (n,) descending, `classes` int32 (n,) indices into the model's labels.
    """

    boxes: F32
    scores: F32
    classes: I32

    def __len__(self) -> int:
        return len(self.scores)

    @staticmethod
    def none() -> Detections:
        """A scene in which the model, having run, saw nothing. Never a stand-in for a failure."""
        return Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))


class TensorOrder(StrEnum):
    """HailoRT's user-side format orders that hailod knows (names as in HailoRT)."""

    NHWC = "NHWC"
    FCR = "FCR"
    NHW = "NHW"
    NC = "NC"
    NV12 = "NV12"
    NV21 = "NV21"
    I420 = "I420"
    YUY2 = "YUY2"
    BAYER = "BAYER_RGB"
    NMS_BY_CLASS = "HAILO_NMS_BY_CLASS"
    NMS_BY_SCORE = "HAILO_NMS_BY_SCORE"
    NMS_WITH_BYTE_MASK = "HAILO_NMS_WITH_BYTE_MASK"


@dataclass(frozen=True, slots=True)
class NmsShape:
    """Limits of an NMS output as HailoRT's `nms_shape` gives them; `max_mask_bytes` is for all masks together."""

    classes: int
    max_per_class: int
    max_mask_bytes: int = field(default=0, kw_only=True)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a model on the device, as the host binds it.

    `shape` is HailoRT's user shape without the batch: (h, w, c) for NHWC, (c,) for NC, (h, w) for NHW, the number of
    float32 elements for NMS_BY_CLASS, the number of bytes for the other NMS orders. `dtype` is a NumPy name.
    real = (q - zero_point) * scale; one entry, or one per channel.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    order: TensorOrder
    nbytes: int
    scale: tuple[float, ...] = (1.0,)
    zero_point: tuple[float, ...] = (0.0,)
    nms: NmsShape | None = None


@dataclass(frozen=True, slots=True)
class ModelTensors:
    """The tensors of one loaded model; the first input is the picture."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...] = field(default=())

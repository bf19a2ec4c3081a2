"""How the bytes of a tensor lie, in HailoRT's names and numbers."""

from __future__ import annotations

from enum import IntEnum


class FormatType(IntEnum):
    """`hailo_format_type_t`."""

    AUTO = 0
    UINT8 = 1
    UINT16 = 2
    FLOAT32 = 3

    @property
    def nbytes(self) -> int:
        """Bytes of one element."""
        return (0, 1, 2, 4)[self]


class FormatOrder(IntEnum):
    """`hailo_format_order_t`."""

    AUTO = 0
    NHWC = 1
    NHCW = 2
    FCR = 3
    F8CR = 4
    NHW = 5
    NC = 6
    BAYER_RGB = 7
    BAYER_RGB_12_BIT = 8
    HAILO_NMS = 9
    RGB888 = 10
    NCHW = 11
    YUY2 = 12
    NV12 = 13
    NV21 = 14
    HAILO_YYUV = 15
    HAILO_YYVU = 16
    RGB4 = 17
    I420 = 18
    HAILO_YYYYUV = 19
    HAILO_NMS_WITH_BYTE_MASK = 20
    HAILO_NMS_ON_CHIP = 21
    HAILO_NMS_BY_CLASS = 22
    HAILO_NMS_BY_SCORE = 23

    @property
    def is_nms(self) -> bool:
        """Whether the tensor is a list of detections, which has no height, width and features."""
        return self in _NMS


_NMS = frozenset(
    {
        FormatOrder.HAILO_NMS,
        FormatOrder.HAILO_NMS_WITH_BYTE_MASK,
        FormatOrder.HAILO_NMS_ON_CHIP,
        FormatOrder.HAILO_NMS_BY_CLASS,
        FormatOrder.HAILO_NMS_BY_SCORE,
    }
)

# The compiler's number for the layout of a stream -> HailoRT's.
COMPILER_ORDERS = {
    0: FormatOrder.NHWC,
    1: FormatOrder.NHCW,
    2: FormatOrder.NC,
    3: FormatOrder.FCR,
    4: FormatOrder.BAYER_RGB,
    5: FormatOrder.NHW,
    6: FormatOrder.HAILO_NMS_ON_CHIP,
    7: FormatOrder.F8CR,
    8: FormatOrder.RGB888,
    11: FormatOrder.YUY2,
    13: FormatOrder.NHWC,
    14: FormatOrder.HAILO_YYUV,
    15: FormatOrder.HAILO_YYVU,
    16: FormatOrder.HAILO_YYYYUV,
}

# The layout that the host sees unless it asks for another; what is not here looks the same on both sides.
HOST_ORDERS = {
    FormatOrder.NHCW: FormatOrder.NHWC,
    FormatOrder.RGB888: FormatOrder.NHWC,
    FormatOrder.HAILO_YYUV: FormatOrder.NV12,
    FormatOrder.HAILO_YYVU: FormatOrder.NV21,
    FormatOrder.HAILO_YYYYUV: FormatOrder.I420,
    FormatOrder.HAILO_NMS_ON_CHIP: FormatOrder.HAILO_NMS_BY_CLASS,
}

# The number for pictures whose planes are streams of their own -> the order of the picture.
PLANES_ORDERS = {0: FormatOrder.NV12, 1: FormatOrder.NV21, 2: FormatOrder.I420}

TYPES_BY_BYTES = {1: FormatType.UINT8, 2: FormatType.UINT16}

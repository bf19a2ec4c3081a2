"""What the chip does with pictures that come in YUV: the compiler's conversion to RGB, BT.601 of limited range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FROM_YUV = np.array([[1.164, 0.0, 1.596], [1.164, -0.392, -0.813], [1.164, 2.017, 0.0]], np.float32)
_OFFSET = np.array([-222.912, 135.616, -276.8], np.float32)


def _nv12(numbers: NDArray[Any]) -> NDArray[Any]:
    """(h / 2, w, 3) bytes: all of Y, then U and V of every two by two pixels."""
    height, width = numbers.shape[0] * 2, numbers.shape[1]
    flat = numbers.reshape(-1)
    luma = flat[: height * width].reshape(height, width, 1)
    chroma = flat[height * width :].reshape(height // 2, width // 2, 2)
    return _rgb(np.concatenate([luma, chroma.repeat(2, axis=0).repeat(2, axis=1)], axis=2))


def _yuy2(numbers: NDArray[Any]) -> NDArray[Any]:
    """(h, w, 2) bytes: Y U Y V of every two pixels."""
    height, width = numbers.shape[:2]
    pairs = numbers.reshape(height, width // 2, 4)
    luma = pairs[..., 0::2].reshape(height, width, 1)
    return _rgb(np.concatenate([luma, pairs[..., 1::2].repeat(2, axis=1)], axis=2))


def _rgb(yuv: NDArray[Any]) -> NDArray[Any]:
    rgb: NDArray[np.uint8] = np.clip(np.rint(yuv.astype(np.float32) @ _FROM_YUV.T + _OFFSET), 0, 255).astype(np.uint8)
    return rgb


TO_RGB: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {"NHWC": lambda rgb: rgb, "NV12": _nv12, "YUY2": _yuy2}
"""By the order of the input: its numbers to RGB (h, w, 3)."""

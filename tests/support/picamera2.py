"""A stand-in for picamera2, by its documentation: one camera, YUV420 with padded lines."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PADDING = 64


class FakePicamera2:
    """As much of `picamera2.Picamera2` as hailod uses. Every picture is brighter than the one before."""

    cameras = 1

    def __init__(self, camera_num: int = 0) -> None:
        if camera_num >= self.cameras:
            raise IndexError("list index out of range")
        self._config: dict[str, Any] = {}
        self._buffer: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._running = False
        self._level = 0

    def create_video_configuration(self, main: dict[str, Any], controls: dict[str, Any]) -> dict[str, Any]:
        width, _height = main["size"]
        return {"main": {**main, "stride": width + PADDING}, "controls": controls}

    def configure(self, config: dict[str, Any]) -> None:
        self._config = config

    def camera_configuration(self) -> dict[str, Any]:
        return self._config

    def start(self) -> None:
        width, height = self._config["main"]["size"]
        self._buffer = np.zeros((width + PADDING) * height * 3 // 2, np.uint8)
        self._running = True

    def capture_array(self, name: str) -> NDArray[np.uint8]:
        if not self._running:
            raise RuntimeError("camera is not running")
        main = self._config[name]
        width, height = main["size"]
        stride = main["stride"]
        self._level = (self._level + 1) % 200
        luma, chroma = stride * height, stride * height // 4
        self._buffer[:] = 255
        self._buffer[:luma].reshape(height, stride)[:, :width] = self._level
        self._buffer[luma : luma + chroma].reshape(height // 2, stride // 2)[:, : width // 2] = 100
        self._buffer[luma + chroma :].reshape(height // 2, stride // 2)[:, : width // 2] = 150
        return self._buffer.reshape(height * 3 // 2, stride)

    def close(self) -> None:
        self._running = False

"""Cameras at the Raspberry Pi's own connector, through picamera2, which comes from apt and may not be there."""

from __future__ import annotations

from typing import Any, Final

from hailod.sources.base import Captured
from hailod.sources.faults import Words, lost, unavailable
from hailod.sources.guard import Guard
from hailod.types import U8, ColorMatrix, Picture, PixelFormat

_DEFAULT_SIZE: Final = (1280, 720)

# libcamera reports what fails in any of these.
_FOREIGN = (RuntimeError, IndexError, OSError, ValueError, TimeoutError)


class CsiSource:
    """A `Source` of camera number `index`. Its pictures are copies: libcamera has few buffers and wants them back."""

    def __init__(self, index: int, *, size: tuple[int, int] | None, fps: float | None) -> None:
        self._index = index
        self._size = size or _DEFAULT_SIZE
        self._fps = fps
        self._shown = f"csi:{index}"
        self._camera: Any = None
        self._actual = self._size
        self._stride = 0
        self._guard = Guard(self._release)

    def open(self) -> None:
        with self._guard:
            if self._guard.closed:
                raise unavailable(self._shown, "closed")
            try:
                # Only some machines have it, and importing it takes a second.
                from picamera2 import Picamera2  # noqa: PLC0415
            except ImportError:
                words = Words("picamera2 is not installed", "apt install python3-picamera2")
                raise unavailable(self._shown, "unsupported", words) from None
            try:
                self._start(Picamera2)
            except _FOREIGN as error:
                what = f"cannot be opened ({type(error).__name__})"
                words = Words(what, "`rpicam-hello --list-cameras` lists the cameras")
                raise unavailable(self._shown, "not_found", words) from error

    def read(self) -> Captured:
        with self._guard:
            if self._camera is None or self._guard.closed:
                raise lost(self._shown, "closed")
            try:
                # Some versions of picamera2 hand out a view of libcamera's buffer.
                array: U8 = self._camera.capture_array("main").copy()
            except _FOREIGN as error:
                raise lost(self._shown, "lost") from error
            return Captured(self._picture(array))

    def close(self) -> None:
        self._guard.close()

    def _start(self, factory: Any) -> None:
        self._camera = camera = factory(self._index)
        controls = {"FrameRate": self._fps} if self._fps is not None else {}
        main = {"size": self._size, "format": "YUV420"}
        camera.configure(camera.create_video_configuration(main=main, controls=controls))
        chosen = camera.camera_configuration()["main"]
        self._actual, self._stride = tuple(chosen["size"]), int(chosen["stride"])
        camera.start()

    def _release(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()

    def _picture(self, array: U8) -> Picture:
        """The planes of picamera2's YUV420, which follow each other, those of chroma with half the stride."""
        width, height = self._actual
        luma = self._stride * height
        chroma = luma // 4
        flat = array.reshape(-1)
        if flat.size < luma + 2 * chroma:
            raise lost(self._shown, "invalid_data")
        y = flat[:luma].reshape(height, self._stride)[:, :width]
        u, v = (
            flat[start : start + chroma].reshape(height // 2, self._stride // 2)[:, : width // 2]
            for start in (luma, luma + chroma)
        )
        # As picamera2 chooses for a video configuration.
        matrix = ColorMatrix.BT709 if width >= 1280 and height >= 720 else ColorMatrix.BT601
        return Picture(PixelFormat.I420, width, height, (y, u, v), matrix, full_range=False)

"""What PyAV decoded, as a `Picture`: planes that lie in the decoder's buffer, and pictures from a file's bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import av.error
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter

from hailod.types import U8, ColorMatrix, Picture, PixelFormat

MAX_SIDE: Final = 8192
_HD = 720

_FORMATS = {
    "yuv420p": PixelFormat.I420,
    "yuvj420p": PixelFormat.I420,
    "nv12": PixelFormat.NV12,
    "yuyv422": PixelFormat.YUYV,
    "gray": PixelFormat.GRAY,
    "rgb24": PixelFormat.RGB,
    "bgr24": PixelFormat.BGR,
}

# Samples per pixel of each plane.
_SAMPLES = {
    PixelFormat.I420: (1, 1, 1),
    PixelFormat.NV12: (1, 2),
    PixelFormat.YUYV: (2,),
    PixelFormat.GRAY: (1,),
    PixelFormat.RGB: (3,),
    PixelFormat.BGR: (3,),
}

# Numbers of ITU-T H.273, as FFmpeg gives them.
_MATRICES = {1: ColorMatrix.BT709, 5: ColorMatrix.BT601, 6: ColorMatrix.BT601}
_LIMITED_RANGE, _FULL_RANGE = 1, 2

_IMAGE_CODECS = {b"\xff\xd8\xff": "mjpeg", b"\x89PNG": "png"}


class UnusablePictureError(ValueError):
    """A decoded picture that `Picture` cannot hold."""


# PyAV tells the arguments of its compiled methods in their documentation only; 14 has none for threads.
_REFORMAT_HAS_THREADS = "threads" in (VideoFrame.reformat.__doc__ or "") + (VideoReformatter.reformat.__doc__ or "")


def is_image(data: bytes) -> bool:
    """Whether it begins as a JPEG or PNG does."""
    return any(data.startswith(magic) for magic in _IMAGE_CODECS)


def decode_image(data: bytes) -> Picture:
    """A JPEG or PNG as a picture. Raises ValueError, without a word of its content, for anything else."""
    codec = next((codec for magic, codec in _IMAGE_CODECS.items() if data.startswith(magic)), None)
    if codec is None:
        raise ValueError("neither JPEG nor PNG")
    context = VideoCodecContext.create(codec, "r")
    assert isinstance(context, VideoCodecContext)
    context.options = codec_options(codec)
    context.thread_type = "NONE"
    try:
        frames = [*context.decode(Packet(data)), *context.decode(None)]
    except (av.error.FFmpegError, OSError, ValueError):
        frames = []
    if not frames or frames[0].is_corrupt:
        raise ValueError("not a picture that can be decoded")
    return picture_of(frames[0])


def codec_options(codec: str) -> dict[str, str]:
    """A bound for pictures, and that a JPEG which breaks off is an error: its missing part would be plain grey."""
    options = {"max_pixels": str(MAX_SIDE * MAX_SIDE)}
    return options | {"err_detect": "explode"} if codec == "mjpeg" else options


def picture_of(frame: VideoFrame) -> Picture:
    """The frame's planes as they lie in the decoder's buffer; formats unknown to `PixelFormat` become I420 or RGB.

    Where the stream does not say, high definition is BT.709 and the rest BT.601, in limited range but for grey. Raises
    ValueError for a picture that is too large or lies upside down in memory.
    """
    width, height = frame.width, frame.height
    if max(width, height) > MAX_SIDE:
        raise UnusablePictureError("a picture that is too large")
    name = frame.format.name
    full_range = frame.color_range == _FULL_RANGE or name.startswith("yuvj")
    full_range |= name == "gray" and frame.color_range != _LIMITED_RANGE
    matrix = _MATRICES.get(frame.colorspace, ColorMatrix.BT709 if height >= _HD else ColorMatrix.BT601)
    if name not in _FORMATS:
        coloured = frame.format.is_rgb or frame.format.has_palette
        name = "rgb24" if coloured else "yuvj420p" if full_range else "yuv420p"
        frame = _reformat(frame, name)
    form = _FORMATS[name]
    planes = tuple(map(_plane, frame.planes, _SAMPLES[form]))
    return Picture(form, width, height, planes, matrix, full_range, owner=frame)


def _reformat(frame: VideoFrame, name: str) -> VideoFrame:
    """The frame in another pixel format, on the calling thread: newer PyAVs would start threads for every frame."""
    if _REFORMAT_HAS_THREADS:
        return frame.reformat(format=name, threads=1)
    return frame.reformat(format=name)


def _plane(plane: VideoPlane, samples: int) -> U8:
    """A view of the plane without its padding, (height, width) or (height, width, samples)."""
    if plane.line_size <= 0:
        raise UnusablePictureError("a picture that lies upside down in memory")
    lines = np.ndarray(
        (plane.height, plane.width, samples), np.uint8, memoryview(plane), 0, (plane.line_size, samples, 1)
    )
    return lines if samples > 1 else lines[:, :, 0]


def copied(picture: Picture) -> Picture:
    """The same picture in memory of its own: raw frames lie in the capture device's buffers, which are few and are
    unmapped when it is closed."""
    planes = tuple(plane.copy() for plane in picture.planes)
    return replace(picture, planes=planes, owner=None)

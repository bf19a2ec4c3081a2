"""Cameras behind Video4Linux (USB, or any `/dev/videoN`), through FFmpeg's input device.

libavdevice hands out the driver's own buffers and copies only when few are left; they are unmapped when the device is
closed, whoever still refers to them. So `StreamSource` copies raw pictures; MJPEG and H.264 are decoded into memory of
their own.
"""

from __future__ import annotations

from typing import Final

from hailod.clock import Clock
from hailod.sources.faults import Words
from hailod.sources.stream import StreamOptions, StreamSource

_ADVICE: Final = {
    "not_found": Words("no such capture device", "`v4l2-ctl --list-devices` (package v4l-utils) lists them"),
    "no_permission": Words(
        "permission denied", "add the user hailod to the group video (`adduser hailod video`) and restart"
    ),
    "invalid_data": Words("the device cannot do this size, rate or format", "`v4l2-ctl --list-formats-ext` lists them"),
    "lost": Words("the capture device went away", "check its plug and power"),
}


def v4l2_source(
    device: str,
    clock: Clock,
    *,
    open_timeout: float,
    read_timeout: float,
    max_lag: float,
    size: tuple[int, int] | None,
    fps: float | None,
    input_format: str | None,
) -> StreamSource:
    """A `Source` of `device`; what is None is left to the driver. `input_format` is FFmpeg's name, such as mjpeg."""
    wanted: dict[str, str] = {}
    if size is not None:
        wanted["video_size"] = f"{size[0]}x{size[1]}"
    if fps is not None:
        wanted["framerate"] = f"{fps:g}"
    if input_format is not None:
        wanted["input_format"] = input_format
    options = StreamOptions(open_timeout, read_timeout, max_lag, format="v4l2", ffmpeg=wanted)
    return StreamSource(device, clock, options, scheme="v4l2", advice=_ADVICE.get)

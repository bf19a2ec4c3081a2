"""Video files and streams (RTSP over TCP, HTTP) through PyAV; the only importer of `av`.

Pictures refer to the decoder's buffers, nothing is copied. Decoding is single-threaded where frames come in real time:
threads save no latency there (frame threads add two frames) and cost 15 to 50 % more CPU per frame.

A live stream that falls behind skips to its newest key frame (see `live.py`); a stored one keeps its own pace.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

import av
import av.error
import av.logging
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from hailod.clock import Clock
from hailod.errors import SourceEnded, SourceError
from hailod.redact import redact_url
from hailod.sources.base import Captured
from hailod.sources.faults import code_of, lost, unavailable
from hailod.sources.guard import Guard
from hailod.sources.live import ArrivalLag, LivePackets, TimestampLag
from hailod.types import U8, ColorMatrix, Picture, PixelFormat

# FFmpeg prints URLs with their passwords.
av.logging.set_level(None)

_FOREIGN = (av.error.FFmpegError, OSError, ValueError)


class _UnusablePictureError(ValueError):
    """A decoded picture that `Picture` cannot hold."""


_CODES: tuple[tuple[type[Exception], str], ...] = (
    (av.error.HTTPUnauthorizedError, "unauthorised"),
    (av.error.HTTPForbiddenError, "forbidden"),
    (av.error.HTTPNotFoundError, "not_found"),
    (av.error.InvalidDataError, "invalid_data"),
    (av.error.ProtocolNotFoundError, "unsupported"),
    (av.error.DemuxerNotFoundError, "unsupported"),
    (av.error.DecoderNotFoundError, "unsupported"),
    (av.error.ExitError, "timeout"),
    (av.error.EOFError, "ended"),
    (_UnusablePictureError, "unsupported"),
)

# What a stream may refer to in turn: a playlist from the network must not open local files, and a file nothing remote.
_PROTOCOLS = {
    "file": "file",
    "rtsp": "rtsp,rtp,tcp",
    "rtsps": "rtsps,rtsp,rtp,tcp,tls",
    "http": "http,https,httpproxy,tcp,tls,crypto",
    "https": "https,http,httpproxy,tcp,tls,crypto",
    "v4l2": "file",
}

# Formats without timestamps of their own: FFmpeg makes them up at 25 fps, whatever comes.
_UNTIMED = {"mpjpeg", "mjpeg", "h264", "hevc", "mpegvideo"}

# An error this close to its time-out is one, whatever FFmpeg calls it (a silent RTSP server is "invalid data").
_NEARLY = 0.9

_DEFAULT_FPS = 25.0

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


def limit_name_lookups() -> None:
    """Bound how long the C library tries a name server; call before the first look-up of the process."""
    os.environ.setdefault("RES_OPTIONS", "timeout:2 attempts:2")


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a stream is opened and read; times in seconds.

    `realtime`: files keep the pace of their timestamps; otherwise they come as fast as they are read, and decoding uses
    threads. `format` and `ffmpeg` name FFmpeg's input format and its options.
    """

    open_timeout: float = 10.0
    read_timeout: float = 5.0
    max_lag: float = 1.0
    loop: bool = False
    realtime: bool = True
    format: str | None = None
    ffmpeg: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Open:
    """What exists only while the stream is open. `live` is None for what is stored, `paced` says whether that waits."""

    container: InputContainer
    stream: VideoStream
    packets: Iterator[Packet[VideoStream]]
    live: LivePackets[Packet[VideoStream]] | None
    paced: bool
    decoded: deque[VideoFrame] = field(default_factory=deque)
    pictures: int = 0
    corrupt: int = 0


class StreamSource:
    """A `Source` of what FFmpeg can open. `url` is a path or a URL; `advice` has words for error codes of its kind."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        options: StreamOptions,
        *,
        scheme: str | None = None,
        advice: Callable[[str], str | None] = lambda _code: None,
    ) -> None:
        self._url = url
        self._clock = clock
        self._options = options
        self._scheme = scheme or _scheme_of(url)
        self._advice = advice
        self._shown = redact_url(url)
        self._open: _Open | None = None
        self._guard = Guard(self._release)
        self._anchor: float | None = None
        self._last_stamp = 0.0
        self._last_due = 0.0

    def open(self) -> None:
        with self._guard:
            if self._guard.closed:
                raise unavailable(self._shown, "closed")
            started = self._clock.monotonic()
            try:
                self._open = self._opened()
                return
            except SourceError:
                raise
            except _FOREIGN as error:
                code = self._code(error, started, self._options.open_timeout / 2, "invalid_data")
        # Outside the handler, so that the error has no context: FFmpeg's holds the password.
        raise unavailable(self._shown, code, self._advice(code))

    def read(self) -> Captured:
        with self._guard:
            stream = self._open
            if stream is None or self._guard.closed:
                raise lost(self._shown, "closed")
            started = self._clock.monotonic()
            try:
                return self._captured(stream, self._next_frame(stream, started))
            except SourceError:
                raise
            except _FOREIGN as error:
                code = self._code(error, started, self._options.read_timeout, "lost")
        raise lost(self._shown, code, self._advice(code))

    def close(self) -> None:
        self._guard.close()

    def _release(self) -> None:
        stream, self._open = self._open, None
        if stream is not None:
            stream.decoded.clear()
            stream.container.close()

    def _code(self, error: Exception, started: float, timeout: float, default: str) -> str:
        if self._clock.monotonic() - started >= timeout * _NEARLY:
            return "timeout"
        return next((code for kind, code in _CODES if isinstance(error, kind)), code_of(error, default))

    # -- opening -----------------------------------------------------------------------------------------------------

    def _opened(self) -> _Open:
        options = self._options
        if self._scheme not in ("file", "v4l2"):
            # FFmpeg reports a name that does not resolve as an I/O error.
            parts = urlsplit(self._url)
            socket.getaddrinfo(parts.hostname, parts.port or 0, type=socket.SOCK_STREAM)
        # PyAV allows its open time-out twice: for the connection and for finding out what the stream holds.
        container = av.open(
            self._url,
            format=options.format,
            options=self._ffmpeg_options(),
            timeout=(options.open_timeout / 2, options.read_timeout),
        )
        try:
            return self._configured(container)
        except BaseException:
            container.close()
            raise

    def _ffmpeg_options(self) -> dict[str, str]:
        chosen = {"protocol_whitelist": _PROTOCOLS[self._scheme]}
        if self._scheme in ("rtsp", "rtsps"):
            chosen |= {"rtsp_transport": "tcp", "allowed_media_types": "video"}
        if self._scheme != "file":
            # Nobody needs the mean frame rate of a live stream, and measuring it delays the first picture.
            chosen["fpsprobesize"] = "0"
        return chosen | self._options.ffmpeg

    def _configured(self, container: InputContainer) -> _Open:
        options = self._options
        if not container.streams.video:
            raise unavailable(self._shown, "invalid_data", "there is no video in it")
        stream = container.streams.video[0]
        codec = stream.codec_context
        if codec is None:
            raise unavailable(self._shown, "unsupported", "its codec has no decoder here")
        if max(codec.width, codec.height) > MAX_SIDE:
            raise unavailable(self._shown, "too_large")
        codec.options = {"max_pixels": str(MAX_SIDE * MAX_SIDE)}
        stream.thread_type = "NONE" if options.realtime else "AUTO"
        packets = container.demux(stream)
        if self._scheme == "file" or container.duration or container.format.name == "hls":
            return _Open(container, stream, packets, None, paced=options.realtime)
        lag = ArrivalLag() if container.format.name in _UNTIMED else TimestampLag()
        patience = options.read_timeout / 2
        live = LivePackets(packets, lag, self._clock, max_lag=options.max_lag, patience=patience)
        return _Open(container, stream, packets, live, paced=False)

    # -- reading -----------------------------------------------------------------------------------------------------

    def _next_frame(self, stream: _Open, started: float) -> VideoFrame:
        """The next sound frame. The first may take as long as opening: streams are joined between key frames."""
        options = self._options
        limit = options.read_timeout if stream.pictures else max(options.open_timeout, options.read_timeout)
        while not stream.decoded:
            if self._clock.monotonic() - started > limit:
                raise lost(self._shown, "timeout", "data comes, but no picture that can be decoded")
            packet = self._next_packet(stream)
            if packet is None:
                self._at_end(stream)
                continue
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                stream.corrupt += 1
                continue
            sound = [frame for frame in frames if not frame.is_corrupt]
            stream.corrupt += len(frames) - len(sound)
            stream.decoded.extend(sound)
        return stream.decoded.popleft()

    def _next_packet(self, stream: _Open) -> Packet[VideoStream] | None:
        if stream.live is None:
            return next(stream.packets, None)
        packet, gap = stream.live.next()
        if gap:
            stream.decoded.clear()
            stream.stream.codec_context.flush_buffers()
        return packet

    def _at_end(self, stream: _Open) -> None:
        """Start a looping file again; any other end is an error."""
        if not stream.pictures:
            raise lost(self._shown, "invalid_data", self._advice("invalid_data"))
        if self._scheme != "file" and not stream.container.duration:
            raise lost(self._shown, "ended", self._advice("ended"))
        if not self._options.loop:
            raise SourceEnded(f"{self._shown}: at its end", code="ended")
        stream.container.seek(0)
        stream.stream.codec_context.flush_buffers()
        stream.packets = stream.container.demux(stream.stream)

    def _captured(self, stream: _Open, frame: VideoFrame) -> Captured:
        picture = picture_of(frame)
        if stream.stream.codec_context.name == "rawvideo":
            picture = _copied(picture)
        stream.pictures += 1
        due = self._due(stream, frame) if stream.paced else None
        skipped = 0
        if stream.live is not None:
            skipped, stream.live.skipped = stream.live.skipped, 0
        captured = Captured(picture, skipped, stream.corrupt, due)
        stream.corrupt = 0
        return captured

    def _due(self, stream: _Open, frame: VideoFrame) -> float:
        """When a stored frame is to be shown. The pace starts anew where the file is late or its timestamps jump."""
        now = self._clock.monotonic()
        interval = 1.0 / float(stream.stream.average_rate or _DEFAULT_FPS)
        stamp = self._last_stamp + interval if frame.time is None else float(frame.time)
        step = stamp - self._last_stamp
        if self._anchor is None or now - (self._anchor + stamp) > self._options.max_lag:
            self._anchor = now - stamp
        elif not 0.0 <= step <= self._options.read_timeout:
            self._anchor = max(now, self._last_due + interval) - stamp
        self._last_stamp, self._last_due = stamp, self._anchor + stamp
        return self._last_due


# PyAV tells the arguments of its compiled methods in their documentation only; 14 has none for threads.
_REFORMAT_HAS_THREADS = "threads" in (VideoFrame.reformat.__doc__ or "") + (VideoReformatter.reformat.__doc__ or "")


def decode_image(data: bytes) -> Picture:
    """A JPEG or PNG as a picture. Raises ValueError, without a word of its content, for anything else."""
    codec = next((codec for magic, codec in _IMAGE_CODECS.items() if data.startswith(magic)), None)
    if codec is None:
        raise ValueError("neither JPEG nor PNG")
    context = VideoCodecContext.create(codec, "r")
    assert isinstance(context, VideoCodecContext)
    context.options = {"max_pixels": str(MAX_SIDE * MAX_SIDE)}
    context.thread_type = "NONE"
    try:
        frames = [*context.decode(Packet(data)), *context.decode(None)]
    except _FOREIGN:
        frames = []
    if not frames or frames[0].is_corrupt:
        raise ValueError("not a picture that can be decoded")
    return picture_of(frames[0])


def picture_of(frame: VideoFrame) -> Picture:
    """The frame's planes as they lie in the decoder's buffer; formats unknown to `PixelFormat` become I420 or RGB.

    Where the stream does not say, high definition is BT.709 and the rest BT.601, in limited range but for grey. Raises
    ValueError for a picture that is too large or lies upside down in memory.
    """
    width, height = frame.width, frame.height
    if max(width, height) > MAX_SIDE:
        raise _UnusablePictureError("a picture that is too large")
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
        raise _UnusablePictureError("a picture that lies upside down in memory")
    lines = np.ndarray(
        (plane.height, plane.width, samples), np.uint8, memoryview(plane), 0, (plane.line_size, samples, 1)
    )
    return lines if samples > 1 else lines[:, :, 0]


def _copied(picture: Picture) -> Picture:
    """The same picture in memory of its own: raw frames lie in the capture device's buffers, which are few and are
    unmapped when it is closed."""
    planes = tuple(plane.copy() for plane in picture.planes)
    return replace(picture, planes=planes, owner=None)


def _scheme_of(url: str) -> str:
    scheme, mark, _ = url.partition("://")
    return scheme.lower() if mark else "file"

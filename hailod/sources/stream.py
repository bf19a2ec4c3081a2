"""Video files and streams (RTSP over TCP, HTTP) through PyAV.

Pictures refer to the decoder's buffers, nothing is copied. Decoding is single-threaded where frames come in real time:
threads save no latency there (frame threads add two frames) and cost 15 to 50 % more CPU per frame.

A live stream that falls behind skips to its newest key frame (see `live.py`); a stored one keeps its own pace.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import av
import av.error
import av.logging
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from hailod.clock import Clock
from hailod.errors import SourceEnded, SourceError
from hailod.redact import redact_url
from hailod.sources.base import Captured
from hailod.sources.faults import Words, code_of, lost, unavailable
from hailod.sources.guard import Guard
from hailod.sources.live import ArrivalLag, LivePackets, TimestampLag
from hailod.sources.pictures import MAX_SIDE, UnusablePictureError, codec_options, copied, picture_of

# FFmpeg prints URLs with their passwords.
av.logging.set_level(None)

_FOREIGN = (av.error.FFmpegError, OSError, ValueError)


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
    (UnusablePictureError, "unsupported"),
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

# While nothing can be decoded, so often what was broken is told.
_TELL = 1.0

_DEFAULT_FPS = 25.0


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
    # Monotonic: since when pictures are waited for.
    waiting_since: float | None = None
    # What ended it, while frames that were passed over before are still to be told.
    ended_by: SourceError | None = None

    @property
    def losses(self) -> int:
        """Frames that were passed over and not yet told."""
        return self.corrupt + (self.live.skipped if self.live is not None else 0)

    def take_losses(self) -> tuple[int, int]:
        """How many were skipped and how many broken since it was last asked."""
        corrupt, self.corrupt = self.corrupt, 0
        skipped = 0
        if self.live is not None:
            skipped, self.live.skipped = self.live.skipped, 0
        return skipped, corrupt


class StreamSource:
    """A `Source` of what FFmpeg can open. `url` is a path or a URL; `advice` has words for error codes of its kind."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        options: StreamOptions,
        *,
        scheme: str | None = None,
        advice: Callable[[str], Words | None] = lambda _code: None,
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
            if stream.ended_by is not None:
                raise stream.ended_by
            error = self._read(stream)
            if isinstance(error, Captured):
                return error
            if not stream.losses:
                raise error
            # Counted before the end is told.
            stream.ended_by = error.with_traceback(None)
            return self._captured(stream, None)

    def _read(self, stream: _Open) -> Captured | SourceError:
        """What came, or why nothing comes any more."""
        started = self._clock.monotonic()
        try:
            return self._captured(stream, self._next_frame(stream, started))
        except SourceError as error:
            return error
        except _FOREIGN as error:
            code = self._code(error, started, self._options.read_timeout, "lost")
        # Outside the handler, so that the error has no context: FFmpeg's holds the password.
        return lost(self._shown, code, self._advice(code))

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
            raise unavailable(self._shown, "invalid_data", Words("there is no video in it"))
        stream = container.streams.video[0]
        codec = stream.codec_context
        if codec is None:
            raise unavailable(self._shown, "unsupported", Words("its codec has no decoder here"))
        if max(codec.width, codec.height) > MAX_SIDE:
            raise unavailable(self._shown, "too_large")
        codec.options = codec_options(codec.name)
        stream.thread_type = "NONE" if options.realtime else "AUTO"
        packets = container.demux(stream)
        if self._scheme == "file" or container.duration or container.format.name == "hls":
            return _Open(container, stream, packets, None, paced=options.realtime)
        lag = ArrivalLag() if container.format.name in _UNTIMED else TimestampLag()
        silence = options.read_timeout
        live = LivePackets(packets, lag, self._clock, max_lag=options.max_lag, patience=silence / 2, silence=silence)
        return _Open(container, stream, packets, live, paced=False)

    # -- reading -----------------------------------------------------------------------------------------------------

    def _next_frame(self, stream: _Open, started: float) -> VideoFrame | None:
        """The next sound frame; None when for some time none of those that came was sound.

        The first may take as long as opening: streams are joined between key frames.
        """
        options = self._options
        limit = options.read_timeout if stream.pictures else max(options.open_timeout, options.read_timeout)
        if stream.waiting_since is None:
            stream.waiting_since = started
        while not stream.decoded:
            now = self._clock.monotonic()
            if now - stream.waiting_since > limit:
                raise lost(self._shown, "corrupt")
            if stream.corrupt and now - started > _TELL:
                return None
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
        stream.waiting_since = None
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

    def _captured(self, stream: _Open, frame: VideoFrame | None) -> Captured:
        """The frame, if there is one, with what was passed over before it."""
        picture = None if frame is None else picture_of(frame)
        if picture is not None and stream.stream.codec_context.name == "rawvideo":
            picture = copied(picture)
        stream.pictures += picture is not None
        due = self._due(stream, frame) if stream.paced and frame is not None else None
        return Captured(picture, *stream.take_losses(), due)

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


def _scheme_of(url: str) -> str:
    scheme, mark, _ = url.partition("://")
    return scheme.lower() if mark else "file"

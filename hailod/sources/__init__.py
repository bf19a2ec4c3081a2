"""Sources of frames, by the scheme of what the user writes: a URL, a path, `v4l2:`, `csi:` or `synthetic:`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from hailod.clock import Clock
from hailod.config.model import CameraSettings
from hailod.sources.base import Source
from hailod.sources.csi import CsiSource
from hailod.sources.snapshot import SnapshotSource
from hailod.sources.stream import StreamOptions, StreamSource
from hailod.sources.synthetic import SceneOptions, SyntheticSource
from hailod.sources.v4l2 import v4l2_source

Factory = Callable[[str, CameraSettings, Clock, bool], Source]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_DEVICE = re.compile(r"/dev/(video\d{1,3}|v4l/by-(id|path)/[\w.:+-]{1,200})")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
_PICTURES = (".jpg", ".jpeg", ".png")


def create_source(name: str, settings: CameraSettings, clock: Clock, *, realtime: bool = True) -> Source:
    """The source that `settings` describe, not yet open. Raises ValueError as `validate_source` does.

    `realtime=False` is for offline work: stored video comes as fast as it is read. `name` is the camera's, for
    factories that replace this one.
    """
    del name
    text = settings.source.get_secret_value()
    validate_source(text)
    return _FACTORIES[_scheme(text)](text, settings, clock, realtime)


def validate_source(text: str) -> None:
    """Raises ValueError, whose message holds no part of a credential, when `text` cannot name a source."""
    scheme = _scheme(text)
    if scheme not in _FACTORIES:
        raise ValueError(f"no source of kind '{scheme}:' (allowed: a path, {', '.join(f'{s}:' for s in _FACTORIES)})")
    if scheme in _NETWORK:
        _validate_url(text)
    elif scheme == "v4l2" and _DEVICE.fullmatch(_path(text)) is None:
        raise ValueError("a capture device is written as v4l2:/dev/video0")
    elif scheme == "csi" and re.fullmatch(r"\d", _path(text)) is None:
        raise ValueError("a camera at the Pi's own connector is written as csi:0")
    elif scheme == "synthetic":
        SceneOptions.parse(_path(text))
    elif scheme == "file" and not _path(text).strip("/"):
        raise ValueError("a file is written as its path")


def anchored(text: str, directory: Path) -> str:
    """`text` with a relative path made absolute below `directory`; whatever is no relative path stays as it is."""
    if _scheme(text) != "file" or _SCHEME.match(text) is not None or Path(text).is_absolute():
        return text
    return str(directory / text)


def _validate_url(text: str) -> None:
    if _UNPRINTABLE.search(text):
        raise ValueError("a URL has no spaces or control characters: write them percent-encoded, as in %20")
    try:
        parts = urlsplit(text)
        sound = bool(parts.hostname) and "@" not in parts.path + parts.query + parts.fragment and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        # Not chained: what urlsplit complains of may be a part of the password.
        raise ValueError(
            "not a URL of the form scheme://user:password@host:port/path; in user name and password the characters"
            " @ : / ? # % are written percent-encoded, as in %40 %3A %2F %3F %23 %25"
        ) from None


def _scheme(text: str) -> str:
    match = _SCHEME.match(text)
    if match is not None:
        return match[1].lower()
    return "v4l2" if text.startswith("/dev/video") else "file"


def _path(text: str) -> str:
    """What follows the scheme; the path of a `file:` URL, decoded."""
    match = _SCHEME.match(text)
    if match is None:
        return text
    rest = text[match.end() :]
    return unquote(rest.removeprefix("//")) if match[1].lower() == "file" else rest


def _stream(text: str, settings: CameraSettings, clock: Clock, realtime: bool) -> Source:
    options = StreamOptions(
        settings.open_timeout, settings.read_timeout, settings.max_lag, loop=settings.loop, realtime=realtime
    )
    scheme = _scheme(text)
    return StreamSource(_path(text) if scheme == "file" else text, clock, options, scheme=scheme)


def _http(text: str, settings: CameraSettings, clock: Clock, realtime: bool) -> Source:
    if not urlsplit(text).path.lower().endswith(_PICTURES):
        return _stream(text, settings, clock, realtime)
    return SnapshotSource(
        text,
        clock,
        poll_interval=settings.poll_interval,
        open_timeout=settings.open_timeout,
        read_timeout=settings.read_timeout,
    )


def _v4l2(text: str, settings: CameraSettings, clock: Clock, _realtime: bool) -> Source:
    return v4l2_source(
        _path(text),
        clock,
        open_timeout=settings.open_timeout,
        read_timeout=settings.read_timeout,
        max_lag=settings.max_lag,
        size=settings.size,
        fps=settings.fps,
        input_format=settings.input_format,
    )


def _csi(text: str, settings: CameraSettings, _clock: Clock, _realtime: bool) -> Source:
    return CsiSource(int(_path(text)), size=settings.size, fps=settings.fps)


def _synthetic(text: str, settings: CameraSettings, clock: Clock, realtime: bool) -> Source:
    options = SceneOptions.parse(_path(text), size=settings.size, fps=settings.fps)
    return SyntheticSource(options, clock, realtime=realtime)


_NETWORK = ("rtsp", "rtsps", "http", "https")

_FACTORIES: Final[Mapping[str, Factory]] = {
    "rtsp": _stream,
    "rtsps": _stream,
    "http": _http,
    "https": _http,
    "file": _stream,
    "v4l2": _v4l2,
    "csi": _csi,
    "synthetic": _synthetic,
}

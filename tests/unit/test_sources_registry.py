"""What a user may write as a source."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from hailod.clock import FakeClock
from hailod.config.model import CameraSettings
from hailod.errors import SourceUnavailable
from hailod.sources import create_source, validate_source
from hailod.sources.csi import CsiSource
from hailod.sources.snapshot import SnapshotSource
from hailod.sources.stream import StreamSource
from hailod.sources.synthetic import SyntheticSource


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("rtsp://user:p%40ss@10.0.0.2:554/cam?channel=1", StreamSource),
        ("RTSPS://host/cam", StreamSource),
        ("rtsp://[fe80::1]:554/cam", StreamSource),
        ("http://host/stream.mjpg", StreamSource),
        ("http://host/snapshot.jpg?user=a&x=1", SnapshotSource),
        ("https://host/SNAP.PNG", SnapshotSource),
        ("/var/lib/video.mp4", StreamSource),
        ("clips/a b.mp4", StreamSource),
        ("file:///var/lib/video.mp4", StreamSource),
        ("v4l2:/dev/video0", StreamSource),
        ("/dev/video12", StreamSource),
        ("v4l2:/dev/v4l/by-id/usb-046d_C270-video-index0", StreamSource),
        ("csi:0", CsiSource),
        ("synthetic:", SyntheticSource),
        ("synthetic:boxes?seed=7&size=320x240&fps=5", SyntheticSource),
    ],
)
def test_each_kind_of_source_is_chosen_by_its_scheme(text: str, kind: type) -> None:
    """The scheme alone says what is made; nothing is opened yet."""
    source = create_source("front", CameraSettings(source=SecretStr(text)), FakeClock())
    assert isinstance(source, kind)
    source.close()


@pytest.mark.parametrize(
    "text",
    [
        "ftp://user:secret@host/cam",
        "concat:/etc/secret|/etc/secret",
        "rtsp://user:se/cret@host/cam",
        "rtsp://user:se@cr/et@host/cam",
        "rtsp://user:secret@host:port/cam",
        "rtsp://user:secret@host:0/cam",
        "rtsp://user:sec ret@host/cam",
        "rtsp://user:secret@host/cam\n",
        "rtsp://user:secret@",
        "rtsp:user:secret",
        "rtsp://user:sec[ret@host]/cam",
        "v4l2:/etc/secret",
        "v4l2:/dev/video0/../../etc/secret",
        "csi:secret",
        "synthetic:secret",
        "synthetic:boxes?size=1x1",
        "synthetic:boxes?secret=1",
        "synthetic:boxes?fps=nan",
        "file:",
    ],
)
def test_what_cannot_be_a_source_is_refused_without_its_credential(text: str) -> None:
    """The message tells what is allowed and repeats nothing of a URL's login; the error has no chain."""
    with pytest.raises(ValueError, match=r".{20}") as caught:
        validate_source(text)
    if "://" in text:
        assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_an_unknown_scheme_is_answered_with_the_known_ones() -> None:
    """Whoever mistypes a scheme learns which there are."""
    with pytest.raises(ValueError, match=r"rtsp:, rtsps:, http:, https:, file:, v4l2:, csi:, synthetic:"):
        validate_source("rstp://host/cam")


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("/nonexistent/video.mp4", "not_found", "check the path"),
        ("v4l2:/dev/video99", "not_found", "v4l2-ctl --list-devices"),
        ("csi:0", "unsupported", "apt install python3-picamera2"),
    ],
)
def test_what_is_missing_is_told_with_what_to_do(text: str, code: str, hint: str) -> None:
    """Each failure has a stable code and names its remedy."""
    source = create_source("front", CameraSettings(source=SecretStr(text)), FakeClock())
    with pytest.raises(SourceUnavailable, match=hint) as caught:
        source.open()
    source.close()
    assert caught.value.code == code

"""What every kind of source promises, tried on each that can be had without a camera."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from pydantic import SecretStr

from hailod.clock import Clock, SystemClock
from hailod.config.model import CameraSettings
from hailod.errors import SourceError, SourceLost
from hailod.sources import create_source
from hailod.sources.base import Source
from hailod.types import Picture, PixelFormat
from tests.support.picamera2 import FakePicamera2
from tests.support.rtsp import RtspServer, make_clip, require_server, rtsp_server, server_available

Make = Callable[..., Source]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=20)


@pytest.fixture(scope="module")
def rtsp(clip: Path) -> Iterator[RtspServer | None]:
    if not server_available():
        yield None
        return
    with rtsp_server(clip) as server:
        yield server


@pytest.fixture(scope="module")
def snapshot_url() -> Iterator[str]:
    body = cv2.imencode(".jpg", np.full((96, 192, 3), 90, np.uint8))[1].tobytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Tests print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/snapshot.jpg"
        server.shutdown()
        thread.join()


@pytest.fixture(params=["file", "rtsp", "snapshot", "synthetic", "rendered", "csi"])
def make(
    request: pytest.FixtureRequest,
    clip: Path,
    rtsp: RtspServer | None,
    snapshot_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    """Makes sources of one kind, of 192 x 96 pixels."""
    if request.param == "rtsp":
        require_server()
    if request.param == "csi":
        module = ModuleType("picamera2")
        module.Picamera2 = FakePicamera2  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "picamera2", module)
    text = {
        "file": str(clip),
        "rtsp": rtsp.url() if rtsp is not None else "",
        "snapshot": snapshot_url,
        "synthetic": "synthetic:boxes?size=192x96&fps=100",
        "rendered": "synthetic:driveway?size=192x96&fps=100&night=1&rain=1",
        "csi": "csi:0",
    }[request.param]

    def build(clock: Clock | None = None) -> Source:
        settings = CameraSettings(source=SecretStr(text), size=(192, 96), loop=True)
        return create_source("front", settings, clock or SystemClock())

    return build


def check_picture(picture: Picture) -> None:
    height, width = picture.height, picture.width
    half = ((height + 1) // 2, (width + 1) // 2)
    shapes = {
        PixelFormat.I420: [(height, width), half, half],
        PixelFormat.NV12: [(height, width), (*half, 2)],
        PixelFormat.YUYV: [(height, width, 2)],
        PixelFormat.GRAY: [(height, width)],
        PixelFormat.RGB: [(height, width, 3)],
        PixelFormat.BGR: [(height, width, 3)],
    }
    assert [plane.shape for plane in picture.planes] == shapes[picture.format]
    assert all(plane.dtype == np.uint8 for plane in picture.planes)


def test_it_delivers_pictures_of_the_declared_layout(make: Make) -> None:
    """Planes have the shapes that their pixel format says."""
    source = make()
    source.open()
    try:
        for _ in range(5):
            picture = source.read().picture
            assert (picture.width, picture.height) == (192, 96)
            check_picture(picture)
    finally:
        source.close()


def test_pictures_outlive_their_source(make: Make) -> None:
    """A frame may be held after its camera was closed, and later pictures do not write into it."""
    source = make()
    source.open()
    picture = source.read().picture
    before = [plane.copy() for plane in picture.planes]
    for _ in range(5):
        source.read()
    source.close()
    assert all(np.array_equal(now, then) for now, then in zip(picture.planes, before, strict=True))


def test_a_closed_source_says_so(make: Make) -> None:
    """Reading from a closed source is an error, closing it twice is not."""
    source = make()
    source.open()
    source.close()
    source.close()
    with pytest.raises(SourceLost) as caught:
        source.read()
    assert caught.value.code == "closed"


def test_closing_before_opening_is_harmless(make: Make) -> None:
    """A camera that never came up can be closed, and delivers nothing then."""
    source = make()
    source.close()
    with pytest.raises(SourceLost):
        source.read()


def test_it_can_be_closed_by_another_thread_while_it_reads(make: Make) -> None:
    """Closing while a read is in progress neither crashes nor hangs: the read ends by a picture or by an error."""
    source = make()
    source.open()
    reading = threading.Event()
    ends: list[str] = []

    def read_on() -> None:
        try:
            while True:
                source.read()
                reading.set()
        except SourceError as error:
            ends.append(error.code)

    thread = threading.Thread(target=read_on)
    thread.start()
    assert reading.wait(10.0)
    source.close()
    thread.join(10.0)
    assert not thread.is_alive()
    assert ends == ["closed"]

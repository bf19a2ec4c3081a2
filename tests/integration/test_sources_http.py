"""Pictures and streams over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from pydantic import SecretStr

from hailod.clock import FakeClock, SystemClock
from hailod.config.model import CameraSettings
from hailod.errors import SourceLost, SourceUnavailable
from hailod.sources import create_source
from hailod.sources.base import Source
from hailod.sources.snapshot import MAX_BYTES

USER, PASSWORD, LOGIN = "viewer", "s3cr:t@/", "viewer:s3cr%3At%40%2F"
JPEG = cv2.imencode(".jpg", np.full((96, 128, 3), 90, np.uint8))[1].tobytes()


class Camera(BaseHTTPRequestHandler):
    """A network camera's web server."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/basic.jpg" and self._authorisation() != self._basic():
            return self._challenge('Basic realm="camera"')
        if path == "/digest.jpg" and not self._digest_is_right():
            return self._challenge('Digest realm="camera", nonce="1234", qop="auth"')
        answer = {
            "/elsewhere.jpg": lambda: self._answer(302, b"", Location="file:///etc/hostname"),
            "/torn.jpg": lambda: self._answer(200, JPEG[: len(JPEG) // 2]),
            "/nothing.jpg": lambda: self._answer(200, b"<html>please log in</html>"),
            "/endless.jpg": self._endless,
            "/slow.jpg": self._slow,
            "/video": self._video,
        }.get(path)
        if answer is not None:
            return answer()
        if path in ("/basic.jpg", "/digest.jpg", "/open.jpg"):
            return self._answer(200, JPEG)
        return self._answer(404, b"")

    def log_message(self, *_args: object) -> None:
        """Tests print nothing."""

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _challenge(self, how: str) -> None:
        self._answer(401, b"", WWW_Authenticate=how)

    def _authorisation(self) -> str:
        return self.headers.get("Authorization", "")

    def _basic(self) -> str:
        return "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def _digest_is_right(self) -> bool:
        kind, _, rest = self._authorisation().partition(" ")
        if kind != "Digest":
            return False
        fields = {key.strip(): value.strip('"') for key, value in (part.split("=", 1) for part in rest.split(", "))}

        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        login = md5(f"{USER}:camera:{PASSWORD}")
        request = md5(f"GET:{self.path}")
        return fields["response"] == md5(f"{login}:1234:{fields['nc']}:{fields['cnonce']}:auth:{request}")

    def _endless(self) -> None:
        self._answer(200, b"\xff\xd8\xff")
        for _ in range(2 * MAX_BYTES // 2**20):
            try:
                self.wfile.write(b"\0" * 2**20)
            except OSError:
                return

    def _slow(self) -> None:
        self._answer(200, b"\xff\xd8\xff")
        drip = threading.Event()
        for _ in range(100):
            try:
                self.wfile.write(b"\0")
                self.wfile.flush()
            except OSError:
                return
            drip.wait(0.1)

    def _video(self) -> None:
        self._answer(200, b"", Content_Type="multipart/x-mixed-replace; boundary=frame")
        pause = threading.Event()
        for level in range(0, 150, 2):
            picture = cv2.imencode(".jpg", np.full((96, 128, 3), level, np.uint8))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + picture + b"\r\n")
            except OSError:
                return
            pause.wait(0.05)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


@pytest.fixture
def source(server: str) -> Iterator[Callable[..., Source]]:
    made: list[Source] = []

    def make(path: str, *, login: str = "", **fields: object) -> Source:
        url = f"http://{login + '@' if login else ''}{server}{path}"
        settings = CameraSettings.model_validate({"source": SecretStr(url), **fields})
        made.append(create_source("front", settings, SystemClock()))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("path", ["/open.jpg", "/basic.jpg", "/digest.jpg?channel=1"])
def test_a_picture_is_polled(source: Callable[..., Source], path: str) -> None:
    """Each read is a picture, followed by the rest that the user set."""
    camera = source(path, login=LOGIN, poll_interval=7.0)
    camera.open()
    for _ in range(3):
        captured = camera.read()
        assert (captured.picture.width, captured.picture.height) == (128, 96)
        assert captured.rest == 7.0


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/basic.jpg?token=topsecret", "unauthorised"),
        ("/digest.jpg?token=topsecret", "unauthorised"),
        ("/missing.jpg?token=topsecret", "not_found"),
        ("/nothing.jpg?token=topsecret", "invalid_data"),
        ("/torn.jpg?token=topsecret", "corrupt"),
        ("/elsewhere.jpg?token=topsecret", "invalid_data"),
        ("/endless.jpg?token=topsecret", "too_large"),
        ("/slow.jpg?token=topsecret", "timeout"),
    ],
)
def test_what_goes_wrong_is_told_without_the_credentials(source: Callable[..., Source], path: str, code: str) -> None:
    """Each failure has its code; a page instead of a picture, a redirection to a file, an endless or a dripping answer
    are failures, and no traceback holds a part of the login or the query."""
    camera = source(path, login="viewer:wr0ng%40pass", open_timeout=0.5)
    with pytest.raises(SourceUnavailable) as caught:
        camera.open()
    assert caught.value.code == code
    told = "".join(traceback.format_exception(caught.value))
    for secret in ("wr0ng", "viewer:", "topsecret"):
        assert secret not in told
    assert caught.value.__context__ is None


def test_a_refused_connection_is_told(source: Callable[..., Source], free_port: int) -> None:
    """A camera that is off is `refused`."""
    settings = CameraSettings(source=SecretStr(f"http://127.0.0.1:{free_port}/snapshot.jpg"))
    with pytest.raises(SourceUnavailable) as caught:
        create_source("front", settings, FakeClock()).open()
    assert caught.value.code == "refused"


def test_a_picture_that_breaks_off_is_counted(source: Callable[..., Source], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that did not arrive whole is no picture and no loss; several in a row are, and each is counted."""
    camera = source("/open.jpg", poll_interval=7.0)
    camera.open()
    assert camera.read().picture is not None
    sound = JPEG
    monkeypatch.setattr(sys.modules[__name__], "JPEG", JPEG[: len(JPEG) // 2])
    torn = camera.read()
    assert (torn.picture, torn.corrupt, torn.rest) == (None, 1, 7.0)
    monkeypatch.setattr(sys.modules[__name__], "JPEG", sound)
    assert camera.read().picture is not None
    monkeypatch.setattr(sys.modules[__name__], "JPEG", JPEG[: len(JPEG) // 2])
    assert sum(camera.read().corrupt for _ in range(3)) == 3
    with pytest.raises(SourceLost) as caught:
        camera.read()
    assert caught.value.code == "corrupt"


def test_motion_jpeg_is_a_stream(source: Callable[..., Source]) -> None:
    """Pictures pushed over HTTP come one by one, although they have no timestamps."""
    camera = source("/video")
    camera.open()
    captured = [camera.read() for _ in range(15)]
    levels = [int(one.picture.planes[0][48, 64]) for one in captured]
    assert levels == sorted(levels)
    assert len(set(levels)) == 15
    assert {(one.skipped, one.due) for one in captured} == {(0, None)}


def test_motion_jpeg_behind_skips_to_now(source: Callable[..., Source]) -> None:
    """A reader that was held up goes on with the newest picture, not with the queue."""
    camera = source("/video", max_lag=0.3)
    camera.open()
    first = int(camera.read().picture.planes[0][48, 64])
    threading.Event().wait(1.0)
    skipped, last = 0, first
    for _ in range(60):
        captured = camera.read()
        skipped += captured.skipped
        last = int(captured.picture.planes[0][48, 64])
        if skipped:
            break
    assert skipped >= 10
    assert last - first >= 20


def test_a_stream_that_ends_is_lost(source: Callable[..., Source]) -> None:
    """A server that closes the connection ends the stream with an error, not with silence."""
    camera = source("/video", read_timeout=2.0)
    camera.open()

    def read_to_the_end() -> None:
        while True:
            camera.read()

    with pytest.raises(SourceLost) as caught:
        read_to_the_end()
    assert caught.value.code in ("ended", "lost")

"""Cameras over real RTSP, from a real server in a process of its own."""

from __future__ import annotations

import itertools
import socket
import threading
import traceback
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hailod.clock import SystemClock
from hailod.errors import SourceUnavailable
from hailod.mailbox import Mailboxes
from hailod.pipeline.camera import CameraWorker
from hailod.pipeline.camera_state import Phase
from hailod.sources import create_source
from hailod.sources.base import Captured
from hailod.types import PixelFormat
from tests.support.broken_peers import silent_server
from tests.support.rtsp import make_clip, number_of, require_server, rtsp_server
from tests.support.waiting import wait_for
from tests.support.watched import settings, watched

FRAMES, GOP, FPS = 250, 50, 25

SECRET = "s3cr:t@/?#%"
ESCAPED = "s3cr%3At%40%2F%3F%23%25"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_server()
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=FRAMES, fps=FPS, gop=GOP)


def test_h264_over_rtsp_is_decoded_frame_by_frame(clip: Path) -> None:
    """What the server sends is what the camera delivers: each frame once, in order, as YUV."""
    with rtsp_server(clip) as server:
        source = create_source("front", settings(server.url()), SystemClock())
        source.open()
        captured = [source.read() for _ in range(2 * GOP)]
        source.close()
    numbers = [number_of(one.picture) for one in captured]
    assert numbers == list(range(numbers[0], numbers[0] + 2 * GOP))
    assert {one.picture.format for one in captured} == {PixelFormat.I420}
    assert sum(one.skipped + one.corrupt for one in captured) == 0


@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_a_login_with_special_characters_is_accepted(clip: Path, auth: str) -> None:
    """Percent-encoded user names and passwords work with both ways of authentication."""
    with rtsp_server(clip, auth=auth, user="us@er", password=SECRET) as server:
        source = create_source("front", settings(server.url(f"us%40er:{ESCAPED}")), SystemClock())
        source.open()
        picture = source.read().picture
        source.close()
    assert number_of(picture) < FRAMES


@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_a_wrong_password_is_told_and_shown_nowhere(clip: Path, auth: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The camera is lost as `unauthorised`; no state, log line, error chain or output holds a part of the login."""
    with rtsp_server(clip, auth=auth, user="someone", password="right") as server, capture_logs() as logs:
        with watched(server.url(f"someone:{ESCAPED}")) as camera:
            state = camera.reach(Phase.LOST)
        source = create_source("front", settings(server.url(f"someone:{ESCAPED}")), SystemClock())
        with pytest.raises(SourceUnavailable) as caught:
            source.open()
        source.close()
    assert state.code == "unauthorised"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    told = [repr(camera.states), repr(logs), "".join(traceback.format_exception(caught.value)), *capfd.readouterr()]
    for text in told:
        assert SECRET not in text
        assert ESCAPED not in text
        assert "someone" not in text
    assert f"rtsp://***@127.0.0.1:{server.port}/cam" in str(caught.value)


def test_a_path_that_is_not_there_is_told(clip: Path) -> None:
    """A mistyped path is `not_found`, not a time-out."""
    with rtsp_server(clip) as server:
        source = create_source("front", settings(server.url() + "x"), SystemClock())
        with pytest.raises(SourceUnavailable) as caught:
            source.open()
        source.close()
    assert caught.value.code == "not_found"


def test_a_camera_comes_back_after_its_server_was_away(clip: Path) -> None:
    """A server that dies makes the camera lost, with warnings in the log for the first failure only; when it is there
    again the camera is online by itself."""
    with (
        capture_logs() as logs,
        rtsp_server(clip) as server,
        watched(server.url(), backoff_initial=0.2, backoff_max=0.5) as camera,
    ):
        camera.reach(Phase.ONLINE)
        server.kill()
        lost = camera.reach(Phase.LOST)

        def gone_for_a_while() -> bool:
            return camera.worker.state.failures >= 4

        wait_for(gone_for_a_while, what="four attempts in vain")
        with rtsp_server(clip, port=server.port):
            camera.reach(Phase.ONLINE)
            camera.next_frame_number()
            phases = [phase for phase, _ in itertools.groupby(state.phase for state in camera.states)]
    assert lost.code in ("lost", "ended", "refused", "timeout")
    assert phases == [Phase.STARTING, Phase.ONLINE, Phase.LOST, Phase.ONLINE]
    lines = [line["log_level"] for line in logs]
    online = [number for number, line in enumerate(logs) if line["event"] == "camera online"]
    assert lines[: online[1]].count("warning") == 1


def test_a_camera_that_falls_silent_is_lost(clip: Path) -> None:
    """Open sockets without data are no stream: after `read_timeout` the camera is lost, and it comes back."""
    with (
        rtsp_server(clip) as server,
        watched(server.url(), read_timeout=1.0, open_timeout=2.0, backoff_initial=0.2, backoff_max=0.5) as camera,
    ):
        camera.reach(Phase.ONLINE)
        server.freeze()
        assert camera.reach(Phase.LOST).code == "timeout"
        server.thaw()
        # No thread was given up: FFmpeg kept to its time-out.
        assert camera.reach(Phase.ONLINE).generation == 1


class Stalling:
    """A source whose reader can be held up, as by a machine that is too busy."""

    def __init__(self, url: str, clock: SystemClock) -> None:
        self.source = create_source("front", settings(url, max_lag=0.5), clock)
        self.free = threading.Event()

    def stall(self, seconds: float) -> Captured:
        self.free.wait(seconds)
        return self.source.read()


def test_a_reader_that_falls_behind_skips_to_a_key_frame_and_says_so(clip: Path) -> None:
    """What queued up during a stall is dropped undecoded: the next picture is a key frame of now, and the number of
    frames passed over is told exactly."""
    with rtsp_server(clip) as server:
        stalling = Stalling(server.url(), SystemClock())
        source = stalling.source
        source.open()
        before = [number_of(source.read().picture) for _ in range(20)][-1]
        captured = stalling.stall(3.0)
        after = number_of(captured.picture)
        following = [source.read() for _ in range(30)]
        source.close()
    assert after % GOP == 0
    assert captured.skipped == (after - before - 1) % FRAMES
    assert captured.skipped >= 2 * FPS
    assert [number_of(one.picture) for one in following] == [(after + 1 + n) % FRAMES for n in range(30)]
    assert sum(one.skipped for one in following) == 0


def test_a_server_that_says_nothing_is_a_timeout() -> None:
    """Opening ends after its time-out, and the error says so whatever FFmpeg called it."""
    with silent_server() as port:
        source = create_source("front", settings(f"rtsp://127.0.0.1:{port}/cam", open_timeout=1.0), SystemClock())
        with pytest.raises(SourceUnavailable) as caught:
            source.open()
        source.close()
    assert caught.value.code == "timeout"


class DeafSource:
    """Stands for a library that ignores its time-outs: `open` returns when the peer closes, not before."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def open(self) -> None:
        self.connection.recv(1)
        raise SourceUnavailable("rtsp://***@host/cam: the peer hung up", code="lost")

    def read(self) -> Captured:
        raise AssertionError("it was never opened")

    def close(self) -> None:
        """Nothing is open."""


def test_a_thread_that_hangs_in_a_library_is_replaced() -> None:
    """The thread of a call that does not return is abandoned by generation, and stopping does not wait for it."""
    clock = SystemClock()
    camera, library = socket.socketpair()
    with library:
        with camera:
            worker = CameraWorker(
                "front",
                settings("synthetic:", open_timeout=0.5, read_timeout=0.5, backoff_initial=0.05, backoff_max=0.1),
                Mailboxes(clock),
                clock,
                lambda _state: None,
                source_factory=lambda *_: DeafSource(library),
            )
            worker.start()

            def replaced() -> bool:
                worker.check(clock.monotonic())
                return worker.state.generation == 2

            wait_for(replaced, timeout=15.0, what="a second generation")
            assert worker.state.code == "timeout"
            assert not worker.stop(0.1)
        assert wait_for(lambda: worker.stop(1.0), what="the hanging threads end")

"""Cameras that fail in the ways of the field, over real sockets and the real decoder."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest

from hailod.clock import Clock, FakeClock, SystemClock
from hailod.config.model import CameraSettings
from hailod.errors import SourceLost, SourceUnavailable
from hailod.mailbox import Skip
from hailod.pipeline.camera import MAX_ABANDONED
from hailod.pipeline.camera_state import Phase
from hailod.sources import create_source
from hailod.sources.base import Captured, Source
from tests.support.broken_peers import NameServer, RtspCamera, Unit, access_units
from tests.support.mjpeg import MjpegServer, jpeg, numbered
from tests.support.rtsp import BITS, make_clip, number_of, require_server, rtsp_server
from tests.support.waiting import wait_for
from tests.support.watched import Watched, settings, watched

SMALL, LARGE = (192, 96), (320, 240)
TICKS = 3600
IMPATIENT = {"open_timeout": 1.0, "read_timeout": 1.0}
QUICK = {"backoff_initial": 0.1, "backoff_max": 0.3}


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Fifty access units that carry their numbers, with a key frame at every tenth."""
    return access_units(make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=50, gop=10))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return access_units(make_clip(tmp_path_factory.mktemp("clip") / "large.mp4", frames=50, gop=10, size=LARGE))


def stamped(units: Iterable[bytes]) -> Iterable[Unit]:
    """With the RTP timestamps of 25 frames a second."""
    return ((unit, number * TICKS) for number, unit in enumerate(units))


def damaged(unit: bytes) -> bytes:
    """The same with its second half overwritten."""
    return unit[: len(unit) // 2] + bytes(byte ^ 0x5A for byte in unit[len(unit) // 2 :])


def numbers(camera: Watched) -> list[int]:
    return [number_of(frame.picture) for frame in camera.frames()]


def test_a_camera_that_describes_itself_and_sends_nothing_is_a_timeout() -> None:
    """An RTSP session without data is no picture: lost by its time-out, whatever was promised."""
    with RtspCamera() as peer, watched(peer.url, open_timeout=1.0, read_timeout=0.5, **QUICK) as camera:
        assert camera.reach(Phase.LOST).code == "timeout"
        assert camera.phases == [Phase.STARTING, Phase.LOST]
        assert "PLAY" in peer.asked


@pytest.mark.parametrize(("status", "code"), [("404 Not Found", "not_found"), ("401 Unauthorized", "unauthorised")])
def test_a_refusal_is_told_for_what_it_is(status: str, code: str) -> None:
    """What an RTSP server answers comes out as its code, with words for what to do."""
    with RtspCamera(status=status) as peer, watched(peer.url, backoff_max=60.0) as camera:
        state = camera.reach(Phase.LOST)
    assert state.code == code
    assert state.fix


def test_a_wrong_password_is_sent_once_in_the_longest_delay() -> None:
    """One attempt is one login, and the next comes after the longest delay: no account is locked by us."""
    clock = FakeClock()
    with RtspCamera(status="401 Unauthorized") as peer:
        url = peer.url.replace("//", "//user:wrong@")
        with watched(url, clock=clock, open_timeout=120.0, backoff_initial=0.05, backoff_max=30.0) as camera:
            for attempt in (1, 2, 3):
                camera.until(lambda state, attempt=attempt: state.failures == attempt, what="it is refused")
                # Without a login, and then with it.
                assert peer.asked.count("DESCRIBE") == 2 * attempt
                clock.advance(30.0)


class Resolving:
    """Makes sources whose host names are looked up at a name server of the test's own."""

    def __init__(self, names: NameServer) -> None:
        self._names = names

    def __call__(self, name: str, wanted: CameraSettings, _clock: Clock) -> Source:
        self._names.use()
        return create_source(name, wanted, SystemClock())


def test_a_name_server_that_never_answers_costs_few_threads() -> None:
    """Look-ups that do not return are given up, two at most; then the camera is stuck. When the name server answers,
    the camera is online by itself."""
    clock = FakeClock()
    with NameServer() as names, MjpegServer(numbered()) as peer:
        url = peer.url.replace("127.0.0.1", "camera.example")
        with watched(url, clock=clock, source_factory=Resolving(names), open_timeout=5.0, **QUICK) as camera:

            def turn(seconds: float) -> None:
                clock.advance(seconds)
                camera.worker.check(clock.monotonic())

            for number in range(1, MAX_ABANDONED + 2):

                def asked(number: int = number) -> bool:
                    turn(0.1)
                    # For an address of each kind.
                    return names.questions == 2 * number

                wait_for(asked, what=f"look-up {number} waits")
                turn(7.1)
            assert camera.worker.state.phase is Phase.STUCK
            turn(100.0)
            assert names.questions == 2 * (MAX_ABANDONED + 1)
            assert sum(thread.name == "camera-front" for thread in threading.enumerate()) == MAX_ABANDONED + 1
            names.answer()

            def online() -> bool:
                turn(0.1)
                return camera.worker.state.phase is Phase.ONLINE

            wait_for(online, what="the camera is online")


def test_a_camera_whose_name_is_unknown_is_told() -> None:
    """A host name that does not exist is `dns`, not an I/O error."""
    with NameServer() as names:
        names.answer(known=False)
        with watched("rtsp://camera.example/cam", source_factory=Resolving(names), backoff_max=60.0) as camera:
            assert camera.reach(Phase.LOST).code == "dns"


def test_a_frozen_picture_is_offline_until_it_moves() -> None:
    """The same picture for `frozen_after` seconds: frozen, opened anew once, nothing of it used, back with a change."""
    with MjpegServer(numbered()) as peer, watched(peer.url, frozen_after=1.0, depth=10_000) as camera:
        camera.reach(Phase.ONLINE)
        peer.show(itertools.repeat(jpeg(7)))
        camera.reach(Phase.FROZEN)
        wait_for(lambda: peer.visits == 2, what="it was opened anew")
        seen, offered = camera.skipped[Skip.FROZEN], len(camera.frames())
        camera.until(lambda _: camera.skipped[Skip.FROZEN] > seen + 25, what="it stays frozen")
        assert offered
        assert camera.frames() == []
        peer.show(numbered())
        camera.reach(Phase.ONLINE)
        assert peer.visits == 2
        assert camera.phases == [Phase.STARTING, Phase.ONLINE, Phase.FROZEN, Phase.ONLINE]


def test_a_broken_frame_is_counted_and_never_used(units: list[bytes]) -> None:
    """Frames with damaged data are left out, each counted; the camera stays online and all others are used."""
    broken = {13, 14, 27}
    sent = [damaged(unit) if number in broken else unit for number, unit in enumerate(units)]
    with (
        RtspCamera(stamped(itertools.chain(sent, units))) as peer,
        watched(peer.url, depth=10_000, max_lag=60.0) as camera,
    ):
        camera.until(lambda _: camera.skipped.get(Skip.CORRUPT, 0) == len(broken), what="all are counted")
        camera.until(lambda _: camera.mailboxes.snapshot().cameras["front"].offered >= 60, what="it goes on")
        assert camera.phases == [Phase.STARTING, Phase.ONLINE]
        got = numbers(camera)
    assert [number for number in range(50) if number not in got[:47]] == sorted(broken)


def test_a_stream_that_is_mostly_broken_is_told(units: list[bytes]) -> None:
    """Most frames of some seconds damaged: the camera is online and `corrupt`."""
    sent = [unit if number % 10 == 0 else damaged(unit) for number, unit in enumerate(units)]
    with RtspCamera(stamped(itertools.cycle(sent))) as peer, watched(peer.url) as camera:
        camera.until(lambda state: state.corrupt, what="it is told")
        assert camera.worker.state.phase is Phase.ONLINE
        assert camera.skipped[Skip.CORRUPT] > 25


def test_a_stream_of_which_nothing_can_be_decoded_is_lost(units: list[bytes]) -> None:
    """Data without a picture is a lost camera, and every broken frame is in the books."""
    sent = itertools.chain(units[:1], itertools.repeat(damaged(units[1]), 60))
    with RtspCamera(stamped(sent)) as peer:
        source = create_source("front", settings(peer.url, read_timeout=1.5), SystemClock())
        source.open()
        broken = 0

        def read_to_the_end() -> None:
            nonlocal broken
            while True:
                broken += source.read().corrupt

        with pytest.raises(SourceLost) as caught:
            read_to_the_end()
        source.close()
    assert caught.value.code == "corrupt"
    assert broken >= 25


def test_a_jpeg_that_breaks_off_is_never_used() -> None:
    """A picture whose rest did not arrive would be decoded with plain grey for it; it is counted instead."""
    torn = (data if number % 3 else data[: len(data) // 2] for number, data in enumerate(numbered()))
    with MjpegServer(torn) as peer, watched(peer.url, depth=10_000, max_lag=60.0) as camera:
        camera.until(lambda _: camera.skipped.get(Skip.CORRUPT, 0) >= 8, what="broken ones are counted")
        got = numbers(camera)
        assert camera.phases == [Phase.STARTING, Phase.ONLINE]
    assert len(got) >= 15
    assert all(number % 3 for number in got)


@pytest.mark.parametrize("kind", ["rtsp", "mjpeg"])
def test_another_resolution_in_mid_stream_is_taken(units: list[bytes], large: list[bytes], kind: str) -> None:
    """A camera that is set to another resolution while it streams is not lost, and its pictures have the new size."""
    clips = [*units[:20], *large[:20], *units[20:]]
    pictures = (jpeg(number % 2**BITS, size=LARGE if 20 <= number < 40 else SMALL) for number in itertools.count())
    peer = RtspCamera(stamped(clips)) if kind == "rtsp" else MjpegServer(pictures)
    with peer, watched(peer.url, depth=10_000, max_lag=60.0) as camera:

        def sizes() -> list[tuple[int | None, int | None]]:
            seen = [(state.width, state.height) for state in camera.states if state.phase is Phase.ONLINE]
            return [size for size, _ in itertools.groupby(seen)]

        camera.until(lambda _: sizes() == [SMALL, LARGE, SMALL], what="there and back")
        assert camera.phases == [Phase.STARTING, Phase.ONLINE]
        assert {(f.picture.width, f.picture.height) for f in camera.frames()} == {SMALL, LARGE}
        assert not camera.skipped


def test_an_rtsp_server_that_comes_back_with_another_resolution_is_taken(tmp_path: Path) -> None:
    """A camera that was replaced or set up anew while it was away is online with what it sends now."""
    require_server()
    before, after = make_clip(tmp_path / "a.mp4", gop=5), make_clip(tmp_path / "b.mp4", gop=5, size=LARGE)
    with rtsp_server(before) as server, watched(server.url(), **QUICK) as camera:
        camera.reach(Phase.ONLINE)
        server.kill()
        camera.reach(Phase.LOST)
        with rtsp_server(after, port=server.port):
            camera.until(lambda state: (state.phase, state.width, state.height) == (Phase.ONLINE, *LARGE))


def test_timestamps_that_jump_cost_no_frame(units: list[bytes]) -> None:
    """A camera that sets its clock, forward by an hour and back by more, is neither behind nor silent for it."""
    jumps = {15: 90_000 * 3600, 30: -90_000 * 5000, 40: 90_000 * 5}
    offsets = itertools.accumulate(jumps.get(number, 0) for number in range(len(units)))
    sent = [(unit, number * TICKS + offset) for (number, unit), offset in zip(enumerate(units), offsets, strict=True)]
    with RtspCamera(sent) as peer, watched(peer.url, depth=10_000, read_timeout=1.0, max_lag=5.0) as camera:
        camera.reach(Phase.ONLINE)
        # The last one would be told when the next begins.
        camera.until(lambda _: camera.mailboxes.snapshot().cameras["front"].offered == 49, what="all frames")
        assert numbers(camera) == list(range(49))
        assert camera.phases == [Phase.STARTING, Phase.ONLINE]
        assert not camera.skipped


class Slow:
    """A machine that takes 0.15 s for each picture."""

    def __init__(self, name: str, wanted: CameraSettings, clock: Clock) -> None:
        self._source = create_source(name, wanted, clock)
        self._busy = threading.Event()

    def open(self) -> None:
        self._source.open()

    def read(self) -> Captured:
        self._busy.wait(0.15)
        return self._source.read()

    def close(self) -> None:
        self._source.close()


@pytest.mark.parametrize("kind", ["rtsp", "mjpeg"])
def test_a_stream_faster_than_it_can_be_decoded_is_told(units: list[bytes], kind: str) -> None:
    """The camera stays online and says that it is behind; what was skipped is counted, what is used goes on."""
    source = RtspCamera(stamped(itertools.cycle(units))) if kind == "rtsp" else MjpegServer(numbered())
    with source as peer, watched(peer.url, source_factory=Slow, max_lag=0.5, depth=10_000) as camera:
        camera.until(lambda state: state.behind, what="it is behind")
        skipped = camera.skipped.get(Skip.LAG, 0)
        camera.until(lambda _: camera.skipped.get(Skip.LAG, 0) > skipped, what="it skips on")
        assert camera.phases == [Phase.STARTING, Phase.ONLINE]
        books = camera.mailboxes.snapshot().cameras["front"]
        # What is not skipped stays little: the lag does not grow.
        assert peer.sent - books.captured < 50


@pytest.mark.parametrize(("fps", "count"), [(1, 2), (120, 240)])
def test_slow_and_fast_cameras_lose_nothing(tmp_path: Path, fps: int, count: int) -> None:
    """One frame a second is not silence, and 120 are not a flood: every frame is delivered."""
    require_server()
    clip = make_clip(tmp_path / "clip.mp4", frames=4 * fps, fps=fps, gop=2 * fps)
    with rtsp_server(clip) as server, watched(server.url(), depth=10_000, max_lag=60.0) as camera:
        camera.reach(Phase.ONLINE)
        camera.until(lambda _: camera.mailboxes.snapshot().cameras["front"].offered >= count, what="its frames")
        got = numbers(camera)
        assert camera.phases == [Phase.STARTING, Phase.ONLINE]
        assert not camera.skipped
    assert got == [(got[0] + place) % (4 * fps) for place in range(len(got))]


def test_a_sleeping_camera_comes_and_goes(units: list[bytes]) -> None:
    """A battery camera wakes, sends some frames and is gone again: asleep, online, asleep, and never lost."""
    with MjpegServer(numbered()) as peer, watched(peer.url, sleeps=True, backoff_max=0.2, **IMPATIENT) as camera:
        camera.reach(Phase.ONLINE)
        peer.show(None)
        peer.hang_up()
        camera.reach(Phase.ASLEEP)
        camera.until(lambda state: state.failures >= 2, what="it is tried again")
        peer.show(numbered())
        camera.reach(Phase.ONLINE)
        assert camera.phases == [Phase.STARTING, Phase.ONLINE, Phase.ASLEEP, Phase.ONLINE]


def test_one_cameras_fault_costs_the_other_no_frame(units: list[bytes]) -> None:
    """While one camera breaks, hangs up and comes back again and again, the other delivers every single frame."""
    broken = itertools.cycle([*map(damaged, units[:30]), units[0]])
    with (
        RtspCamera(stamped(units)) as good,
        RtspCamera(stamped(broken)) as bad,
        MjpegServer(numbered()) as gone,
        watched(bad.url, name="bad", **IMPATIENT, **QUICK),
        watched(gone.url, name="gone", **IMPATIENT, **QUICK) as flapping,
        watched(good.url, depth=10_000, max_lag=60.0, read_timeout=1.0) as camera,
    ):
        camera.reach(Phase.ONLINE)
        for _ in range(3):
            flapping.reach(Phase.ONLINE)
            gone.hang_up()
            flapping.reach(Phase.LOST)
        camera.until(lambda _: camera.mailboxes.snapshot().cameras["front"].offered == 49, what="all its frames")
        assert numbers(camera) == list(range(49))
        assert not camera.skipped


def test_an_unreachable_port_is_refused(free_port: int) -> None:
    """A camera that is off is `refused`, over RTSP and HTTP alike."""
    for url in (f"rtsp://127.0.0.1:{free_port}/cam", f"http://127.0.0.1:{free_port}/video"):
        source = create_source("front", settings(url), SystemClock())
        opening = partial(source.open)
        with pytest.raises(SourceUnavailable) as caught:
            opening()
        source.close()
        assert caught.value.code == "refused"

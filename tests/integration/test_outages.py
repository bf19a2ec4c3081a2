"""Cameras and brokers that go away and come back, as the whole daemon takes it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.support.broker import Broker, Observer, free_port
from tests.support.daemon import BASE, SEES_TWO, Daemon
from tests.support.rtsp import make_clip, require_server, rtsp_server
from tests.support.waiting import wait_for

MODEL = """
[models.two]
path = "two.sim.toml"
"""
SOON_STALE = """
[pipeline]
stale_after = 1.0
"""
EVERY_FRAME = "detections_max_hz = 30\n"
BACKOFF = "backoff_initial = 0.2\nbackoff_max = 0.5\n"

# As a password is written into a URL, and as the camera knows it.
WRITTEN, PASSWORD = "geheim%40zu%2Fhaus", "geheim@zu/haus"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=50, fps=25, gop=10)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    return tmp_path


def camera(name: str, source: str | Path, more: str = BACKOFF) -> str:
    return f'[cameras.{name}]\nsource = "{source}"\n{more}'


def reasons(observer: Observer) -> dict[str, str]:
    """The text of each reason that health tells now, by its code and all its words."""
    seen = observer.of(f"{BASE}/health")
    found = seen[-1].json["reasons"] if seen else []
    return {" ".join((r["code"], r["text"], r.get("fix", ""))): r["text"] for r in found}


def told(observer: Observer, code: str, *words: str) -> bool:
    return any(key.startswith(code) and all(word in key for word in words) for key in reasons(observer))


def status(observer: Observer, name: str) -> bytes | None:
    seen = observer.of(f"{BASE}/cam/{name}/status")
    return seen[-1].payload if seen else None


def offline(observer: Observer, name: str) -> bool:
    return status(observer, name) == b"offline"


def frames(observer: Observer, name: str) -> list[int]:
    return [message.json["frame"] for message in observer.of(f"{BASE}/cam/{name}/detections")]


def test_a_camera_that_dies_comes_back_and_the_others_never_notice(home: Path, broker: Broker, clip: Path) -> None:
    """While an RTSP server is dead its camera is offline and health says why; all other cameras go on; when it is
    there again the camera is online by itself."""
    require_server()
    with rtsp_server(clip) as server:
        body = SOON_STALE + MODEL + camera("gate", server.url()) + camera("yard", "synthetic:?size=160x120&fps=10")
        with Observer(broker.port, f"{BASE}/#") as observer, Daemon(home, broker, body, mqtt=EVERY_FRAME) as daemon:
            wait_for(lambda: status(observer, "gate") == status(observer, "yard") == b"online", what="both are online")
            undisturbed = len(observer.of(f"{BASE}/cam/yard/status"))
            server.kill()
            wait_for(partial(offline, observer, "gate"), what="the camera is offline")
            wait_for(lambda: told(observer, "camera_lost", "camera gate", "nothing listens"), what="health tells why")
            dead, alive = len(frames(observer, "gate")), len(frames(observer, "yard"))
            wait_for(lambda: len(frames(observer, "yard")) >= alive + 20, what="the other camera goes on")
            assert len(frames(observer, "gate")) == dead
            assert observer.of(f"{BASE}/cam/gate/state")[-1].json["stale"] is not None
            with rtsp_server(clip, port=server.port):
                wait_for(lambda: status(observer, "gate") == b"online", what="the camera is back", timeout=20.0)
                wait_for(lambda: len(frames(observer, "gate")) > dead + 5, what="its results are back")
                wait_for(lambda: not told(observer, "camera"), what="health is well")
                assert observer.of(f"{BASE}/cam/gate/state")[-1].json["stale"] is None
                assert len(observer.of(f"{BASE}/cam/yard/status")) == undisturbed
                assert daemon.stop() == 0
            seen = frames(observer, "yard")
            # Ten a second: whatever stops for the dead camera's sake would leave a hole of more than a second.
            assert all(0 < later - earlier <= 10 for earlier, later in itertools.pairwise(seen))
    lines = [line for line in daemon.lines if "camera=gate" in line]
    assert [sum(word in line for line in lines) for word in ("camera online", "camera lost")] == [2, 1]
    assert "frames accounted for" in daemon.output
    # Results are overdue, but health does not say that the camera delivers and the device does not.
    assert "camera_stale" not in daemon.output.partition("camera lost")[2]


def test_each_camera_that_cannot_be_had_is_told_with_what_to_do(home: Path, broker: Broker, clip: Path) -> None:
    """Cameras that are down from the start, a file that ends, a device that is not plugged in: each says what is wrong
    and what to do, none keeps the others from working."""
    body = MODEL + "".join(
        (
            camera("yard", "synthetic:?size=160x120&fps=10"),
            camera("down", f"rtsp://127.0.0.1:{free_port()}/cam"),
            camera("film", clip),
            camera("gone", home / "nothing.mp4"),
            camera("usb", "v4l2:/dev/video9"),
        )
    )
    with Observer(broker.port, f"{BASE}/#") as observer, Daemon(home, broker, body) as daemon:
        wait_for(lambda: status(observer, "yard") == b"online", what="the one camera that is there is online")
        wait_for(lambda: told(observer, "camera_lost", "camera down", "nothing listens there"), what="refused")
        wait_for(lambda: told(observer, "camera_ended", "camera film", "at its end"), what="the file's end")
        wait_for(lambda: told(observer, "camera_lost", "camera gone", "not found", "check the path"), what="no file")
        wait_for(lambda: told(observer, "camera_lost", "camera usb", "v4l2-ctl --list-devices"), what="no device")
        for name in ("down", "film", "gone", "usb"):
            wait_for(partial(offline, observer, name), what=f"{name} is offline")
        assert observer.of(f"{BASE}/health")[-1].json["state"] == "degraded"
        seen = len(observer.of(f"{BASE}/cam/yard/detections"))
        observer.wait_for(f"{BASE}/cam/yard/detections", seen + 3)
        assert daemon.stop() == 0
    assert sum("camera ended" in line for line in daemon.lines) == 1


def leaks_of(pid: int) -> list[str]:
    """Processes of a daemon that show a password to whoever lists processes, or hand it on in their environment."""
    found = []
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        for name in ("cmdline", "environ"):
            text = Path(f"/proc/{process.pid}/{name}").read_bytes().decode(errors="replace")
            found += [f"{name} of {process.pid}" for secret in (WRITTEN, PASSWORD) if secret in text]
    return found


@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_passwords_stay_where_they_are(home: Path, broker: Broker, clip: Path, auth: str) -> None:
    """With the right password a camera works, with a wrong one it says so, and when it dies it is lost; neither
    password is in any message, log line, traceback or process list, even at log level debug."""
    require_server()
    with rtsp_server(clip, auth=auth, user="viewer", password=PASSWORD) as server:
        wrong = server.url(f"viewer:x{WRITTEN}")
        body = MODEL + camera("right", server.url(f"viewer:{WRITTEN}")) + camera("wrong", wrong)
        with (
            Observer(broker.port, "#") as observer,
            Daemon(home, broker, body, head='log_level = "debug"\n') as daemon,
        ):
            observer.wait_for(f"{BASE}/cam/right/detections", 2)
            wait_for(lambda: told(observer, "camera_lost", "camera wrong", "user name or password refused"), what="why")
            wait_for(partial(offline, observer, "wrong"), what="the camera is offline")
            assert "code=unauthorised" in daemon.output
            for name in ("right", "wrong"):
                source = observer.of(f"{BASE}/cam/{name}/settings")[-1].json["source"]
                assert source == f"rtsp://***@127.0.0.1:{server.port}/cam"
            assert daemon.host
            assert leaks_of(daemon.process.pid) == []
            wait_for(lambda: "camera still lost" in daemon.output, what="repeats are logged at level debug")
            server.kill()
            wait_for(lambda: told(observer, "camera_lost", "camera right"), what="the good camera is lost")
            assert daemon.stop() == 0
            with Observer(broker.port, "#") as late:
                late.wait_for(f"{BASE}/cam/right/settings")
                messages = [*observer.seen, *late.seen]
    assert len(messages) > 20
    for secret in (WRITTEN, PASSWORD, "geheim", "viewer"):
        assert [m.topic for m in messages if secret.encode() in m.payload] == []
        assert [line for line in daemon.lines if secret in line] == []


def test_inference_goes_on_without_a_broker(home: Path, broker: Broker, clip: Path) -> None:
    """A clip that is played to its end while the broker is away is worked through whole; what could not be told
    meanwhile is counted, not kept, and the state is told when the broker is back."""
    film = make_clip(home / "film.mp4", frames=100, fps=25, gop=25)
    with Daemon(home, broker, MODEL + camera("film", film, "enabled = false\n")) as daemon:
        with Observer(broker.port, f"{BASE}/#") as observer:
            wait_for(lambda: "model in service" in daemon.output, what="the model is loaded", timeout=30.0)
            observer.publish(f"{BASE}/cam/film/set/enabled", "ON")
            before = observer.wait_for(f"{BASE}/cam/film/detections")[-1].json["frame"]
        broker.stop()
        wait_for(lambda: "broker_down" in daemon.output, what="the outage is told")
        wait_for(lambda: "camera ended" in daemon.output, what="the clip is played to its end")
        assert daemon.output.index("broker_down") < daemon.output.index("camera ended")
        broker.start()
        with Observer(broker.port, f"{BASE}/#") as observer:
            health = wait_for(
                lambda: [m.json for m in observer.of(f"{BASE}/health") if not told(observer, "broker_down")],
                what="health is told again",
                timeout=20.0,
            )[-1]
            assert told(observer, "camera_ended", "camera film")
            assert health["mqtt"]["dropped"]["detections"] > 0
            assert health["mqtt"]["reconnects"] == 1
            assert health["frames"]["balanced"] is True
            assert health["frames"]["cameras"]["film"]["captured"] == 100
            books = health["frames"]["models"]["film/two"]
            assert books["in_flight"] == 0
            assert books["done"] > before
            assert observer.wait_for(f"{BASE}/metrics")[-1].json["frames_total"] == 100
            assert daemon.stop() == 0

"""What the whole daemon says of cameras that fail, hang, sleep and change, as a subscriber sees it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import Broker, Observer
from tests.support.daemon import BASE, FRONT, SEES_TWO, Daemon
from tests.support.mjpeg import MjpegServer, jpeg, numbered
from tests.support.waiting import wait_for

MODEL = """
[models.two]
path = "two.sim.toml"
"""
SOON_STALE = "[pipeline]\nstale_after = 1.0\n"
EVERY_FRAME = "detections_max_hz = 30\n"
IMPATIENT = "open_timeout = 1.0\nread_timeout = 1.0\nbackoff_initial = 0.1\nbackoff_max = 0.3\n"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    return tmp_path


def front(url: str, more: str = "") -> str:
    return f'{MODEL}[cameras.front]\nsource = "{url}"\n{IMPATIENT}{more}'


def statuses(observer: Observer) -> list[str]:
    return [message.payload.decode() for message in observer.of(f"{FRONT}/status")]


def becomes(observer: Observer, status: str) -> None:
    wait_for(lambda: statuses(observer)[-1:] == [status], what=f"the camera is {status}", timeout=30.0)


def events(observer: Observer) -> list[dict[str, Any]]:
    return [message.json for message in observer.of(f"{FRONT}/event")]


def reason(observer: Observer, code: str) -> dict[str, Any]:
    """The reason of this code that health gives; waits for it."""

    def given() -> list[dict[str, Any]]:
        seen = observer.of(f"{BASE}/health")
        return [each for each in seen[-1].json["reasons"] if each["code"] == code] if seen else []

    return wait_for(given, what=f"health tells {code}")[0]


def well(observer: Observer) -> bool:
    seen = observer.of(f"{BASE}/health")
    return bool(seen) and seen[-1].json["state"] == "ok"


def test_a_lost_camera_is_told_and_its_return(home: Path, broker: Broker) -> None:
    """A loss is one event, a status and a reason with what is done and what helps; the return is one event with how
    long it took. Events are never retained."""
    with (
        MjpegServer(numbered()) as peer,
        Observer(broker.port, f"{BASE}/#") as observer,
        Daemon(home, broker, front(peer.url)) as daemon,
    ):
        becomes(observer, "online")
        peer.show(None)
        becomes(observer, "offline")
        told = reason(observer, "camera_lost")
        assert told["subject"] == "front"
        assert told["fix"] == "check that the camera is on and reachable"
        assert "tried again" in told["doing"]
        peer.show(numbered())
        becomes(observer, "online")
        wait_for(lambda: well(observer), what="health is ok")
        lost, recovered = wait_for(lambda: len(events(observer)) >= 2 and events(observer), what="both events")
        assert (lost["event_type"], lost["code"], lost["seq"]) == ("camera_lost", "timeout", 1)
        assert (recovered["event_type"], recovered["code"], recovered["seq"]) == ("camera_recovered", "timeout", 2)
        assert recovered["duration_s"] > 0
        assert lost["id"] != recovered["id"]
        with Observer(broker.port, f"{BASE}/#") as late:
            late.wait_for(f"{FRONT}/status")
            late.wait_for(f"{FRONT}/detections")
            assert late.of(f"{FRONT}/event") == []
        assert daemon.stop() == 0
    assert "frames accounted for" in daemon.output


def test_a_frozen_camera_is_offline_and_sees_nothing(home: Path, broker: Broker) -> None:
    """While its picture hangs a camera is offline, frames of it are detected nothing in, and its counts are not zero
    but flagged old."""
    with (
        MjpegServer(numbered()) as peer,
        Observer(broker.port, f"{BASE}/#") as observer,
        Daemon(home, broker, front(peer.url, f"frozen_after = 1.0\n{SOON_STALE}"), mqtt=EVERY_FRAME) as daemon,
    ):
        becomes(observer, "online")
        peer.show(itertools.repeat(jpeg(7)))
        becomes(observer, "offline")
        assert "same picture" in reason(observer, "camera_frozen")["text"]
        last = len(observer.of(f"{FRONT}/detections"))
        wait_for(lambda: observer.of(f"{FRONT}/state")[-1].json["stale"], what="the counts are flagged")
        assert observer.of(f"{FRONT}/state")[-1].json["objects"] == {"person": 1, "car": 1}
        assert len(observer.of(f"{FRONT}/detections")) == last
        peer.show(numbered())
        becomes(observer, "online")
        wait_for(lambda: well(observer), what="health is ok")
        wait_for(lambda: len(events(observer)) >= 2, what="both events")
        assert [(event["event_type"], event["code"]) for event in events(observer)] == [
            ("camera_lost", "frozen"),
            ("camera_recovered", "frozen"),
        ]
        assert daemon.stop() == 0


def test_a_sleeping_camera_is_offline_and_all_is_well(home: Path, broker: Broker) -> None:
    """While a battery camera is away it is offline; health, events and log make nothing of it."""
    with (
        MjpegServer(numbered()) as peer,
        Observer(broker.port, f"{BASE}/#") as observer,
        Daemon(home, broker, front(peer.url, "sleeps = true\n")) as daemon,
    ):
        becomes(observer, "online")
        wait_for(lambda: well(observer), what="health is ok")
        before = len(observer.of(f"{BASE}/health"))
        peer.show(None)
        peer.hang_up()
        becomes(observer, "offline")
        visits = peer.visits
        wait_for(lambda: peer.visits >= visits + 2, what="it is tried again")
        peer.show(numbered())
        becomes(observer, "online")
        assert daemon.stop() == 0
        assert {message.json["state"] for message in observer.of(f"{BASE}/health")[before - 1 :]} == {"ok"}
        assert events(observer) == []
    assert not [line for line in daemon.lines if "camera=front" in line and ("warning" in line or "error" in line)]


def test_boxes_are_right_for_a_resolution_that_changes(home: Path, broker: Broker) -> None:
    """When a camera changes its picture's shape in mid-stream, boxes are those of the new shape at once."""
    with (
        MjpegServer(numbered(size=(320, 240))) as peer,
        Observer(broker.port, f"{BASE}/#") as observer,
        Daemon(home, broker, front(peer.url), mqtt=EVERY_FRAME) as daemon,
    ):
        becomes(observer, "online")
        peer.show(numbered(size=(192, 96)))

        def of_width(width: int) -> list[dict[str, Any]]:
            return [m.json for m in observer.of(f"{FRONT}/detections") if m.json["w"] == width]

        wait_for(lambda: len(of_width(192)) >= 3, what="detections in the new size")
        # The model's input is 128x96. 4:3 fills it; 2:1 lies in its middle 64 lines, so that heights are stretched.
        for width, height, box in ((320, 240, [0.1, 0.2, 0.3, 0.8]), (192, 96, [0.1, 0.05, 0.3, 0.95])):
            for seen in of_width(width):
                assert seen["h"] == height
                assert seen["dets"][0]["b"] == pytest.approx(box, abs=0.003)
        assert statuses(observer)[-1] == "online"
        assert events(observer) == []
        assert daemon.stop() == 0
    assert sum("camera online" in line for line in daemon.lines) == 1

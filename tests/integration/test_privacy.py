"""Privacy, pictures on demand and profiles, with the real daemon and a real broker."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.broker import Broker, Observer
from tests.support.daemon import BASE, FRONT, SEES_TWO, Daemon
from tests.support.waiting import wait_for

END = "end/of/what-is-retained"
BODY = """
[models.two]
path = "two.sim.toml"
[cameras.front]
source = "synthetic:?size=320x240&fps=20"
[cameras.back]
source = "synthetic:?size=320x240&fps=20"
"""
BACK = f"{BASE}/cam/back"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    return tmp_path


def ask(observer: Observer, name: str, identity: str, **args: object) -> dict[str, Any]:
    """Give a command; its final reply."""
    observer.publish(f"{BASE}/cmd/{name}", json.dumps({"id": identity, "args": args}))

    def final() -> list[dict[str, Any]]:
        replies = [message.json for message in observer.of(f"{BASE}/reply/{name}")]
        return [reply for reply in replies if reply["id"] == identity and reply["status"] != "accepted"]

    return wait_for(final, what=f"{name} is answered", timeout=30.0)[0]


def says(observer: Observer, topic: str, payload: bytes) -> None:
    """Wait until the daemon has said so, and nothing else since then."""

    def said() -> bool:
        told = [message for message in observer.of(topic) if not message.retain]
        return bool(told) and told[-1].payload == payload

    wait_for(said, what=f"{topic} says {payload!r}", timeout=30.0)


def retained(broker: Broker) -> dict[str, bytes]:
    """What the broker holds."""
    with Observer(broker.port, f"{BASE}/#", END) as late:
        late.wait_for(f"{BASE}/info")
        late.publish(END, "of what is retained")
        late.wait_for(END)
        return {message.topic: message.payload for message in late.seen if message.retain}


def test_privacy_closes_a_camera_and_survives_a_restart(home: Path, broker: Broker) -> None:
    """A private camera shows nothing, gives no picture, leaves none at the broker and is still private after a restart;
    the others go on, and turned back it shows again what it sees."""
    mqtt = 'snapshots = "retained"\n'
    with Observer(broker.port, f"{BASE}/#") as observer, Daemon(home, broker, BODY, mqtt=mqtt) as daemon:
        says(observer, f"{FRONT}/status", b"online")
        says(observer, f"{BACK}/status", b"online")
        assert ask(observer, "snapshot.take", "s1", camera="front")["status"] == "ok"
        shown = retained(broker)[f"{FRONT}/snapshot"]
        assert cv2.imdecode(np.frombuffer(shown, np.uint8), cv2.IMREAD_COLOR) is not None

        observer.publish(f"{FRONT}/set/privacy", "ON")
        says(observer, f"{FRONT}/status", b"disabled")
        wait_for(lambda: observer.of(f"{FRONT}/settings")[-1].json["privacy"] is True, what="its switch is told as on")
        wait_for(lambda: observer.of(f"{FRONT}/state")[-1].json["stale"], what="its counts are stale")
        assert f"{FRONT}/snapshot" not in retained(broker)
        assert ask(observer, "snapshot.take", "s2", camera="front")["error"]["code"] == "forbidden"
        told, others = len(observer.of(f"{FRONT}/detections")), len(observer.of(f"{BACK}/detections"))
        observer.wait_for(f"{BACK}/detections", others + 5)
        assert len(observer.of(f"{FRONT}/detections")) == told
        assert daemon.kill() == []

    with Observer(broker.port, f"{BASE}/#") as observer, Daemon(home, broker, BODY, mqtt=mqtt) as daemon:
        says(observer, f"{BACK}/status", b"online")
        says(observer, f"{FRONT}/status", b"disabled")
        observer.publish(f"{BASE}/set/privacy", "ON")
        says(observer, f"{BACK}/status", b"disabled")
        observer.publish(f"{FRONT}/set/privacy", "OFF")
        wait_for(lambda: observer.of(f"{FRONT}/settings")[-1].json["privacy"] is False, what="its own switch is off")
        assert ask(observer, "snapshot.take", "s3", camera="front")["error"]["code"] == "forbidden"
        assert not [seen for seen in observer.of(f"{FRONT}/detections") if not seen.retain]
        observer.publish(f"{BASE}/set/privacy", "OFF")
        says(observer, f"{FRONT}/status", b"online")
        says(observer, f"{BACK}/status", b"online")
        assert daemon.stop() == 0


def test_profile_is_a_file_of_the_node(home: Path, broker: Broker) -> None:
    """A profile ends as a file in the state folder, of which the reply says where it is and what is in it."""
    with Observer(broker.port, f"{BASE}/#") as observer, Daemon(home, broker, BODY) as daemon:
        says(observer, f"{FRONT}/status", b"online")
        reply = ask(observer, "profile.capture", "p", duration_s=1)
        assert observer.of(f"{BASE}/reply/profile.capture")[0].json["status"] == "accepted"
        path = Path(reply["data"]["path"])
        assert path.parent == daemon.state / "profiles"
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        profile = json.loads(path.read_text())
        assert len(profile["frames"]) == reply["data"]["frames"] > 0
        assert 0 < profile["summary"]["total"]["p50"] <= profile["summary"]["total"]["p99"]
        events = [message.json["event_type"] for message in observer.of(f"{BASE}/event")]
        assert "profile_ready" in events
        assert ask(observer, "snapshot.take", "s", camera="front")["status"] == "ok"
        assert "front/snapshot" not in "".join(retained(broker))
        assert daemon.stop() == 0


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_broker_keeps_a_picture_only_if_it_forgets_it(home: Path, broker: Broker, protocol: str) -> None:
    """Where pictures are retained the broker is told to forget them after a day; one that cannot retains none."""
    mqtt = f'protocol = "{protocol}"\nsnapshots = "retained"\n'
    with Observer(broker.port, f"{BASE}/#") as observer, Daemon(home, broker, BODY, mqtt=mqtt) as daemon:
        says(observer, f"{FRONT}/status", b"online")
        assert ask(observer, "snapshot.take", "s", camera="front")["status"] == "ok"
        (sent,) = observer.wait_for(f"{FRONT}/snapshot")
        assert sent.payload.startswith(b"\xff\xd8")
        if protocol == "5":
            assert sent.expiry is not None
            assert 86_000 < sent.expiry <= 86_400
        assert (f"{FRONT}/snapshot" in retained(broker)) is (protocol == "5")
        assert daemon.stop() == 0

"""A running daemon is changed from afar: models, cameras and settings come, change and go, and nothing else notices."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import Broker, Observer
from tests.support.daemon import BASE, FRONT, SEES_TWO, Daemon
from tests.support.waiting import wait_for

BODY = """
[models.two]
path = "two.sim.toml"
[models.other]
path = "other.sim.toml"
[models.broken]
path = "broken.sim.toml"
[cameras.front]
source = "synthetic:?size=320x240&fps=20"
"""
HEAD = 'model = "two"\n'


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("two", "other"):
        (tmp_path / f"{name}.sim.toml").write_text(SEES_TWO)
    # Its decoder does not fit its outputs, which shows when it is in service.
    (tmp_path / "broken.sim.toml").write_text('decoder = "yolox"\n' + SEES_TWO)
    (tmp_path / "state" / "models").mkdir(parents=True)
    (tmp_path / "state" / "models" / "added.sim.toml").write_text(SEES_TWO)
    return tmp_path


class Remote:
    """Sends commands and waits for their final replies."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._numbers = iter(range(1000))

    def __call__(self, name: str, args: object = None, **envelope: object) -> dict[str, Any]:
        identity = f"r{next(self._numbers)}"
        request = {"id": identity, "args": args, **envelope}
        self.observer.publish(f"{BASE}/cmd/{name}", json.dumps(request))

        def final() -> list[dict[str, Any]]:
            replies = [message.json for message in self.observer.of(f"{BASE}/reply/{name}")]
            return [reply for reply in replies if reply["id"] == identity and reply["status"] != "accepted"]

        return wait_for(final, what=f"{name} is answered", timeout=30.0)[0]

    def sees(self, camera: str, model: str) -> None:
        """Waits until the camera's next results come from that model."""
        topic = f"{BASE}/cam/{camera}/detections"
        seen = len(self.observer.of(topic))

        def by_it() -> bool:
            return any(message.json["model"] == model for message in self.observer.of(topic)[seen:])

        wait_for(by_it, what=f"{camera} sees with {model}", timeout=30.0)


def test_daemon_is_changed_while_it_runs(home: Path, broker: Broker) -> None:
    """A model is swapped, loaded in bigger batches, added and removed; a camera is added, turned and removed; all of it
    is told, kept and reset, and the camera that was there first goes on."""
    with Observer(broker.port, f"{BASE}/#") as observer, Daemon(home, broker, BODY, head=HEAD) as daemon:
        remote = Remote(observer)
        observer.wait_for(f"{FRONT}/detections", timeout=30.0)

        reply = remote("model.swap", {"model": "other"})
        assert (reply["status"], reply["data"]["proven"], reply["data"]["restarted"]) == ("ok", True, [])
        remote.sees("front", "other")
        reply = remote("settings.set", {"models": {"other": {"batch_size": 2}}})
        assert (reply["data"]["restarted"], reply["data"]["proven"]) == (["models.other"], True)
        assert reply["data"]["gap_ms"] > 0

        refused = remote("model.swap", {"model": "broken"})
        assert (refused["error"]["code"], refused["rolled_back"]) == ("model_incompatible", True)
        remote.sees("front", "other")

        added = remote("model.add", {"name": "added", "path": "added.sim.toml"})
        assert added["status"] == "ok", added
        listed = {model["name"]: model["loaded"] for model in remote("models.list")["data"]["models"]}
        assert (listed["other"], listed["added"]) == (True, False)

        source = "synthetic:?size=160x120&fps=10"
        reply = remote("camera.add", {"camera": "porch", "source": source, "settings": {"model": "added"}})
        assert (reply["data"]["camera"], reply["data"]["restarted"]) == ("porch", ["cameras.porch"])
        remote.sees("porch", "added")
        assert remote("model.remove", {"name": "added"})["error"]["code"] == "forbidden"
        reply = remote("settings.set", {"cameras": {"porch": {"rotate": 180, "threshold": 0.4}}})
        assert reply["data"]["restarted"] == ["cameras.porch"]
        remote.sees("porch", "added")
        assert {"rotate": 180, "threshold": 0.4}.items() <= remote("settings.get")["data"]["settings"]["cameras"][
            "porch"
        ].items()
        kept = json.loads(daemon.state.joinpath("overrides.json").read_text())
        assert kept["tables"]["cameras.porch"] == {"source": source, "model": "added"}

        assert remote("camera.remove", {"camera": "porch"})["status"] == "ok"
        assert remote("model.remove", {"name": "added"})["status"] == "ok"
        gone = f"{BASE}/cam/porch/status"
        wait_for(lambda: observer.of(gone)[-1].payload == b"", what="the retained status is cleared")
        reply = remote("settings.reset")
        assert (reply["status"], reply["data"]["proven"]) == ("ok", True)
        remote.sees("front", "two")
        assert json.loads(daemon.state.joinpath("overrides.json").read_text())["set"] == {}
        assert not [m for m in observer.of(f"{FRONT}/event") if m.json["event_type"] == "camera_lost"]
        remote("daemon.restart")
        assert daemon.wait() == 1


def test_files_are_read_again_on_sighup(home: Path, broker: Broker) -> None:
    """What the files say now takes effect, whole or not at all; what was set over MQTT stays over it."""
    with Observer(broker.port, f"{BASE}/#") as observer, Daemon(home, broker, BODY, head=HEAD) as daemon:
        remote = Remote(observer)
        observer.wait_for(f"{FRONT}/detections", timeout=30.0)
        assert remote("settings.set", {"cameras": {"front": {"threshold": 0.7}}})["status"] == "ok"
        text = daemon.path.read_text()

        def told(event: str) -> list[dict[str, Any]]:
            return [m.json for m in observer.of(f"{BASE}/event") if m.json["event_type"] == event]

        daemon.path.write_text(text.replace('model = "two"', 'model = "other"\nlog_level = "loud"'))
        daemon.process.send_signal(signal.SIGHUP)
        rejected = wait_for(lambda: told("config_rejected"), what="the mistake is told")[0]
        assert "log_level" in rejected["reason"]
        remote.sees("front", "two")

        extra = '[cameras.back]\nsource = "synthetic:?size=160x120&fps=10"\n'
        changed = text.replace('model = "two"', 'model = "other"').replace("keepalive", "#") + extra
        daemon.path.write_text(changed.replace("[mqtt]", "[mqtt]\nkeepalive = 30"))
        daemon.process.send_signal(signal.SIGHUP)
        done = wait_for(lambda: told("config_reloaded"), what="the change is told", timeout=30.0)[0]
        assert done["restarted"] == ["cameras.back"]
        assert (done["restart_required"], done["pending"]) == (True, ["mqtt.keepalive"])
        remote.sees("front", "other")
        remote.sees("back", "other")
        assert observer.of(f"{FRONT}/settings")[-1].json["threshold"] == 0.7
        assert daemon.stop() == 0

"""What Home Assistant hears of a real daemon over a real broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support import home_assistant
from tests.support.broker import Broker, Observer
from tests.support.daemon import BASE, FRONT, NODE, SEES_TWO, Daemon
from tests.support.waiting import wait_for

CAMERA = """
[models.two]
path = "two.sim.toml"
[cameras.front]
source = "synthetic:?size=320x240&fps=20"
labels = ["person", "traffic light"]
"""
DISCOVERY = f"homeassistant/device/hailod_{NODE}/config"
CAMERA_DISCOVERY = f"homeassistant/device/hailod_{NODE}_front/config"


def retained(broker: Broker) -> dict[str, bytes]:
    """What a broker gives to Home Assistant when it starts."""
    with Observer(broker.port, "homeassistant/#") as observer:
        # What is retained comes before anything that is published after the subscription.
        observer.publish("homeassistant/now", "")
        observer.wait_for("homeassistant/now")
        return {message.topic: message.payload for message in observer.seen if message.retain}


def components(documents: dict[str, bytes]) -> list[dict[str, Any]]:
    """Every entity of these documents, of either form, with its platform."""
    found = []
    for topic, payload in documents.items():
        document = json.loads(payload)
        whole = document.get("components", {"": {**document, "platform": topic.split("/")[1]}})
        found += whole.values()
    return found


def test_node_is_found_and_found_again(tmp_path: Path) -> None:
    """The device is described before the node is online, again after Home Assistant's birth, and to a broker that has
    lost its store; turned off, it is taken away."""
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    with Broker(tmp_path) as broker:
        with Observer(broker.port, "#") as observer, Daemon(tmp_path, broker, CAMERA) as daemon:
            observer.wait_for(f"{BASE}/status", timeout=30.0)
            topics = [message.topic for message in observer.seen]
            assert topics.index(f"{BASE}/health") < topics.index(DISCOVERY) < topics.index(f"{BASE}/status")
            for document in (DISCOVERY, CAMERA_DISCOVERY):
                assert topics.index(f"{FRONT}/status") < topics.index(document) < topics.index(f"{BASE}/status")
            # Once more when the device has said who it is.
            wait_for(
                lambda: "model" in observer.of(DISCOVERY)[-1].json["device"], what="the chip is named", timeout=30.0
            )

            described, infos = len(observer.of(DISCOVERY)), len(observer.of(f"{BASE}/info"))
            cameras = len(observer.of(CAMERA_DISCOVERY))
            observer.publish("homeassistant/status", "online", qos=0)
            observer.wait_for(DISCOVERY, described + 1, timeout=30.0)
            observer.wait_for(CAMERA_DISCOVERY, cameras + 1, timeout=30.0)
            observer.wait_for(f"{BASE}/info", infos + 1, timeout=30.0)
            assert daemon.stop() == 0
        with Observer(broker.port, "homeassistant/device/#") as observer:
            assert observer.wait_for(DISCOVERY)[0].retain
            with Daemon(tmp_path, broker, CAMERA, mqtt='discovery = "off"\n') as daemon:
                wait_for(
                    lambda: observer.of(DISCOVERY)[-1].payload == b"", what="the device is taken away", timeout=30.0
                )
                assert daemon.stop() == 0


def test_everything_that_is_sent_fits_what_was_announced(tmp_path: Path) -> None:
    """Home Assistant takes every document of a real daemon, and every message of it makes a valid state of each entity
    that reads it; all entities that are on by default come to have one, but for what this machine does not know."""
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    with Broker(tmp_path) as broker, Observer(broker.port, "#") as observer, Daemon(tmp_path, broker, CAMERA) as daemon:
        wait_for(
            lambda: observer.of(f"{FRONT}/status")[-1:] and observer.of(f"{FRONT}/status")[-1].payload == b"online",
            what="the camera is online",
            timeout=30.0,
        )
        metrics = len(observer.of(f"{BASE}/metrics"))
        observer.wait_for(f"{BASE}/metrics", metrics + 2, timeout=30.0)
        assert daemon.stop() == 0
        documents = {topic: observer.of(topic)[-1].payload for topic in (DISCOVERY, CAMERA_DISCOVERY)}
        assert [home_assistant.complaints(json.loads(document)) for document in documents.values()] == [[], []]
        unknown = set()
        for component in components(documents):
            messages = observer.of(component["state_topic"]) if "state_topic" in component else []
            if component["platform"] == "event":
                types = {message.json["event_type"] for message in messages}
                assert types <= set(component["event_types"])
            elif messages:
                states = [home_assistant.state(component, message.payload) for message in messages]
                if states[-1] is None and component.get("enabled_by_default", True):
                    unknown.add(component["name"])
            else:
                assert component["platform"] == "button"
        # A container may have no thermometer, and the camera has no limit to its rate.
        assert unknown <= {"Host temperature", "Rate limit"}


def test_form_is_changed_back_and_forth_and_nothing_is_left(tmp_path: Path) -> None:
    """One document for each entity and back again, with a kill in between, and then without the camera: what is
    retained is what was chosen, with the same ids, and nothing else."""
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    with Broker(tmp_path) as broker:
        with Daemon(tmp_path, broker, CAMERA) as daemon:
            wait_for(lambda: CAMERA_DISCOVERY in retained(broker), what="the camera is described", timeout=30.0)
            daemon.kill()
        whole = retained(broker)
        with Observer(broker.port, "homeassistant/#") as observer:
            with Daemon(tmp_path, broker, CAMERA, mqtt='discovery = "single"\n') as daemon:
                observer.wait_for(DISCOVERY, 2, timeout=30.0)
                daemon.kill()
            assert observer.of(DISCOVERY)[1].json == {"migrate_discovery": True}
        with Daemon(tmp_path, broker, CAMERA, mqtt='discovery = "single"\n') as daemon:
            wait_for(lambda: DISCOVERY not in retained(broker), what="the old form is cleared", timeout=30.0)
            single = retained(broker)
            assert daemon.stop() == 0
        ids = {component["unique_id"] for component in components(whole)}
        assert {component["unique_id"] for component in components(single)} == ids
        assert not [topic for topic in single if topic.startswith("homeassistant/device/")]
        alone = CAMERA[: CAMERA.index("[cameras")]
        with Daemon(tmp_path, broker, alone) as daemon:
            wait_for(lambda: retained(broker).keys() == {DISCOVERY}, what="only the node is left", timeout=30.0)
            assert daemon.stop() == 0

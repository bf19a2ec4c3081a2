"""What Home Assistant hears of a real daemon over a real broker."""

from __future__ import annotations

from pathlib import Path

from tests.support.broker import Broker, Observer
from tests.support.daemon import BASE, FRONT, NODE, SEES_TWO, Daemon
from tests.support.waiting import wait_for

CAMERA = """
[models.two]
path = "two.sim.toml"
[cameras.front]
source = "synthetic:?size=320x240&fps=20"
"""
DISCOVERY = f"homeassistant/device/hailod_{NODE}/config"


def test_node_is_found_and_found_again(tmp_path: Path) -> None:
    """The device is described before the node is online, again after Home Assistant's birth, and to a broker that has
    lost its store; turned off, it is taken away."""
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    with Broker(tmp_path) as broker:
        with Observer(broker.port, "#") as observer, Daemon(tmp_path, broker, CAMERA) as daemon:
            observer.wait_for(f"{BASE}/status", timeout=30.0)
            topics = [message.topic for message in observer.seen]
            assert topics.index(f"{BASE}/health") < topics.index(DISCOVERY) < topics.index(f"{BASE}/status")
            assert topics.index(f"{FRONT}/status") < topics.index(DISCOVERY)
            # Once more when the device has said who it is.
            wait_for(
                lambda: "model" in observer.of(DISCOVERY)[-1].json["device"], what="the chip is named", timeout=30.0
            )

            described, infos = len(observer.of(DISCOVERY)), len(observer.of(f"{BASE}/info"))
            observer.publish("homeassistant/status", "online", qos=0)
            observer.wait_for(DISCOVERY, described + 1, timeout=30.0)
            observer.wait_for(f"{BASE}/info", infos + 1, timeout=30.0)
            assert daemon.stop() == 0
        with Observer(broker.port, "homeassistant/device/#") as observer:
            assert observer.wait_for(DISCOVERY)[0].retain
            with Daemon(tmp_path, broker, CAMERA, mqtt='discovery = "off"\n') as daemon:
                wait_for(
                    lambda: observer.of(DISCOVERY)[-1].payload == b"", what="the device is taken away", timeout=30.0
                )
                assert daemon.stop() == 0

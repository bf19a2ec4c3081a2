"""What a broker that lost everything holds after the daemon came back to it, compared topic by topic with the daemon's
own view. The daemon runs in this process, so that its view can be seen."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hailod import app
from hailod.clock import SystemClock
from hailod.config.load import load
from hailod.control.inbox import Quit
from hailod.deadman import DeadMansSwitch
from hailod.errors import DecodeError
from hailod.mqtt.messages import Document, Inbound
from hailod.mqtt.outbox import HEALTH, Outbox
from hailod.pipeline.results import ModelTrouble
from hailod.timesync import TimeSync
from tests.support.broker import Broker, Observer
from tests.support.daemon import BASE, FRONT, NODE, SEES_TWO
from tests.support.waiting import wait_for

CLOCK = SystemClock()
# Longer than the whole scenario: this process is the test's.
SWITCH_S = 120.0

CONFIG = f"""
schema = 1
node = "{NODE}"
model = "two"
[device]
backend = "simulated"
[device.simulated]
configure_s = 0.05
serial = "{os.getpid()}"
[models.two]
path = "two.sim.toml"
[models.other]
path = "other.sim.toml"
[cameras.front]
source = "synthetic:?size=160x120&fps=5"
[cameras.yard]
source = "synthetic:?size=160x120&fps=5"
[mqtt]
host = "127.0.0.1"
"""


def essence(document: Document | Any) -> object:
    """A document without what changes by the passing of time alone."""
    if isinstance(document, str):
        return document
    return {key: value for key, value in document.items() if key not in HEALTH.ignore | {"fps"}}


class Scenario:
    """What happens to a running daemon, played by a thread of its own while the daemon has the main one."""

    def __init__(self, daemon: app.Daemon, play: Callable[[Scenario], None]) -> None:
        self.daemon = daemon
        self.outbox: Outbox = daemon.mqtt._outbox
        self._play = play

    def run(self) -> None:
        with ThreadPoolExecutor(1, "scenario") as pool:
            played = pool.submit(self._run)
            try:
                self.daemon.run({})
            finally:
                self.daemon.switch.release()
            played.result()

    def command(self, topic: str, payload: str) -> None:
        """A command as it would come in from a broker, though there is none."""
        self.daemon.inbox.put_inbound(Inbound(f"{BASE}/{topic}", payload.encode(), False, CLOCK.monotonic()))

    def present(self) -> dict[str, object]:
        return {topic: essence(document) for topic, document in self.outbox.present.items()}

    def _run(self) -> None:
        try:
            wait_for(lambda: self.daemon.mqtt.worker.alive, what="the daemon runs")
            self._play(self)
        finally:
            self.daemon.inbox.put(Quit("received the end of the scenario"))


def held(port: int) -> dict[str, object]:
    """What a broker holds, as somebody who subscribes now sees it. It answers one filter after the other, and the last
    asks for the status again: when that has come twice, everything has come."""
    with Observer(port, "#", f"{BASE}/status") as observer:
        observer.wait_for(f"{BASE}/status", 2)
        retained = [message for message in observer.seen if message.retain]
    return {
        message.topic: essence(message.json if message.payload.startswith(b"{") else message.payload.decode())
        for message in retained
    }


def test_every_topic_is_right_at_a_broker_that_lost_everything(tmp_path: Path) -> None:
    """Settings, models, health and cameras that changed during an outage are at the empty broker afterwards exactly as
    they are in the daemon, and so is everything that did not change."""
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    (tmp_path / "other.sim.toml").write_text(SEES_TWO.replace('"person", "car"', '"cat", "dog"'))
    broker = Broker(tmp_path)
    broker.start()
    (tmp_path / "hailod.toml").write_text(f'state_dir = "{tmp_path / "state"}"\n{CONFIG}port = {broker.port}\n')
    switch = DeadMansSwitch(SWITCH_S, CLOCK)
    daemon = app.build(load(tmp_path / "hailod.toml", {}), {}, set_log_level=lambda _: None, switch=switch)

    def play(scenario: Scenario) -> None:
        def same() -> dict[str, object] | None:
            there = held(broker.port)
            return there if there == scenario.present() else None

        def online() -> bool:
            present = scenario.outbox.present
            return all(present.get(f"{BASE}/cam/{name}/status") == "online" for name in ("front", "yard"))

        wait_for(online, what="both cameras are online", timeout=30.0)
        before = wait_for(same, what="the broker holds what the daemon says", every=0.1)
        broker.stop()
        wait_for(lambda: daemon.mqtt.protocol is None, what="the outage is noticed")
        scenario.command("cam/front/set/enabled", "OFF")
        scenario.command("cmd/model.swap", '{"id":"1","args":{"model":"other"}}')
        daemon.inbox.put(ModelTrouble("two", DecodeError("class 3 claims 9000 boxes"), 1))
        wait_for(lambda: scenario.outbox.present[f"{FRONT}/status"] == "disabled", what="the camera is disabled")
        changed = lambda: essence(scenario.outbox.present[f"{BASE}/settings"]) != before[f"{BASE}/settings"]  # noqa: E731
        wait_for(changed, what="the model is swapped")
        broker.start()
        wait_for(lambda: daemon.mqtt.protocol is not None, what="the daemon is back", timeout=20.0)
        after = wait_for(same, what="the empty broker holds what the daemon says", every=0.1)
        assert after.keys() == before.keys()
        different = {topic.removeprefix(BASE) for topic in after if after[topic] != before[topic]}
        assert different >= {"/settings", "/models", "/cam/front/settings", "/cam/front/status"}
        assert "/cam/yard/status" not in different
        synced = TimeSync(CLOCK).synced()
        assert scenario.outbox.present[f"{BASE}/info"]["clock_synced"] is synced  # type: ignore[index]
        assert ("clock_synced" in scenario.outbox.present[f"{BASE}/health"]) is not synced

    try:
        Scenario(daemon, play).run()
        assert held(broker.port)[f"{BASE}/status"] == "offline"
    finally:
        broker.stop()

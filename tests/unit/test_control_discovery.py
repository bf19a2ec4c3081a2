"""What the control thread has Home Assistant told, and when the next step is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from hailod.clock import FakeClock
from hailod.config.model import CameraSettings, Settings
from hailod.control.discovery import PATIENCE_S, PAUSE_S, Discovery
from hailod.device.events import DeviceUp, ModelFailed, ModelReady
from hailod.errors import DeviceLost, DeviceRejected
from hailod.models.manifest import Manifest
from hailod.mqtt.outbox import Outbox, Outgoing
from hailod.mqtt.payloads import DeviceIdentity
from hailod.mqtt.topics import Topics
from hailod.pipeline.engine import ModelPlan
from tests.support.desk import settings
from tests.support.device import session
from tests.support.recorder import FakeRecorder

TOPICS = Topics("pi")
NODE = TOPICS.discovery
FRONT = "homeassistant/device/hailod_pi_front/config"
CONTROLS = frozenset({"set/device", "set/model"})
MIGRATE = '{"migrate_discovery":true}'


class Rig:
    """Discovery with a broker that acknowledges when it is told to."""

    def __init__(self, record: str | None = None) -> None:
        self.clock = FakeClock()
        self.outbox = Outbox(TOPICS, self.clock)
        self.outbox.online()
        self.recorder = FakeRecorder(record)
        self.settings = settings()
        self.plans = {name: ModelPlan(name, Path(f"/nowhere/{name}.hef"), Manifest()) for name in ("one", "two")}
        self.discovery = Discovery(TOPICS, self.clock, self.outbox, self.recorder, controls=CONTROLS)
        self.discovery.start()

    def show(self, mode: str = "device", **changes: Any) -> None:
        mqtt = self.settings.mqtt.model_copy(update={"discovery": mode})
        self.settings = self.settings.model_copy(update={"mqtt": mqtt, **changes})
        self.discovery.show(self.settings, DeviceIdentity(simulated=False), self.plans)

    def take(self) -> list[Outgoing]:
        taken = []
        while (outgoing := self.outbox.take()) is not None:
            taken.append(outgoing)
        return taken

    def acknowledge(self, taken: list[Outgoing]) -> None:
        for outgoing in taken:
            self.outbox.done(outgoing)

    def told(self, seconds: float = 0.1) -> dict[str, str]:
        """What goes out now and is acknowledged; then time passes."""
        taken = self.take()
        self.acknowledge(taken)
        self.clock.advance(seconds)
        self.discovery.tick(self.clock.monotonic())
        return {outgoing.topic: outgoing.payload.decode() for outgoing in taken}

    def finish(self) -> dict[str, str]:
        """All that goes out until nothing is under way, the last word on each topic."""
        words: dict[str, str] = {}
        for _ in range(12):
            words |= self.told(PAUSE_S)
        return words

    def without(self, camera: str) -> dict[str, CameraSettings]:
        return {name: each for name, each in self.settings.cameras.items() if name != camera}


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.show()
    rig.finish()
    return rig


def options(word: str) -> list[str]:
    return list(json.loads(word)["components"]["model"]["options"])


def test_node_and_cameras_are_told_and_written_down() -> None:
    """A first start tells a document for the node and one for each camera, all of it written down before."""
    rig = Rig()
    rig.recorder.slow = True
    rig.show()
    assert rig.told() == {}
    rig.recorder.write()
    assert FRONT in json.loads(rig.recorder.content or "")["topics"]
    rig.discovery.tick(rig.clock.monotonic())
    assert set(rig.told()) == {NODE, FRONT, "homeassistant/device/hailod_pi_back/config"}


def test_disk_that_does_not_answer_is_not_waited_for() -> None:
    """After some seconds Home Assistant is told, whether or not that is written down."""
    rig = Rig()
    rig.recorder.slow = True
    rig.show()
    rig.told(PATIENCE_S)
    assert NODE in rig.told()


def test_nothing_is_told_twice(rig: Rig) -> None:
    """Settings that change nothing of what there is are no news to Home Assistant, nor to the disk."""
    written = len(rig.recorder.history)
    rig.show(log_level="debug")
    assert rig.finish() == {}
    assert len(rig.recorder.history) == written


def test_change_of_form_waits_for_the_broker_at_every_step(rig: Rig) -> None:
    """Single documents come when the broker has acknowledged that the old ones let go, and the old ones are cleared
    when it has all the new ones."""
    rig.show("single")
    letting_go = rig.take()
    assert {outgoing.payload.decode() for outgoing in letting_go} == {MIGRATE}
    rig.told(60.0)
    assert rig.take() == []
    rig.acknowledge(letting_go)
    rig.told(0.0)
    assert rig.told(PAUSE_S) == {}
    single = rig.take()
    assert NODE not in {outgoing.topic for outgoing in single}
    rig.acknowledge(single[:-1])
    rig.told(60.0)
    assert rig.take() == []
    rig.acknowledge(single[-1:])
    cleared = rig.finish()
    assert cleared[NODE] == cleared[FRONT] == ""
    assert rig.finish() == {}
    written = json.loads(rig.recorder.content or "")["topics"]
    assert written.keys() == {outgoing.topic for outgoing in single}


def test_step_that_was_lost_with_the_connection_is_told_again(rig: Rig) -> None:
    """A broker that was gone before it acknowledged a step hears it at the next connection, and then the next one."""
    rig.show("single")
    lost = rig.take()
    rig.outbox.offline(lost)
    rig.told(60.0)
    rig.outbox.online()
    assert MIGRATE in rig.told(PAUSE_S).values()
    assert NODE not in rig.told()


def test_start_after_a_kill_takes_the_steps_again(rig: Rig) -> None:
    """Killed while the form was changed, the next start lets go, tells and clears all of it anew."""
    rig.show("single")
    rig.told(PAUSE_S)
    again = Rig(rig.recorder.content)
    again.show("single")
    assert again.told(PAUSE_S)[NODE] == MIGRATE
    assert again.finish()[NODE] == ""
    assert NODE not in json.loads(again.recorder.content or "")["topics"]


def test_camera_that_is_gone_is_cleared_also_after_a_restart(rig: Rig) -> None:
    """A camera taken out of the files while hailod did not run is taken out of Home Assistant at the next start."""
    rig.show(cameras=rig.without("front"))
    assert rig.finish()[FRONT] == ""
    again = Rig(rig.recorder.history[0])
    again.show(cameras=again.without("front"))
    assert again.finish()[FRONT] == ""


def test_entity_that_is_gone_is_taken_away_once(rig: Rig) -> None:
    """A label that is not counted any more goes by its platform alone, before the document without it."""
    front = rig.settings.cameras["front"]
    labels = [["person", "cat"], ["person"]]
    for chosen in labels:
        rig.show(cameras={"front": front.model_copy(update={"labels": chosen})})
        words = rig.told(PAUSE_S)
        after = rig.finish()
    gone = {"cat_count": {"platform": "sensor"}, "cat_occupancy": {"platform": "binary_sensor"}}
    assert json.loads(words[FRONT])["components"] == gone
    assert "cat_count" not in json.loads(after[FRONT])["components"]
    assert "person_count" in json.loads(after[FRONT])["components"]


def test_record_that_cannot_be_used_is_none() -> None:
    """With a record that is damaged hailod starts all the same, says so, and writes a new one."""
    with capture_logs() as logs:
        rig = Rig('{"v":1,')
    assert [entry["log_level"] for entry in logs] == ["warning"]
    rig.show()
    assert NODE in rig.finish()
    assert json.loads(rig.recorder.content or "")["v"] == 1


def test_birth_has_everything_told_again(rig: Rig) -> None:
    """After Home Assistant's birth node and cameras are told once more, unchanged."""
    rig.discovery.repeat()
    assert {NODE, FRONT} <= rig.told().keys()


def test_birth_in_the_middle_of_a_change_has_the_step_told_again(rig: Rig) -> None:
    """What is under way is what is repeated."""
    rig.show("single")
    rig.told(0.0)
    rig.discovery.repeat()
    assert rig.told(0.0)[NODE] == MIGRATE


def test_model_that_was_refused_is_not_offered(rig: Rig) -> None:
    """What the chip refuses cannot be chosen, until it takes it after all, or another chip is there."""
    refused = ModelFailed("two", DeviceRejected("compiled for another chip"))
    assert rig.discovery.hear(refused)
    rig.show()
    assert options(rig.finish()[NODE]) == ["one"]
    assert rig.discovery.hear(ModelReady(session("two"), 1.0))
    rig.show()
    assert options(rig.finish()[NODE]) == ["one", "two"]
    rig.discovery.hear(refused)
    rig.discovery.hear(DeviceUp({"arch": "hailo8l"}))
    rig.show()
    assert rig.finish() == {}


def test_model_that_failed_with_the_device_is_offered(rig: Rig) -> None:
    """That the device went away is nothing that a model can help."""
    assert not rig.discovery.hear(ModelFailed("two", DeviceLost("gone")))
    assert not rig.discovery.hear(ModelReady(session("two"), 1.0))


def test_model_of_another_file_is_offered_again(rig: Rig, tmp_path: Path) -> None:
    """A model that was compiled anew is another one."""
    file = tmp_path / "two.hef"
    file.write_bytes(b"wrong")
    rig.plans["two"] = ModelPlan("two", file, Manifest())
    rig.show()
    rig.discovery.hear(ModelFailed("two", DeviceRejected("compiled for another chip")))
    rig.show()
    assert options(rig.finish()[NODE]) == ["one"]
    file.write_bytes(b"compiled anew")
    rig.show()
    assert options(rig.finish()[NODE]) == ["one", "two"]


def test_settings_are_told_after_a_change(rig: Rig) -> None:
    """A select that has new options takes its value from the next message: so there is one, a moment later, once."""
    rig.discovery.hear(ModelFailed("two", DeviceRejected("compiled for another chip")))
    rig.show()
    rig.told(0.0)
    assert not rig.discovery.tick(rig.clock.monotonic())
    rig.clock.advance(PAUSE_S)
    assert rig.discovery.tick(rig.clock.monotonic())
    assert not rig.discovery.tick(rig.clock.monotonic() + 60.0)


def test_labels_without_room_are_told_once() -> None:
    """Somebody learns that labels are left out, and not at every change."""
    rig = Rig()
    front = rig.settings.cameras["front"].model_copy(update={"labels": [f"label {number}" for number in range(200)]})
    with capture_logs() as logs:
        rig.show(cameras={"front": front})
        rig.show("single")
    assert [(entry["camera"], entry["left_out"]) for entry in logs] == [("front", 100)]


def test_node_that_takes_no_commands_has_no_switch(rig: Rig) -> None:
    """Where commands are not allowed what could give one is taken away."""
    mqtt = rig.settings.mqtt.model_copy(update={"allow_control": False})
    rig.settings = rig.settings.model_copy(update={"mqtt": mqtt})
    rig.show()
    assert "device" not in json.loads(rig.finish()[NODE])["components"]


def test_settings_have_all_forms() -> None:
    """The forms of the setting are those that can be told."""
    for mode in ("device", "single", "off"):
        assert Settings.model_validate({"mqtt": {"discovery": mode}}).mqtt.discovery == mode

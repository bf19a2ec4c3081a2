"""What hailod says in Frigate's words, with a real outbox and a clock turned by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hailod.clock import FakeClock
from hailod.config.model import CameraSettings, FrigateSettings, Settings
from hailod.control.frigate import MAX_COUNTS, Frigate
from hailod.mqtt.frigate import Presence, counts, level
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics
from hailod.pipeline.publisher import Publisher
from hailod.pipeline.results import Result, Timing
from hailod.pipeline.scene import OFF_DELAY_S
from hailod.pipeline.stats import Stats
from hailod.types import Detections
from tests.support.desk import settings
from tests.support.device import frame
from tests.support.lanes import lane

TOPICS = Topics("pi")
ON = FrigateSettings(enabled=True)


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.outbox = Outbox(TOPICS, self.clock)
        self.outbox.online()
        self.publisher = Publisher(self.outbox, TOPICS, self.clock, Stats(0.0))
        self.lane = lane()
        self.label = self.lane.label(0)
        self.frigate = Frigate(self.clock, self.outbox, self.publisher, {"one": [self.label, "dog"]})
        self.settings = settings(frigate=ON)
        for name in self.settings.cameras:
            self.publisher.add(name, [])

    def see(self, count: int, camera: str = "front") -> None:
        """A frame of the camera shows so many of the first label."""
        now = self.clock.monotonic()
        found = Detections(
            np.tile(np.array([0.1, 0.2, 0.3, 0.4], np.float32), (count, 1)),
            np.full(count, 0.9, np.float32),
            np.zeros(count, np.int32),
        )
        result = Result(frame(camera, captured=now), self.lane, found, Timing(now, now, now, now, now))
        self.publisher.publish(result)

    def tick(self, seconds: float = 0.1) -> list[tuple[str, Any]]:
        """What goes out of Frigate's then."""
        self.clock.advance(seconds)
        self.frigate.tick(self.settings)
        found = []
        while (outgoing := self.outbox.take()) is not None:
            self.outbox.done(outgoing)
            if outgoing.topic.startswith("frigate/"):
                assert outgoing.retain is not outgoing.topic.endswith("/events")
                text = outgoing.payload.decode()
                found.append((outgoing.topic, json.loads(text) if text.startswith("{") else text))
        return found

    def change(self, **camera: object) -> None:
        front = self.settings.cameras["front"].model_copy(update=camera)
        self.settings = self.settings.model_copy(update={"cameras": {**self.settings.cameras, "front": front}})


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    # It holds slots.
    del made.lane


def test_nothing_is_said_unless_asked_for(rig: Rig) -> None:
    """It is off by default, and then there is no topic of Frigate's."""
    assert Settings(node="pi").frigate.enabled is False
    rig.settings = settings()
    rig.see(2)
    assert rig.tick() == []


def test_counts_are_told_on_change(rig: Rig) -> None:
    """Each label and their sum have a topic with a plain number, told again only when it changes."""
    rig.see(2)
    told = rig.tick()
    assert ("frigate/available", "online") in told
    assert (f"frigate/front/{rig.label}", "2") in told
    assert ("frigate/front/all", "2") in told
    rig.see(2)
    assert rig.tick() == []
    rig.see(3)
    assert (f"frigate/front/{rig.label}", "3") in rig.tick()


def test_counts_of_an_earlier_process_are_cleared(rig: Rig) -> None:
    """What a daemon that was killed left at the broker does not pass for what is there now."""
    rig.see(1)
    told = dict(rig.tick())
    assert told["frigate/front/dog"] == ""
    assert told[f"frigate/front/{rig.label}"] == "1"


def test_events_tell_what_is_known_and_nothing_else(rig: Rig) -> None:
    """A label comes, changes in number and goes; what only tracking could know is null."""
    rig.see(1)
    told = [event for topic, event in rig.tick() if topic == "frigate/events"]
    rig.see(2)
    told += [event for topic, event in rig.tick() if topic == "frigate/events"]
    rig.see(0)
    rig.tick()
    rig.clock.advance(OFF_DELAY_S)
    rig.see(0)
    told += [event for topic, event in rig.tick() if topic == "frigate/events"]
    assert [event["type"] for event in told] == ["new", "update", "end"]
    assert [event["before"]["count"] for event in told] == [0, 1, 2]
    assert [event["after"]["count"] for event in told] == [1, 2, 0]
    new, _, end = (event["after"] for event in told)
    assert (new["camera"], new["label"], new["end_time"]) == ("front", rig.label, None)
    assert end["start_time"] == new["start_time"] < end["end_time"]
    for unknown in ("id", "box", "score", "top_score", "snapshot", "false_positive"):
        assert unknown in new
        assert new[unknown] is None
    assert (new["has_snapshot"], new["has_clip"], new["current_zones"]) == (False, False, [])


def test_failure_is_no_empty_scene(rig: Rig) -> None:
    """While a camera or inference fails its counts stay, and nothing is told to have gone."""
    rig.see(1)
    rig.tick()
    rig.publisher.mark_stale("front", rig.clock.monotonic())
    assert rig.tick(60.0) == []


@pytest.mark.parametrize("change", [{"privacy": True}, {"enabled": False}])
def test_counts_of_a_closed_camera_are_taken_back(rig: Rig, change: dict[str, object]) -> None:
    """Of a camera that nobody looks through no count is left, and what was present is told to be over."""
    rig.see(1)
    rig.tick()
    rig.change(**change)
    told = rig.tick()
    assert {topic for topic, text in told if text == ""} == {f"frigate/front/{rig.label}", "frigate/front/all"}
    assert [event["type"] for topic, event in told if topic == "frigate/events"] == ["end"]
    rig.see(1)
    assert rig.tick() == []


def test_turned_off_it_leaves_nothing(rig: Rig) -> None:
    """Without the setting every topic is cleared; at the end of the daemon `available` says so."""
    rig.see(1)
    told = dict(rig.tick())
    rig.frigate.stop()
    assert dict(rig.tick())["frigate/available"] == "offline"
    rig.settings = settings()
    cleared = {topic for topic, text in rig.tick() if text == ""}
    assert cleared == {topic for topic, text in told.items() if topic != "frigate/events" and text != ""}


@pytest.mark.parametrize(
    ("label", "one"),
    [
        ("traffic light", "traffic light"),
        ("a/b", "a_b"),
        ("#", "_"),
        ("+/../$SYS", "__..__SYS"),
        ("all", "all_"),
        ("", "_"),
        ("\x00\n\u2028", "___"),
        ("\ud800", "_"),
        ("x" * 999, "x" * 48),
        ("größe", "größe"),
    ],
)
def test_label_is_one_level_whatever_it_holds(label: str, one: str) -> None:
    """No label leaves its level of the topic, and none passes for the sum of all."""
    assert level(label) == one
    one.encode()


def test_labels_that_become_the_same_are_added() -> None:
    """Two labels with one topic are one number, so that neither hides the other."""
    assert counts({"a/b": 1, "a+b": 2}) == {"a_b": 3, "all": 3}
    assert counts({}) == {"all": 0}


def test_number_of_topics_is_bounded(rig: Rig) -> None:
    """A model with any number of labels does not fill the outbox."""
    rig.publisher.add("front", [f"label {number}" for number in range(2 * MAX_COUNTS)])
    rig.see(0)
    rig.tick()
    assert sum(topic.startswith("frigate/front/") for topic in rig.outbox.present) == MAX_COUNTS


@pytest.mark.parametrize("prefix", ["hailod", "homeassistant", "a/b", "#", "", "$SYS"])
def test_prefix_is_a_level_of_its_own(prefix: str) -> None:
    """The prefix is one plain level, and none in which others look for something else."""
    with pytest.raises(ValidationError):
        FrigateSettings(prefix=prefix)


def test_every_event_is_closed_by_an_end() -> None:
    """Whatever the counts do, a label's events are new, updates, end, in this order."""
    presence, random = Presence("front"), np.random.default_rng(5)
    kinds = []
    for moment in range(200):
        events = presence.see({"person": int(random.integers(0, 3))}, float(moment))
        kinds += [str(event["type"])[0] for event in events]
    kinds += [str(event["type"])[0] for event in presence.see({}, 200.0)]
    assert all(part == "" or (part[0] == "n" and set(part[1:]) <= {"u"}) for part in "".join(kinds).split("e"))


def test_camera_settings_stay_as_they_are() -> None:
    """The switch is the node's: no camera has a setting for it."""
    assert "frigate" not in CameraSettings.model_fields

"""What results say to the world, with a real outbox and a clock turned by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from hailod.clock import FakeClock
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics
from hailod.pipeline.publisher import Publisher
from hailod.pipeline.results import Result, Timing
from hailod.pipeline.scene import OFF_DELAY_S
from hailod.pipeline.service import Lane
from hailod.pipeline.stats import Stats
from hailod.types import Detections
from tests.support.device import frame
from tests.support.lanes import lane

TOPICS = Topics("pi")
FRONT = TOPICS.camera("front")


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.outbox = Outbox(TOPICS, self.clock)
        self.outbox.online()
        self.stats = Stats(self.clock.monotonic())
        self.publisher = Publisher(self.outbox, TOPICS, self.clock, self.stats)
        self.lane: Lane = lane()

    def publish(self, *classes: int, camera: str = "front", age: float = 0.05) -> None:
        """A result in which each of `classes` is seen once, of a frame that was captured `age` seconds ago."""
        now = self.clock.monotonic()
        count = len(classes)
        detections = Detections(
            np.tile(np.array([0.1, 0.2, 0.3, 0.4], np.float32), (count, 1)),
            np.linspace(0.9, 0.5, count, dtype=np.float32),
            np.array(classes, np.int32),
        )
        timing = Timing(now - age, now - 0.04, now - 0.03, now - 0.01, now)
        self.publisher.publish(Result(frame(camera, 7, captured=now - age), self.lane, detections, timing))

    def told(self, topic: str) -> list[Any]:
        """What goes out on the topic now; all else is let go too."""
        found = []
        while (outgoing := self.outbox.take()) is not None:
            self.outbox.done(outgoing)
            if outgoing.topic == topic:
                found.append(json.loads(outgoing.payload) if outgoing.payload else None)
        return found


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    rig.publisher.add("front", ["person"])
    yield rig
    # It holds slots.
    del rig.lane


def test_detections_are_told_with_their_labels(rig: Rig) -> None:
    """A frame's detections go out with label, score, box, frame number, size and latency."""
    rig.publisher.configure(5.0)
    rig.publish(1, 0)
    (document,) = rig.told(FRONT.detections)
    assert (document["frame"], document["model"], document["w"], document["h"]) == (7, "two", 64, 32)
    assert document["latency_ms"] == 50.0
    assert document["dets"] == [
        {"l": "car", "s": 0.9, "b": [0.1, 0.2, 0.3, 0.4]},
        {"l": "person", "s": 0.5, "b": [0.1, 0.2, 0.3, 0.4]},
    ]


@pytest.mark.parametrize(("max_hz", "least", "most"), [(5.0, 48, 52), (0.0, 0, 0), (30.0, 295, 300)])
def test_detections_keep_to_their_rate(rig: Rig, max_hz: float, least: int, most: int) -> None:
    """Of thirty frames a second so many are told as the settings allow, and none when they forbid it."""
    rig.publisher.configure(max_hz)
    told = 0
    for _ in range(300):
        rig.publish(0)
        told += len(rig.told(FRONT.detections))
        rig.clock.advance(1 / 30)
    assert least <= told <= most


def test_state_is_told_when_counts_change(rig: Rig) -> None:
    """Counts go out when they change and not with every frame."""
    rig.publish(0)
    (state,) = rig.told(FRONT.state)
    assert (state["objects"], state["model"], state["stale"]) == ({"person": 1}, "two", None)
    for _ in range(5):
        rig.clock.advance(0.1)
        rig.publish(0)
    assert rig.told(FRONT.state) == []
    rig.clock.advance(0.5)
    rig.publish(0, 0)
    assert rig.told(FRONT.state)[0]["objects"] == {"person": 2}
    for _ in range(6):
        rig.clock.advance(OFF_DELAY_S / 5)
        rig.publish()
    assert rig.told(FRONT.state)[-1]["objects"] == {"person": 0}


def test_stale_counts_say_since_when(rig: Rig) -> None:
    """Counts that are not kept up to date say so, and the next result takes it back."""
    rig.publish(0)
    rig.told(FRONT.state)
    since, wall = rig.clock.monotonic(), rig.clock.wall()
    rig.clock.advance(20.0)
    rig.publisher.mark_stale("front", since)
    (state,) = rig.told(FRONT.state)
    assert state["stale"] == wall
    assert state["objects"] == {"person": 1}
    rig.clock.advance(1.0)
    rig.publish(0)
    assert rig.told(FRONT.state)[0]["stale"] is None


def test_stale_counts_keep_their_beginning_when_the_clock_is_set(rig: Rig) -> None:
    """Counts that are stale since before the clock was set say so in the time of the clock as it is now."""
    rig.publish(0)
    rig.publisher.mark_stale("front", rig.clock.monotonic())
    rig.told(FRONT.state)
    rig.clock.advance(30.0)
    rig.clock.set_wall(2_000_000_000.0)
    rig.publisher.publish_state("front")
    assert rig.told(FRONT.state)[0]["stale"] == 2_000_000_000.0 - 30.0


def test_counts_before_the_first_result_are_not_passed_off_as_an_empty_scene(rig: Rig) -> None:
    """Until a model has seen a first frame the counts are flagged, since when the camera is there; so are they when
    its labels change, until the next frame."""
    added = rig.clock.wall()
    rig.clock.advance(3.0)
    rig.publisher.publish_state("front")
    assert [(told["objects"], told["stale"]) for told in rig.told(FRONT.state)] == [({"person": 0}, added)]
    rig.clock.advance(1.0)
    rig.publish(0)
    assert [(told["objects"], told["stale"]) for told in rig.told(FRONT.state)] == [({"person": 1}, None)]
    rig.clock.advance(1.0)
    rig.publisher.add("front", ["person", "car"])
    rig.publisher.publish_state("front")
    assert rig.told(FRONT.state)[0]["stale"] == rig.clock.wall()


def test_older_frame_that_was_sent_again_is_not_told(rig: Rig) -> None:
    """A frame whose inference failed may come home after a newer one: what it shows is not told as news."""
    rig.publisher.configure(5.0)
    rig.publish(0)
    rig.told(FRONT.state)
    rig.clock.advance(1.0)
    rig.publish(0, 0, age=2.0)
    assert rig.stats.overtaken == 1
    assert rig.told(FRONT.detections) == []
    assert rig.told(FRONT.state) == []
    rig.publish(0, 0)
    assert rig.told(FRONT.state)[0]["objects"] == {"person": 2}


def test_last_result_is_remembered(rig: Rig) -> None:
    """When a camera's last result came can be asked for; before the first there is none."""
    assert rig.publisher.last_result("front") is None
    rig.publish()
    assert rig.publisher.last_result("front") == rig.clock.monotonic()
    assert rig.publisher.last_result("nobody") is None


def test_camera_begins_anew_with_an_empty_scene(rig: Rig) -> None:
    """A camera that is added again counts from 0, with the labels it asks for now."""
    rig.publish(0)
    rig.publisher.add("front", ["car"])
    rig.clock.advance(1.0)
    rig.publisher.publish_state("front")
    assert rig.told(FRONT.state)[-1]["objects"] == {"car": 0}


def test_removed_camera_is_cleared_at_the_broker(rig: Rig) -> None:
    """A camera that is no more leaves no retained state, and a late result does not bring it back."""
    rig.publish(0)
    rig.told(FRONT.state)
    rig.publisher.remove("front")
    assert rig.told(FRONT.state) == [None]
    rig.publisher.configure(5.0)
    rig.publish(0)
    rig.publisher.mark_stale("front", 1.0)
    assert rig.told(FRONT.state) == []


def test_every_result_counts_for_the_metrics(rig: Rig) -> None:
    """Metrics count what was finished, whether or not it was told."""
    for _ in range(10):
        rig.publish()
    assert rig.stats.read(rig.clock.monotonic() + 1.0).results == 10

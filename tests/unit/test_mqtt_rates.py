"""How often what is told: every row of the interface's table, at the fastest that producers can be."""

from __future__ import annotations

from typing import Any

import pytest

from hailod.clock import FakeClock
from hailod.control.log_topic import MAX_HZ
from hailod.mqtt.lanes import Kind, StatePolicy
from hailod.mqtt.outbox import CAMERA_STATE, HEALTH, ON_CHANGE, Outbox
from hailod.mqtt.topics import Topics

TOPICS = Topics("pi")
FRONT = TOPICS.camera("front")
TICK = 0.05


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.outbox = Outbox(TOPICS, self.clock)
        self.outbox.online()

    def sent(self) -> list[str]:
        """Topics of what may go now."""
        topics = []
        while (outgoing := self.outbox.take()) is not None:
            self.outbox.done(outgoing)
            topics.append(outgoing.topic)
        return topics

    def over(self, seconds: float, produce: Any) -> int:
        """How many messages go in so many seconds while `produce` is called with the number of each tick."""
        count = 0
        for number in range(round(seconds / TICK)):
            produce(number)
            count += len(self.sent())
            self.clock.advance(TICK)
        return count


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(
    ("topic", "policy", "document", "most"),
    [
        pytest.param(FRONT.state, CAMERA_STATE, lambda n: {"objects": {"person": n}}, 2.0, id="camera state"),
        pytest.param(FRONT.state, CAMERA_STATE, lambda n: {"fps": float(n)}, 2.0, id="camera state, its fps"),
        pytest.param(TOPICS.health, HEALTH, lambda n: {"reasons": [{"count": n}]}, 2.0, id="health"),
    ],
)
def test_state_that_changes_all_the_time_keeps_to_its_rate(
    rig: Rig, topic: str, policy: StatePolicy, document: Any, most: float
) -> None:
    """A state that is another one twenty times a second is told twice a second, and at the end as it is."""
    count = rig.over(10.0, lambda number: rig.outbox.state(topic, document(number), policy))
    assert count == pytest.approx(10.0 * most, abs=2)
    rig.clock.advance(1.0)
    rig.outbox.state(topic, document(-1), policy)
    assert rig.sent() == [topic]


@pytest.mark.parametrize(
    ("topic", "policy", "document", "keep_alive"),
    [
        pytest.param(FRONT.state, CAMERA_STATE, {"fps": 14.8, "objects": {"person": 1}}, 30.0, id="camera state"),
        pytest.param(TOPICS.health, HEALTH, {"state": "ok", "reasons": []}, 60.0, id="health"),
        pytest.param(TOPICS.settings, ON_CHANGE, {"revision": 7}, None, id="settings"),
        pytest.param(TOPICS.info, ON_CHANGE, {"node": "pi"}, None, id="info"),
        pytest.param(TOPICS.schema("info"), ON_CHANGE, {"type": "object"}, None, id="schema"),
        pytest.param(FRONT.status, ON_CHANGE, None, None, id="camera status"),
    ],
)
def test_state_that_does_not_change_is_told_to_stay_alive(
    rig: Rig, topic: str, policy: StatePolicy, document: Any, keep_alive: float | None
) -> None:
    """While nothing but the time changes a message comes once in each keep-alive period, or never again."""
    started = rig.clock.monotonic()

    def produce(_: int) -> None:
        ts = rig.clock.wall()
        rig.outbox.state(topic, "online" if document is None else {"ts": ts, **document}, policy)

    count = rig.over(300.0, produce)
    assert rig.clock.monotonic() - started == pytest.approx(300.0)
    assert count == (1 if keep_alive is None else pytest.approx(300.0 / keep_alive, abs=1))


@pytest.mark.parametrize(("key", "policy"), [("fps", CAMERA_STATE), ("temp_c", CAMERA_STATE), ("temp_c", HEALTH)])
@pytest.mark.parametrize("nested", [False, True])
def test_small_moves_of_a_figure_are_no_news(rig: Rig, key: str, policy: StatePolicy, nested: bool) -> None:
    """Frames per second and degrees are told when they are half a unit from what was told last, wherever they stand."""
    told = []
    for figure in (50.0, 50.4, 49.6, 50.49, 50.5, 50.1, 49.9, None, 50.0):
        document: dict[str, object] = {key: figure}
        rig.outbox.state(FRONT.state, {"device": document} if nested else document, policy)
        if rig.sent():
            told.append(figure)
        rig.clock.advance(1.0)
    assert told == [50.0, 50.5, 49.9, None, 50.0]


def test_a_nested_change_is_news(rig: Rig) -> None:
    """A dead band hides nothing but the figure that it is for."""
    for document in ({"a": {"fps": 1.0, "n": 1}}, {"a": {"fps": 1.1, "n": 2}}, {"a": {"fps": 1.1}}):
        rig.outbox.state(FRONT.state, document, CAMERA_STATE)
        assert rig.sent() == [FRONT.state]
        rig.clock.advance(1.0)


@pytest.mark.parametrize(
    ("topic", "max_hz"),
    [(TOPICS.metrics, 1.0), (TOPICS.log, MAX_HZ), (FRONT.detections, 5.0), (FRONT.detections, 0.5)],
)
def test_streams_keep_to_their_rate(rig: Rig, topic: str, max_hz: float) -> None:
    """Metrics come once a second at the most, lines of the log twice, detections as often as was set."""
    count = rig.over(20.0, lambda number: rig.outbox.stream(topic, {"n": number}, max_hz))
    assert count == pytest.approx(20.0 * max_hz, abs=2)


def test_events_of_the_node_come_five_a_second(rig: Rig) -> None:
    """After twenty at once the node's events come five a second, none is lost, and a camera's do not wait."""
    count = rig.over(10.0, lambda number: rig.outbox.event(TOPICS.event, {"n": number}))
    assert count == pytest.approx(20 + 5 * 10, abs=2)
    assert rig.outbox.waiting[Kind.EVENT] == 200 - count
    assert rig.over(10.0, lambda number: rig.outbox.event(FRONT.event, {"n": number})) >= 200
    assert rig.outbox.dropped == {}


def test_a_state_with_a_new_key_is_news(rig: Rig) -> None:
    """That the clock is no longer unset is told although nothing else has changed."""
    rig.outbox.clock_synced = False
    rig.outbox.state(TOPICS.health, {"ts": 1.0, "state": "ok"}, HEALTH)
    assert rig.sent() == [TOPICS.health]
    rig.clock.advance(1.0)
    rig.outbox.clock_synced = True
    rig.outbox.state(TOPICS.health, {"ts": 2.0, "state": "ok"}, HEALTH)
    assert rig.sent() == [TOPICS.health]

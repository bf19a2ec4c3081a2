"""From what a broker may hold of a node's discovery to what it should hold, seen by a Home Assistant."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hailod.mqtt.discovery import CameraView, NodeView, Plan, View, history, plan
from hailod.mqtt.messages import Document
from hailod.mqtt.outbox import MAX_DOCUMENT, encode
from hailod.mqtt.payloads import DeviceIdentity
from hailod.mqtt.topics import Topics

TOPICS = Topics("pi")
NODE = TOPICS.discovery
CAMERA = "homeassistant/device/hailod_pi_front/config"
CONTROLS = frozenset({"set/device", "cam/set/enabled"})


def made(
    mode: Any = "device", cameras: Iterable[str] = ("front",), labels: tuple[str, ...] = ("person", "cat")
) -> Plan:
    views = tuple(CameraView(name, labels) for name in cameras)
    return plan(TOPICS, View(NodeView(DeviceIdentity(False), "1"), views, CONTROLS), mode)


class HomeAssistant:
    """Binds entities to the topic on which they were discovered, as its MQTT integration does.

    `entities` are those that are alive, by unique id with their topic; `registry` is what it knows of, with names and
    settings that people gave; `lost` has what was taken out of it although it came back.
    """

    def __init__(self) -> None:
        self.entities: dict[str, str] = {}
        self.registry: set[str] = set()
        self.retained: dict[str, Document] = {}
        self.conflicts: list[str] = []
        self.removed: list[str] = []

    def hear(self, topic: str, document: Document) -> None:
        self.retained[topic] = document
        levels = topic.split("/")
        bound = {unique for unique, where in self.entities.items() if where == topic}
        if not document:
            self._remove(bound)
        elif document == {"migrate_discovery": True}:
            for unique in bound:
                del self.entities[unique]
        elif levels[1] == "device":
            assert not isinstance(document, str)
            device = levels[2].split("_L")[0]
            for key, component in document["components"].items():  # type: ignore[attr-defined]
                if component.keys() == {"platform"}:
                    self._remove({f"{device}_{key}"} & bound)
                else:
                    self._discover(component["unique_id"], topic)
        else:
            assert not isinstance(document, str)
            self._discover(str(document["unique_id"]), topic)

    def restart(self) -> None:
        """It comes back with what the broker retains."""
        self.entities.clear()
        for topic, document in sorted(self.retained.items()):
            if document:
                self.hear(topic, document)

    def _discover(self, unique: str, topic: str) -> None:
        if self.entities.setdefault(unique, topic) != topic:
            self.conflicts.append(f"{unique}: {topic}")
        self.registry.add(unique)

    def _remove(self, uniques: set[str]) -> None:
        for unique in uniques:
            del self.entities[unique]
            self.registry.discard(unique)
            self.removed.append(unique)


def uniques(what: Plan) -> dict[str, str]:
    """Each entity's unique id with the topic it belongs to."""
    bare = HomeAssistant()
    for topic, document in what.documents.items():
        bare.hear(topic, document)
    return bare.entities


def go(
    home: HomeAssistant, known: history.Contents, what: Plan, *, killed_after: int | None = None
) -> history.Contents:
    """Take the steps, or so many of them; what is known thereafter, as it would be on the disk."""
    for step in history.steps(known, what)[:killed_after]:
        for topic, document in step.items():
            home.hear(topic, document)
    return what.contents if killed_after is None else history.union(known, what.contents)


PLANS = {
    "device": made(),
    "single": made("single"),
    "off": made("off"),
    "no camera": made(cameras=()),
    "two cameras": made("single", cameras=("front", "back")),
    "other labels": made(labels=("person", "dog")),
    "many labels": made(labels=tuple(f"label {number} of a great many of them" for number in range(60))),
}


@pytest.mark.parametrize(("one", "other"), list(permutations(PLANS, 2)))
def test_every_change_leaves_what_is_wanted_and_nothing_else(one: str, other: str) -> None:
    """Whatever there was, Home Assistant ends with the entities of the new plan on their topics and knows no other;
    what is in both is never taken out of its registry; and all of that also after its restart."""
    home = HomeAssistant()
    known = go(home, {}, PLANS[one])
    assert home.entities == uniques(PLANS[one])
    home.removed.clear()
    go(home, known, PLANS[other])
    for _ in range(2):
        assert home.entities == uniques(PLANS[other])
        assert home.registry == uniques(PLANS[other]).keys()
        assert home.conflicts == []
        assert {topic for topic, document in home.retained.items() if document} == PLANS[other].documents.keys()
        home.restart()
    assert not set(home.removed) & uniques(PLANS[other]).keys()


@pytest.mark.parametrize(("one", "other"), list(permutations(PLANS, 2)))
def test_killed_between_any_two_steps_nothing_is_left_behind(one: str, other: str) -> None:
    """Killed after any step, the next start brings about the same as if nothing had happened; also when something else
    is wanted by then."""
    for killed_after in range(1, 5):
        for wanted in (other, one, "device"):
            home = HomeAssistant()
            known = go(home, {}, PLANS[one])
            known = go(home, known, PLANS[other], killed_after=killed_after)
            go(home, known, PLANS[wanted])
            assert home.entities == uniques(PLANS[wanted])
            assert home.registry == uniques(PLANS[wanted]).keys()
            assert home.conflicts == []


@given(st.lists(st.tuples(st.sampled_from(sorted(PLANS)), st.integers(0, 5)), min_size=1, max_size=6))
def test_any_walk_ends_where_it_should(walk: list[tuple[str, int]]) -> None:
    """After any number of changes, each killed anywhere, the last one that is finished stands alone."""
    home, known = HomeAssistant(), dict[str, Any]()
    for name, killed_after in walk:
        known = dict(go(home, known, PLANS[name], killed_after=killed_after))
    go(home, known, PLANS["single"])
    assert home.entities == uniques(PLANS["single"])
    assert home.conflicts == []


def test_what_an_older_hailod_told_is_taken_over() -> None:
    """A node that published three entities of its own and kept no record goes on with them in either form."""
    for mode in ("device", "single", "off"):
        home = HomeAssistant()
        old = {"device": {"platform": "switch", "unique_id": "hailod_pi_device"}}
        old["problem"] = {"platform": "binary_sensor", "unique_id": "hailod_pi_problem"}
        old["events"] = {"platform": "event", "unique_id": "hailod_pi_events"}
        home.hear(NODE, {"components": old})
        wanted = made(mode)
        go(home, history.first(TOPICS), wanted)
        assert home.entities == uniques(wanted)
        assert home.conflicts == []
        assert mode == "off" or home.removed == []


def test_without_a_change_the_documents_are_told_once() -> None:
    """A start that finds everything as it was has one step, which is the documents themselves."""
    (step,) = history.steps(PLANS["device"].contents, PLANS["device"])
    assert step == PLANS["device"].documents
    assert history.steps({}, Plan()) == ()


def test_each_topic_is_told_one_thing_at_a_time() -> None:
    """The old topic is let go before the new one is told, and cleared after it."""
    steps = history.steps(PLANS["device"].contents, PLANS["single"])
    assert [set(map(str, step.values())) for step in steps if NODE in step] == [{"{'migrate_discovery': True}"}, {""}]
    assert steps[1] == PLANS["single"].documents
    assert all(dict(one) != dict(other) for one, other in pairwise(steps))


def test_no_step_is_larger_than_a_message() -> None:
    """Also when all of very many components of long names are taken away at once."""
    labels = tuple(f"label number {number}".ljust(39, "x") for number in range(100))
    before = plan(
        TOPICS, View(NodeView(DeviceIdentity(False), "1"), (CameraView("c" * 48, labels),), CONTROLS), "device"
    )
    after = plan(TOPICS, View(NodeView(DeviceIdentity(False), "1"), (CameraView("c" * 48),), CONTROLS), "device")
    for step in history.steps(before.contents, after):
        assert all(len(encode(document)) < MAX_DOCUMENT for document in step.values())
    home = HomeAssistant()
    go(home, go(home, {}, before), after)
    assert home.registry == uniques(after).keys()


def test_record_comes_back_as_it_was() -> None:
    """What is written is what is read."""
    for each in PLANS.values():
        assert history.parse(history.encode(each.contents).decode(), TOPICS) == each.contents


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"v":2,"topics":{}}',
        '{"v":1,"topics":[]}',
        '{"v":1,"topics":{"a":[]}}',
        '{"v":1,"v":1,"topics":{}}',
        '{"v":1,"topics":' + '{"a":' * 100_000,
        json.dumps({"v": 1, "topics": {str(number): {} for number in range(history.MAX_TOPICS + 1)}}),
        json.dumps({"v": 1, "topics": {NODE: {str(number): "sensor" for number in range(1000)}}}),
    ],
)
def test_record_of_another_form_is_refused(text: str) -> None:
    """Anything else is no record, and is said to be none without a word of it."""
    with pytest.raises(ValueError, match=r"^is ") as caught:
        history.parse(text, TOPICS)
    assert len(str(caught.value)) < 100


def test_record_cannot_have_others_cleared() -> None:
    """Whoever writes into the record has hailod speak of its own discovery and of nothing else."""
    foreign = (
        "homeassistant/device/zigbee2mqtt/config",
        "homeassistant/device/hailod_pine/config",
        "homeassistant/device/hailod_other_front/config",
        "homeassistant/status",
        "homeassistant/lock/hailod_pi/door/config",
        "homeassistant/sensor/other/hailod_pi/config",
        "homeassistant/device/hailod_pi_front/config/more",
        "homeassistant/device/hailod_pi_#/config",
        "hailod/pi/set/model",
        "",
    )
    topics = {topic: {"x": "sensor"} for topic in foreign}
    assert history.parse(json.dumps({"v": 1, "topics": topics}), TOPICS) == {}
    strange = {CAMERA: {"a": "lock", "b": 5, "../c": "sensor", "d": "sensor", "e" * 65: "sensor"}}
    assert history.parse(json.dumps({"v": 1, "topics": strange}), TOPICS) == {CAMERA: {"d": "sensor"}}


@given(st.text(max_size=300))
def test_no_record_is_believed(text: str) -> None:
    """Whatever stands in the file, it is read or refused."""
    try:
        record = history.parse(text, TOPICS)
    except ValueError:
        return
    assert record == {}

"""What Home Assistant is told to make of a node and its cameras, and what its templates make of what hailod sends."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jinja2
import pytest
from pydantic import SecretStr

from hailod.config.model import CameraSettings, ModelSettings, Settings
from hailod.mqtt import payloads
from hailod.mqtt.commands import controls
from hailod.mqtt.discovery import CAMERA_EVENTS, NODE_EVENTS, CameraView, NodeView, View, left_out, plan
from hailod.mqtt.outbox import MAX_DOCUMENT, encode
from hailod.mqtt.payloads import DeviceIdentity
from hailod.mqtt.topics import HOME_ASSISTANT, Topics
from tests.conftest import REPOSITORY
from tests.support import home_assistant

TOPICS = Topics("pi5-kitchen")
FRONT = TOPICS.camera("front")
UNKNOWN = DeviceIdentity(simulated=False)
KNOWN = DeviceIdentity(simulated=False, arch="hailo8", name="AI HAT+ 26T", firmware="4.23.0", serial_tail="0A1B")
ALL = controls()
LABELS = ("person", "traffic light", "Bär 'ä\\", "{{ value }}", "%}", "😀", "values", "items\n")
NODE = f"{HOME_ASSISTANT}/device/hailod_pi5-kitchen/config"
CAMERA = f"{HOME_ASSISTANT}/device/hailod_pi5-kitchen_front/config"


def view(identity: DeviceIdentity = KNOWN, *, control: frozenset[str] = ALL, **node: Any) -> View:
    return View(
        NodeView(identity, "1.2.3", **{"models": ("yolov8s", "yolov8m"), **node}),
        (CameraView("front", LABELS, snapshots=True), CameraView("back")),
        control,
    )


def documents(what: View | None = None, mode: Any = "device") -> dict[str, Any]:
    told = plan(TOPICS, what or view(), mode).documents
    return {topic: json.loads(encode(document)) for topic, document in told.items()}


def entities(what: View | None = None) -> Iterator[dict[str, Any]]:
    for document in documents(what).values():
        yield from document["components"].values()


# -- what hailod sends, in every state that it may be in -------------------------------------------------------------


def health(state: Any = "ok", reasons: int = 0) -> payloads.Payload:
    one = {"code": "camera_lost", "since": 1.0, "text": 'it\'s <gone> & "away"'}
    return payloads.health(
        ts=1.0,
        state=state,
        reasons=[one] * reasons,
        uptime_s=3.0,
        device_restarts=2,
        reconnects=0,
        dropped={},
        losses={},
    )


def metrics(value: float | None) -> payloads.Payload:
    host = dict.fromkeys(("cpu_pct", "rss_mb", "temp_c", "device_host_cpu_pct", "device_host_rss_mb"), value)
    return payloads.metrics(
        ts=1.0,
        interval_s=10.0,
        fps=value,
        latency_ms=(value, value, value),
        batch_mean=value,
        queue_depth=0,
        frames_total=10,
        frames_dropped_total=3,
        device={"temp_c": value},
        host=host,
        cameras={},
        faults={},
    )


def info(identity: DeviceIdentity) -> payloads.Payload:
    return payloads.info(
        node="pi5-kitchen",
        version="1.2.3",
        instance="0000",
        started_at=1_795_289_112.0,
        clock_synced=True,
        device=identity,
        cameras=["front"],
        features=[],
        limits={},
        protocol=5,
        response_prefixes=[],
    )


def node_settings(model: str | None, batch_size: int | None, *, lent: bool) -> payloads.Payload:
    models = {} if model is None else {model: ModelSettings(path="m.hef", batch_size=batch_size or 1)}
    told = payloads.settings(revision=7, settings=Settings(model=model, models=models, privacy=lent), lent=lent)
    return {**told, "batch_size": batch_size, "max_delay_ms": batch_size}


def camera_settings(max_fps: float | None, *, enabled: bool) -> payloads.Payload:
    camera = CameraSettings(
        source=SecretStr("rtsp://host/1"), enabled=enabled, privacy=not enabled, threshold=0.5, max_fps=max_fps
    )
    return payloads.camera_settings(revision=7, camera=camera, models=[])


def camera_state(labels: Mapping[str, int], *, fps: float | None = 14.8) -> payloads.Payload:
    return payloads.camera_state(ts=1.0, fps=fps, stale=None, model="m", labels=list(labels), objects=labels)


STATES: dict[str, list[Any]] = {
    TOPICS.health: [health(), health("degraded", 1), health("failed", 100)],
    TOPICS.metrics: [metrics(12.34), metrics(0.0), metrics(None), metrics(float("nan"))],
    TOPICS.info: [info(KNOWN), info(UNKNOWN)],
    TOPICS.settings: [
        node_settings("yolov8s", 4, lent=False),
        node_settings("one-that-was-refused", 1, lent=True),
        node_settings(None, None, lent=False),
    ],
    FRONT.settings: [
        camera_settings(15, enabled=True),
        camera_settings(None, enabled=False),
        camera_settings(0.02, enabled=True),
        camera_settings(1000, enabled=True),
    ],
    FRONT.state: [
        camera_state(dict.fromkeys(LABELS, 0)),
        camera_state(dict.fromkeys(LABELS, 2), fps=None),
        camera_state({}),
        camera_state({"cat": 1}),
    ],
    FRONT.status: ["online", "offline", "starting", "disabled"],
}
# What a broker may hold beside it: nothing, documents of other versions or hands.
STRANGE: tuple[Any, ...] = ("", "gone", {}, {"v": 2}, [], 5, None, {"device": None, "host": None, "objects": None})
EMPTY = {"latency_ms": {}, "device": None, "host": {}, "objects": {}, "state": "brilliant", "model": 5, "reasons": None}


def spelled(document: Any) -> bytes:
    return document.encode() if isinstance(document, str) else encode(document)


def test_every_template_makes_a_state_of_what_is_sent() -> None:
    """In every state of device, camera and settings each entity has a value of its kind or is unknown; Home Assistant
    has nothing to warn of."""
    seen = set()
    for component in entities():
        if "value_template" in component and component["state_topic"] in STATES:
            for document in STATES[component["state_topic"]]:
                home_assistant.state(component, spelled(document))
                seen.add(component["state_topic"])
    assert seen == STATES.keys()


def test_no_template_fails_at_what_is_strange() -> None:
    """An empty message, another version's document or one without its parts leaves an entity unknown."""
    for component in entities():
        for document in (*STRANGE, EMPTY):
            if "value_template" in component:
                fitting = {None, "0"} | ({"ON"} if component["name"] == "Problem" else set())
                assert home_assistant.state(component, spelled(document)) in fitting
            if "json_attributes_template" in component:
                assert home_assistant.attributes(component, spelled(document)) == {"reasons": []}


def node_state(key: str, document: Any) -> str | None:
    return home_assistant.state(documents()[NODE]["components"][key], spelled(document))


def camera_state_of(key: str, document: Any) -> str | None:
    return home_assistant.state(documents()[CAMERA]["components"][key], spelled(document))


def test_states_are_what_is_meant() -> None:
    """Each entity of the node shows the figure, the setting or the condition that it is named after."""
    assert [node_state("problem", each) for each in STATES[TOPICS.health]] == ["OFF", "ON", "ON"]
    assert [node_state("state", each) for each in STATES[TOPICS.health]] == ["ok", "degraded", "failed"]
    shown = {key: node_state(key, metrics(12.34)) for key in ("fps", "latency", "chip_temp", "host_temp", "memory")}
    assert set(shown.values()) == {"12.3"}
    assert node_state("dropped", metrics(None)) == "3"
    assert node_state("chip_temp", metrics(None)) is None
    assert node_state("started", info(KNOWN)) == "2026-11-21T19:25:12+00:00"
    assert [node_state("device", each) for each in STATES[TOPICS.settings]] == ["ON", "OFF", "ON"]
    assert [node_state("privacy", each) for each in STATES[TOPICS.settings]] == ["OFF", "ON", "OFF"]
    assert [node_state("model", each) for each in STATES[TOPICS.settings]] == ["yolov8s", None, None]
    assert [node_state("batch", each) for each in STATES[TOPICS.settings]] == ["4", "1", None]


def test_cameras_show_what_they_see() -> None:
    """Counts, occupancy and total are those of C/state; a label that is not in it is not known, which is not none."""
    two, none, unknown = (camera_state({"person": 2, "traffic light": 1}), camera_state({"person": 0}), "")
    assert [camera_state_of("person_count", each) for each in (two, none, unknown)] == ["2", "0", None]
    assert [camera_state_of("person_occupancy", each) for each in (two, none, unknown)] == ["ON", "OFF", None]
    assert [camera_state_of("objects", each) for each in (two, none, unknown)] == ["3", "0", None]
    assert [camera_state_of("status", each) for each in ("online", "disabled", "")] == ["online", "disabled", None]
    assert [camera_state_of("enabled", each) for each in STATES[FRONT.settings]] == ["ON", "OFF", "ON", "ON"]
    assert [camera_state_of("max_fps", each) for each in STATES[FRONT.settings]] == ["15.0", None, "0.02", "1000.0"]
    by_name = {each["name"]: each for each in documents()[CAMERA]["components"].values()}
    for label in LABELS:
        count = by_name[f"{label.strip()[:1].upper()}{label.strip()[1:]} count"]
        assert home_assistant.state(count, spelled(camera_state({label: 7}))) == "7"


def test_reasons_are_attributes_of_the_problem() -> None:
    """The problem has the gravest reasons as attributes, no more than the recorder keeps."""
    problem = documents()[NODE]["components"]["problem"]
    found = home_assistant.attributes(problem, spelled(health("failed", 100)))
    assert len(found["reasons"]) == 8
    assert found["reasons"][0]["text"] == 'it\'s <gone> & "away"'
    (topic,) = {problem["state_topic"], problem["json_attributes_topic"]}
    assert topic == TOPICS.health


# -- what Home Assistant takes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [UNKNOWN, KNOWN])
@pytest.mark.parametrize("control", [ALL, controls(), frozenset[str]()], ids=["all", "today", "none"])
def test_home_assistant_takes_the_documents(identity: DeviceIdentity, control: frozenset[str]) -> None:
    """No version has a key, class, unit or category to object to, whatever is known of the device and can be told."""
    for document in documents(view(identity, control=control)).values():
        assert home_assistant.complaints(document) == []
        assert "null" not in json.dumps(document)


def test_home_assistant_takes_entities_one_by_one() -> None:
    """The documents of single entities are no less in order, and each of them says what device it is of."""
    for topic, document in documents(mode="single").items():
        platform = topic.split("/")[1]
        assert home_assistant.single_complaints(document, platform) == []
        assert document["device"]["identifiers"]


def test_both_forms_have_the_same_entities() -> None:
    """Whoever changes from one form to the other keeps every entity: the ids are the same, and so is all else."""
    whole = {each["unique_id"]: each for each in entities()}
    single = {each["unique_id"]: (topic, each) for topic, each in documents(mode="single").items()}
    assert whole.keys() == single.keys()
    for unique, component in whole.items():
        topic, document = single[unique]
        assert component.pop("platform") == topic.split("/")[1]
        assert component.items() <= document.items()
        # Home Assistant knows an entity by the levels of its topic: device and component.
        device, key = topic.split("/")[2:4]
        assert unique == f"{device}_{key}"


def test_turned_off_there_is_nothing() -> None:
    """With discovery off no document is left."""
    assert documents(mode="off") == {}


def test_ids_are_one_of_a_kind() -> None:
    """No two entities of a node share an id, labels that look alike included."""
    alike = CameraView("front", ("traffic light", "traffic_light", "Traffic light", "traffic-light"))
    shown = list(entities(View(NodeView(KNOWN, "1"), (alike,), ALL)))
    assert len({each["unique_id"] for each in shown}) == len(shown)
    assert all(each["unique_id"].startswith("hailod_pi5-kitchen_") for each in shown)


def test_cameras_are_reached_through_their_node() -> None:
    """A camera is a device of its own, and what it sees is there while both it and the node are."""
    camera = documents()[CAMERA]
    assert camera["device"]["via_device"] in documents()[NODE]["device"]["identifiers"]
    assert [each["topic"] for each in camera["availability"]] == [TOPICS.status, FRONT.status]
    assert camera["availability_mode"] == "all"
    template = camera["availability"][1]["value_template"]
    shown = {status: home_assistant.render(template, status.encode()) for status in ("online", "starting", "disabled")}
    assert shown == {"online": "online", "starting": "offline", "disabled": "offline"}
    for key in ("enabled", "privacy", "threshold", "max_fps", "status", "events", "restart"):
        assert [each["topic"] for each in camera["components"][key]["availability"]] == [TOPICS.status]
    for key in ("person_count", "person_occupancy", "objects", "fps", "snapshot"):
        assert "availability" not in camera["components"][key]


def test_what_is_set_is_told_where_it_is_taken() -> None:
    """Each switch, number, select and button tells a topic that the node listens to, with a payload that it takes."""
    taken = {
        target for each in entities() if "command_topic" in each and (target := TOPICS.parse(each["command_topic"]))
    }
    assert {(each.kind.value, each.name) for each in taken} == {
        *(("set", key) for key in ("device", "privacy", "model", "batch_size", "max_delay_ms")),
        *(("camera_set", key) for key in ("enabled", "privacy", "threshold", "max_fps")),
        *(("cmd", name) for name in ("device.restart", "camera.restart", "profile.capture")),
    }
    for each in entities():
        if "command_topic" in each:
            assert each["qos"] == 1
        if "payload_press" in each:
            assert json.loads(each["payload_press"])["id"] == "ha-button"
    assert json.loads(documents()[CAMERA]["components"]["restart"]["payload_press"])["args"] == {"camera": "front"}


def test_what_cannot_be_told_is_not_shown() -> None:
    """A command or a setting that the node does not know, or none at all, has no button and no switch."""
    keys = documents(view(control=frozenset({"set/device"})))[NODE]["components"].keys()
    assert "device" in keys
    assert not keys & {"model", "restart", "profile", "privacy", "batch"}
    assert not [each for each in entities(view(control=frozenset())) if "command_topic" in each]


def test_models_are_those_that_can_be_chosen() -> None:
    """The select offers the models that it is given, and is not there when there is none."""
    assert documents()[NODE]["components"]["model"]["options"] == ["yolov8s", "yolov8m"]
    assert "model" not in documents(view(models=()))[NODE]["components"]


def test_pictures_are_shown_where_they_are_sent() -> None:
    """An image is there for a camera of which snapshots are sent, and for no other."""
    picture = documents()[CAMERA]["components"]["snapshot"]
    assert (picture["image_topic"], picture["content_type"]) == (FRONT.snapshot, "image/jpeg")
    back = documents()[f"{HOME_ASSISTANT}/device/hailod_pi5-kitchen_back/config"]["components"]
    assert "snapshot" not in back
    assert not [key for key in back if key.endswith(("_count", "_occupancy"))]


def test_figures_expire_later_than_they_come() -> None:
    """What is told every ten seconds is not known any more after a minute; what is told less often, later."""
    assert documents()[NODE]["components"]["fps"]["expire_after"] == 60
    assert documents(view(metrics_interval=600.0))[NODE]["components"]["fps"]["expire_after"] == 1800


def test_simulated_node_says_so() -> None:
    """Nobody takes a simulated device for a chip in Home Assistant either."""
    simulated = documents(view(DeviceIdentity(simulated=True)))
    assert simulated[NODE]["device"]["name"] == "hailod pi5-kitchen (simulated)"
    assert documents()[NODE]["device"]["name"] == "hailod pi5-kitchen"


def test_documents_fit_into_messages_whatever_there_is() -> None:
    """With fifty cameras of eighty labels each and names as long as they may be, every label is shown in its own
    entities, in documents none of which is larger than a message may be."""
    topics = Topics("n" * 48)
    labels = tuple(f"label number {number}".ljust(40, "x") for number in range(80))
    cameras = tuple(CameraView(f"{number:02}".ljust(48, "c"), labels, snapshots=True) for number in range(3))
    told = plan(topics, View(NodeView(KNOWN, "1.2.3"), cameras, ALL), "device").documents
    assert max(len(encode(document)) for document in told.values()) < MAX_DOCUMENT
    assert all(home_assistant.complaints(json.loads(encode(document))) == [] for document in told.values())
    shown = [component for document in told.values() for component in document["components"].values()]  # type: ignore[attr-defined]
    assert len([each for each in shown if each["unique_id"].endswith("_occupancy")]) == 3 * 80


def test_labels_beyond_all_bounds_are_left_out_and_told() -> None:
    """A camera shows no more labels than there is room for; how many are left out can be told."""
    cameras = tuple(CameraView(f"c{number}", tuple(map(str, range(80)))) for number in range(50))
    many = View(NodeView(KNOWN, "1"), cameras, ALL)
    assert left_out(many) == {f"c{number}": 50 for number in range(50)}
    assert left_out(view()) == {}


# -- events ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sender", "declared"), [("node", NODE_EVENTS), ("camera", CAMERA_EVENTS)])
def test_every_event_is_declared(sender: str, declared: tuple[str, ...]) -> None:
    """Home Assistant drops what was not declared: each type that node and cameras send is in the list."""
    document = documents()[NODE if sender == "node" else CAMERA]
    assert document["components"]["events"]["event_types"] == sorted(set(declared))
    place = 0 if sender == "node" else 1
    sent = {
        node.args[place].value
        for file in (REPOSITORY / "hailod").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == sender
        and len(node.args) > place
        and isinstance(node.args[place], ast.Constant)
    }
    assert {"node": "device_released", "camera": "camera_lost"}[sender] in sent
    assert sent <= set(declared)


# -- the support that these tests lean on ----------------------------------------------------------------------------


def test_warnings_of_home_assistant_are_failures_here() -> None:
    """A template that uses what is not there fails, and a value outside of its options is refused."""
    with pytest.raises(jinja2.TemplateError):
        home_assistant.render("{{ value_json.device.temp_c }}", b"{}")
    with pytest.raises(jinja2.TemplateError):
        home_assistant.render("{{ value_json.fps }}", b"{}")
    enum = {"platform": "sensor", "unique_id": "x", "device_class": "enum", "options": ["ok"]}
    with pytest.raises(ValueError, match="brilliant"):
        home_assistant.state({**enum, "value_template": "{{ value }}"}, b"brilliant")


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": 1},
        {"unique_id": None},
        {"entity_category": "config"},
        {"device_class": "warmth"},
        {"unit_of_measurement": "V"},
        {"state_class": "total_increasing"},
        {"object_id": "x"},
        {"state_topic": "a/+"},
        {"icon": "chip"},
    ],
)
def test_what_home_assistant_refuses_is_found(change: dict[str, Any]) -> None:
    """The checks of documents find what they are there for."""
    document = documents()[NODE]
    assert home_assistant.complaints(document) == []
    document["components"]["chip_temp"].update(change)
    assert home_assistant.complaints(document)

"""The pages about MQTT, Home Assistant and Node-RED against what a real daemon says and takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hailod.mqtt.commands import Request, parse
from hailod.mqtt.messages import Inbound
from hailod.mqtt.topics import Topics
from tests.conftest import REPOSITORY
from tests.support.broker import Broker, Observer
from tests.support.daemon import BASE, FRONT, NODE, SEES_TWO, Daemon
from tests.support.flow import Flow
from tests.support.waiting import wait_for

DOCS = REPOSITORY / "docs"
PAGE = (DOCS / "mqtt.md").read_text()
ASSISTANT = (DOCS / "home-assistant.md").read_text()
FLOW = json.loads((DOCS / "node-red-flow.json").read_text())
EXAMPLE = "pi5-kitchen"
SETTABLE = [
    ("privacy", True),
    ("model", True),
    ("batch_size", True),
    ("max_delay_ms", True),
    ("log_level", True),
    ("device", True),
    ("privacy", False),
    ("enabled", False),
    ("threshold", False),
    ("max_fps", False),
]

Seen = dict[str, bytes]


def section(heading: str, page: str = PAGE) -> str:
    return page.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def blocks(language: str, page: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def automations() -> list[dict[str, Any]]:
    return [document for text in blocks("yaml", ASSISTANT) for document in yaml.safe_load_all(text)]


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def ours(topic: str) -> str:
    return topic.replace("NODE", NODE).replace("CAM", "front").replace(EXAMPLE, NODE)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """The last message on each topic of a daemon with one camera, of whose life something was made."""
    home = tmp_path_factory.mktemp("docs")
    (home / "two.sim.toml").write_text(SEES_TWO)
    body = '[frigate]\nenabled = true\n[models.two]\npath = "two.sim.toml"\n'
    body += '[cameras.front]\nsource = "synthetic:?size=320x240&fps=20"\n'
    with Broker(home) as broker, Observer(broker.port, "#") as observer, Daemon(home, broker, body) as daemon:
        observer.wait_for("frigate/events", timeout=30.0)
        observer.publish(f"{BASE}/cmd/snapshot.take", '{"id":"1","args":{"camera":"front"}}')
        observer.wait_for(f"{FRONT}/snapshot")
        observer.publish(f"{FRONT}/set/max_fps", "-1")
        for topic in (f"{BASE}/event", f"{BASE}/metrics", f"{FRONT}/detections", f"{BASE}/reply/snapshot.take"):
            observer.wait_for(topic)
        wait_for(lambda: observer.of(f"{FRONT}/status")[-1].payload == b"online", what="the camera is online")
        wait_for(lambda: observer.of(f"{FRONT}/state")[-1].json["objects"].get("person"), what="a person is seen")
        seen = {message.topic: message.payload for message in list(observer.seen)}
        assert daemon.stop() == 0
    return seen


def test_topics_of_the_page_are_those_of_a_daemon(told: Seen) -> None:
    """What a daemon publishes is in the table, and what is in the table is published."""
    listed = {
        ours(row[0].strip("`")).replace("/NAME", "/snapshot.take") for row in rows("Topics that hailod publishes")
    }
    frigate = {ours(row[0].strip("`")).replace("LABEL", "person") for row in rows("As Frigate publishes it")}
    published = {topic for topic in told if "/cmd/" not in topic and "/set/" not in topic}
    own = {topic for topic in published if not topic.startswith("frigate/")}
    others = published - own
    assert f"{BASE}/schema/index" in own
    own = {f"{BASE}/schema/DOCUMENT" if topic.startswith(f"{BASE}/schema/") else topic for topic in own}
    # Of a camera that stays well there is no event, of what is quick no progress, and the log is not asked for.
    assert own == listed - {f"{FRONT}/event", f"{BASE}/job/JOB", f"{BASE}/log"}
    assert others >= frigate
    assert all(topic.startswith("frigate/front/") for topic in others - frigate)


def test_settings_of_the_page_are_taken() -> None:
    """Each `set/` topic of the table is one, and takes the values that are listed."""
    topics = Topics(NODE)
    listed = rows("Settings, by one line each")
    assert [(row[0].strip("`").rpartition("/")[2], "/cam/" not in row[0]) for row in listed] == SETTABLE
    for topic, values, *_ in listed:
        for value in re.findall(r"`([^`]+)`", values):
            # Above 0 is not 0.
            given = "1" if value == "0" else value
            taken = parse(Inbound(ours(topic.strip("`")), given.encode(), False, 0.0), topics)
            assert isinstance(taken, Request), (topic, value)


def test_commands_of_the_page_are_taken() -> None:
    """Each command of the table exists and takes the arguments of its example, and no command is missing."""
    topics = Topics(NODE)
    listed = {row[0].strip("`"): row[1].strip("`") for row in rows("Commands")}
    for name, args in listed.items():
        inbound = Inbound(f"{BASE}/cmd/{name}", json.dumps({"args": json.loads(args)}).encode(), False, 0.0)
        assert isinstance(parse(inbound, topics), Request), name
    unknown = parse(Inbound(f"{BASE}/cmd/nothing", b"{}", False, 0.0), topics)
    assert set(listed) == set(unknown.error.allowed)  # type: ignore[union-attr]


def test_shown_lines_are_taken() -> None:
    """Every line with a topic and a message is one that hailod obeys."""
    lines = re.findall(r"-t (hailod/\S+) .*?-m ('[^']*'|\S+)", PAGE)
    assert lines
    for topic, payload in lines:
        taken = parse(Inbound(ours(topic), payload.strip("'").encode(), False, 0.0), Topics(NODE))
        assert isinstance(taken, Request), (topic, payload)


def test_shown_documents_have_the_form_of_real_ones(told: Seen) -> None:
    """The examples parse, and the answer to `snapshot.take` and Frigate's event have the keys of a daemon's own."""
    done, refused, event = (json.loads(text) for text in blocks("json", PAGE))
    real = json.loads(told[f"{BASE}/reply/snapshot.take"])
    # Only there while the machine's clock is not set.
    real.pop("clock_synced", None)
    assert done.keys() == real.keys()
    assert done["data"].keys() == real["data"].keys()
    assert refused["error"].keys() == {"code", "message", "retryable", "field"}
    mine = json.loads(told["frigate/events"])
    assert event.keys() == mine.keys()
    assert event["after"].keys() == event["before"].keys() == mine["after"].keys() == mine["before"].keys()


def test_automations_name_topics_that_exist(told: Seen) -> None:
    """Every topic in the YAML is published by a daemon, or is one that it obeys with what is sent there."""
    found = [(key, ours(value)) for document in automations() for key, value in walk(document) if "topic" in key]
    assert len(found) >= 6
    for key, topic in found:
        if key == "topic":
            for payload in (b"ON", b"OFF"):
                assert isinstance(parse(Inbound(topic, payload, False, 0.0), Topics(NODE)), Request), topic
        else:
            assert topic in told, topic


def test_automations_read_fields_that_exist(told: Seen) -> None:
    """Every field that a template of a sensor reads is in the real message on its topic, and so is every payload."""
    sensors = [sensor for document in automations() for sensor in document.get("mqtt", {}).get("sensor", [])]
    assert len(sensors) == 2
    for sensor in sensors:
        for topic_key in ("state_topic", "json_attributes_topic"):
            if topic_key not in sensor:
                continue
            template_key = {"state_topic": "value_template"}.get(topic_key, "json_attributes_template")
            paths = re.findall(r"value_json((?:\.\w+)+)", sensor[template_key])
            assert paths
            for path in paths:
                value = json.loads(told[ours(sensor[topic_key])])
                for name in path.strip(".").split("."):
                    value = value[name]
        assert told[ours(sensor["availability_topic"])] == b"online"
    health = json.loads(told[f"{BASE}/health"])
    assert {"text"} <= health["reasons"][0].keys()


def test_automations_are_complete() -> None:
    """There are three, each with an id of its own, what starts it and what it does, and none names an entity that it
    does not bring along."""
    found = [entry for document in automations() for entry in document.get("automation", [])]
    assert len({entry["id"] for entry in found}) == len(found) == 3
    assert all(entry["triggers"] and entry["actions"] and entry["alias"] for entry in found)
    names = {
        f"sensor.{s['name'].lower().replace(' ', '_')}"
        for d in automations()
        for s in d.get("mqtt", {}).get("sensor", [])
    }
    used = {word for entry in found for word in re.findall(r"sensor\.[a-z_]+", json.dumps(entry))}
    assert used == names
    assert not any(value for entry in found for key, value in walk(entry) if key == "retain")


def test_flow_is_wired() -> None:
    """Every wire leads to a node of the flow's tab, every broker is there, and ids are unique."""
    ids = [node["id"] for node in FLOW]
    assert len(set(ids)) == len(ids)
    (tab,) = [node["id"] for node in FLOW if node["type"] == "tab"]
    inside = {node["id"]: node for node in FLOW if node.get("z") == tab}
    assert len(inside) == len(FLOW) - 2
    reached = {target for node in inside.values() for wires in node["wires"] for target in wires}
    assert reached <= inside.keys()
    assert all(name in reached for name, node in inside.items() if node["type"] != "mqtt in")
    assert {node["broker"] for node in inside.values() if "broker" in node} <= set(ids)
    assert not any(node.get("retain") == "true" for node in inside.values())


def test_flow_asks_for_a_picture_when_somebody_comes(told: Seen) -> None:
    """Fed with a daemon's real messages the flow asks for one picture per change, and not for stale counts."""
    flow = Flow(json.loads(json.dumps(FLOW).replace(EXAMPLE, NODE)))
    assert flow.topics <= told.keys()
    state = json.loads(told[f"{FRONT}/state"])

    def persons(count: int, stale: float | None = None) -> int:
        shown = {**state, "stale": stale, "objects": {**state["objects"], "person": count}}
        flow.receive(f"{FRONT}/state", json.dumps(shown).encode())
        return len(flow.published)

    assert [persons(0), persons(0), persons(1), persons(1), persons(2), persons(0)] == [0, 0, 1, 1, 2, 2]
    assert persons(1, stale=5.0) == 2
    topic, payload = flow.published[-1]
    asked = parse(Inbound(topic, json.dumps(payload).encode(), False, 0.0), Topics(NODE))
    assert isinstance(asked, Request)
    assert asked.command.camera == "front"  # type: ignore[union-attr]


def test_flow_shows_pictures_problems_and_refusals(told: Seen) -> None:
    """The picture comes out, a clearing does not; reasons come out when health changes; and so does a refusal."""
    flow = Flow(json.loads(json.dumps(FLOW).replace(EXAMPLE, NODE)))
    flow.receive(f"{FRONT}/snapshot", told[f"{FRONT}/snapshot"])
    flow.receive(f"{FRONT}/snapshot", b"")
    health = json.loads(told[f"{BASE}/health"])
    for state in ("ok", "degraded", "degraded", "ok"):
        flow.receive(f"{BASE}/health", json.dumps({**health, "state": state}).encode())
    flow.receive(f"{BASE}/reply/snapshot.take", told[f"{BASE}/reply/snapshot.take"])
    flow.receive(f"{BASE}/reply/snapshot.take", blocks("json", PAGE)[1].encode())
    assert [value for _, value in flow.shown] == [
        told[f"{FRONT}/snapshot"],
        health["reasons"],
        json.loads(blocks("json", PAGE)[1])["error"],
    ]


def test_links_lead_somewhere() -> None:
    """Every page that these refer to is there."""
    for page in ("mqtt.md", "home-assistant.md", "node-red.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (DOCS / page).read_text()):
            assert Path(DOCS / target).exists(), target

"""What Home Assistant is told to make of a node."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest

from hailod.mqtt.discovery import NODE_EVENTS, Entity, node_device
from hailod.mqtt.outbox import MAX_DOCUMENT, encode
from hailod.mqtt.payloads import DeviceIdentity
from hailod.mqtt.topics import Topics
from tests.conftest import REPOSITORY

TOPICS = Topics("pi5-kitchen")
UNKNOWN = DeviceIdentity(simulated=False)
KNOWN = DeviceIdentity(simulated=False, arch="hailo8", name="AI HAT+ 26T", firmware="4.23.0", serial_tail="0A1B")

# Keys that Home Assistant takes at the level of a device; an unknown one would cost the whole device.
DEVICE_LEVEL = {"device", "origin", "availability", "availability_mode", "qos", "components"}
ABOUT = {"identifiers", "name", "manufacturer", "model", "model_id", "sw_version", "hw_version", "via_device"}


def document(identity: DeviceIdentity = KNOWN, *, control: bool = True, **more: Any) -> Any:
    told = node_device(TOPICS, identity=identity, version="1.2.3", control=control, **more)
    return json.loads(encode(told))


@pytest.mark.parametrize("identity", [UNKNOWN, KNOWN])
def test_home_assistant_takes_the_document(identity: DeviceIdentity) -> None:
    """There is an origin, every component has its id, no key is unknown, none is null, and it fits into a message."""
    told = document(identity)
    assert set(told) <= DEVICE_LEVEL
    assert set(told["device"]) <= ABOUT
    assert told["origin"]["name"] == "hailod"
    ids = [component["unique_id"] for component in told["components"].values()]
    assert len(set(ids)) == len(ids) == 3
    assert all(unique.startswith("hailod_pi5-kitchen_") for unique in ids)
    assert "null" not in json.dumps(told)
    assert len(encode(told)) < MAX_DOCUMENT


def test_switch_shows_and_sets_whose_the_device_is() -> None:
    """The switch is what N/settings says, and what it sends is taken by N/set/device."""
    switch = document()["components"]["device"]
    assert (switch["platform"], switch["state_topic"]) == ("switch", TOPICS.settings)
    assert switch["value_template"] == "{{ value_json.device }}"
    assert (switch["command_topic"], switch["qos"]) == ("hailod/pi5-kitchen/set/device", 1)
    assert (switch["payload_on"], switch["payload_off"]) == ("ON", "OFF")


def test_problem_has_its_reasons() -> None:
    """The problem is that of N/health, with its reasons as attributes."""
    problem = document()["components"]["problem"]
    assert (problem["platform"], problem["device_class"]) == ("binary_sensor", "problem")
    assert problem["state_topic"] == problem["json_attributes_topic"] == TOPICS.health
    assert "value_json.reasons" in problem["json_attributes_template"]


def test_node_that_takes_no_commands_has_no_switch() -> None:
    """A switch that could not be turned is taken away: its component says no more than its platform."""
    components = document(control=False)["components"]
    assert components["device"] == {"platform": "switch"}
    assert components["problem"]["unique_id"]


def test_simulated_node_says_so() -> None:
    """Nobody takes a simulated device for a chip in Home Assistant either."""
    assert document(DeviceIdentity(simulated=True))["device"]["name"] == "hailod pi5-kitchen (simulated)"
    assert document()["device"]["name"] == "hailod pi5-kitchen"


def test_entities_are_data() -> None:
    """Another entity is another row."""
    rows = [Entity("fps", "sensor", "Inference rate", {"state_topic": TOPICS.metrics})]
    assert document(entities=rows)["components"] == {
        "fps": {
            "platform": "sensor",
            "unique_id": "hailod_pi5-kitchen_fps",
            "name": "Inference rate",
            "state_topic": TOPICS.metrics,
        }
    }


def test_every_event_is_declared() -> None:
    """Home Assistant drops what was not declared: each type that the node sends is in the list."""
    assert document()["components"]["events"]["event_types"] == sorted(set(NODE_EVENTS))
    sent = {
        node.args[0].value
        for file in (REPOSITORY / "hailod").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "node"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert "device_released" in sent
    assert sent <= set(NODE_EVENTS)

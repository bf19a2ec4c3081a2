"""Home Assistant's discovery: a node becomes a device, and what it tells and takes become its entities. Pure.

An entity is a row of data; a new one is a new row. Home Assistant refuses a whole device for an unknown key or a
component without `unique_id`, drops event types that were not declared, and keeps a component that is merely left out:
it goes when its row says no more than its platform.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hailod.mqtt.payloads import DeviceIdentity, Payload
from hailod.mqtt.topics import Topics

# Every type that may come on `N/event`; an event of a type that is not here would be lost in Home Assistant.
NODE_EVENTS = (
    "clock_jumped",
    "command_failed",
    "device_acquired",
    "device_lost",
    "device_recovered",
    "device_released",
    "device_restarted",
    "load_normal",
    "model_changed",
    "model_changing",
    "model_quarantined",
    "overloaded",
    "profile_ready",
    "thermal_normal",
    "thermal_throttle",
)

# Home Assistant's recorder keeps no attributes beyond 16 kB, and nobody reads more reasons than these.
_REASONS = "{{ {'state': value_json.state, 'reasons': value_json.reasons[:8]} | tojson }}"


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity of a device: `key` is its own for good, `options` are in Home Assistant's words.

    One that `commands` is of no use to a node that takes none.
    """

    key: str
    platform: str
    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    commands: bool = False


def node_entities(topics: Topics) -> tuple[Entity, ...]:
    """What a node shows of itself."""
    return (
        Entity(
            "device",
            "switch",
            "Accelerator",
            {
                "state_topic": topics.settings,
                "value_template": "{{ value_json.device }}",
                "command_topic": topics.set("device"),
                "payload_on": "ON",
                "payload_off": "OFF",
                # The device's own applies to commands in later versions of Home Assistant only.
                "qos": 1,
                "icon": "mdi:chip",
            },
            commands=True,
        ),
        Entity(
            "problem",
            "binary_sensor",
            "Problem",
            {
                "state_topic": topics.health,
                "value_template": "{{ 'OFF' if value_json.state == 'ok' else 'ON' }}",
                "json_attributes_topic": topics.health,
                "json_attributes_template": _REASONS,
                "device_class": "problem",
                "entity_category": "diagnostic",
            },
        ),
        Entity("events", "event", "Event", {"state_topic": topics.event, "event_types": list(NODE_EVENTS)}),
    )


def node_device(
    topics: Topics, *, identity: DeviceIdentity, version: str, control: bool, entities: Iterable[Entity] | None = None
) -> Payload:
    """The discovery document of the node. Without `control` entities that command are taken away."""
    unique = f"hailod_{topics.node}"
    shown = node_entities(topics) if entities is None else entities
    about = {
        "model": identity.name,
        "model_id": identity.arch,
        "hw_version": f"firmware {identity.firmware}" if identity.firmware else None,
    }
    return {
        "device": {
            "identifiers": [unique],
            "name": f"hailod {topics.node}{' (simulated)' if identity.simulated else ''}",
            "manufacturer": "Hailo",
            "sw_version": f"hailod {version}",
            **{key: value for key, value in about.items() if value},
        },
        "origin": {"name": "hailod", "sw_version": version},
        "availability": [{"topic": topics.status, "payload_available": "online", "payload_not_available": "offline"}],
        "qos": 1,
        "components": {
            entity.key: _component(entity, unique) if control or not entity.commands else {"platform": entity.platform}
            for entity in shown
        },
    }


def _component(entity: Entity, unique: str) -> Payload:
    identity = {"platform": entity.platform, "unique_id": f"{unique}_{entity.key}", "name": entity.name}
    return {**identity, **entity.options}

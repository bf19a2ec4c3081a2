"""A camera as a device of its own, reached through its node. Pure; a new entity is a new row.

What a camera sees is available while the camera is; what can be told to it, and how it fares, while the node is.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection
from dataclasses import dataclass

from hailod.mqtt.discovery.entity import Device, Entity, available, on_off, one_of, path, quoted, shown, value
from hailod.mqtt.discovery.node import MANUFACTURER, node_id, origin
from hailod.mqtt.payloads import Payload
from hailod.mqtt.topics import Topics

# Every type that may come on `C/event`; an event of a type that is not here would be lost in Home Assistant.
CAMERA_EVENTS = (
    "camera_lost",
    "camera_recovered",
    "line_cross",
    "loitering",
    "moving",
    "object_end",
    "object_new",
    "stationary",
    "zone_enter",
    "zone_leave",
)
STATUSES = ("online", "offline", "starting", "disabled")

# A label is shown by its own name up to here.
_MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class CameraView:
    """What is shown of a camera. `labels` are those it is told to count; with none, only their total is shown.
    `snapshots`: pictures of it are sent."""

    name: str
    labels: tuple[str, ...] = ()
    snapshots: bool = False


def camera_device(
    topics: Topics, version: str, camera: CameraView, controls: Collection[str], max_labels: int
) -> Device:
    """The camera, with entities for no more than `max_labels` of its labels."""
    entities = [*_settings(topics, camera.name), *_seen(topics, camera)]
    for label in list(dict.fromkeys(camera.labels))[:max_labels]:
        entities += _label(topics, camera.name, label)
    return Device(
        id=camera_id(topics, camera.name),
        about={
            "identifiers": [camera_id(topics, camera.name)],
            "name": f"hailod {topics.node} {camera.name}",
            "manufacturer": MANUFACTURER,
            "model": "Camera",
            "sw_version": f"hailod {version}",
            "via_device": node_id(topics),
        },
        origin=origin(version),
        common={
            "availability": [available(topics.status), available(topics.camera(camera.name).status, more=True)],
            "availability_mode": "all",
            "qos": 1,
        },
        entities=shown(entities, controls),
    )


def camera_id(topics: Topics, camera: str) -> str:
    return f"{node_id(topics)}_{camera}"


def label_key(label: str) -> str:
    """A key for a label that no other label has: as it is where that can be, else as near to it and with a number."""
    slug = re.sub(r"[^a-z0-9_-]+", "_", label.lower())[:40]
    return slug if slug == label else f"{slug}_{zlib.crc32(label.encode(errors='replace')):08x}"


def _settings(topics: Topics, camera: str) -> tuple[Entity, ...]:
    mine = topics.camera(camera)
    node_only: Payload = {"availability": [available(topics.status)]}
    press = json.dumps({"id": "ha-button", "args": {"camera": camera}}, separators=(",", ":"))

    def told(key: str) -> Payload:
        return {"state_topic": mine.settings, "command_topic": mine.set(key), "qos": 1, **node_only}

    return (
        Entity(
            "enabled",
            "switch",
            "Enabled",
            {**told("enabled"), "value_template": on_off(path("enabled")), "icon": "mdi:cctv"},
            control="cam/set/enabled",
        ),
        Entity(
            "privacy",
            "switch",
            "Privacy",
            {**told("privacy"), "value_template": on_off(path("privacy")), "icon": "mdi:incognito"},
            control="cam/set/privacy",
        ),
        Entity(
            "threshold",
            "number",
            "Score threshold",
            {
                **told("threshold"),
                "value_template": value("threshold"),
                "min": 0.05,
                "max": 0.95,
                "step": 0.05,
                "mode": "slider",
                "icon": "mdi:tune-variant",
                "entity_category": "config",
            },
            control="cam/set/threshold",
        ),
        Entity(
            "max_fps",
            "number",
            "Rate limit",
            {
                **told("max_fps"),
                "value_template": value("max_fps"),
                # Whatever a file may set is shown; Home Assistant complains of a value outside at every message.
                "min": 0,
                "max": 1000,
                "step": 0.1,
                "mode": "box",
                "unit_of_measurement": "fps",
                "icon": "mdi:speedometer-slow",
                "entity_category": "config",
            },
            control="cam/set/max_fps",
        ),
        Entity(
            "restart",
            "button",
            "Restart",
            {
                "command_topic": topics.command("camera.restart"),
                "payload_press": press,
                "qos": 1,
                "device_class": "restart",
                "entity_category": "config",
                **node_only,
            },
            control="cmd/camera.restart",
        ),
        Entity(
            "status",
            "sensor",
            "Stream",
            {
                "state_topic": mine.status,
                "value_template": one_of(STATUSES, "value"),
                "device_class": "enum",
                "options": list(STATUSES),
                "icon": "mdi:video-wireless",
                "entity_category": "diagnostic",
                **node_only,
            },
        ),
        # Also while the camera is lost, which is one of them.
        Entity(
            "events", "event", "Event", {"state_topic": mine.event, "event_types": list(CAMERA_EVENTS), **node_only}
        ),
    )


def _seen(topics: Topics, camera: CameraView) -> tuple[Entity, ...]:
    mine = topics.camera(camera.name)
    rate = Entity(
        "fps",
        "sensor",
        "Processed rate",
        {
            "state_topic": mine.state,
            "value_template": value("fps"),
            "state_class": "measurement",
            "unit_of_measurement": "fps",
            "suggested_display_precision": 1,
            "icon": "mdi:speedometer",
            "entity_category": "diagnostic",
        },
    )
    total = Entity(
        "objects",
        "sensor",
        "Objects",
        {
            "state_topic": mine.state,
            "value_template": (
                f"{{% set x = {path('objects')}|default(none) %}}{{{{ x if x is none else x.values()|sum }}}}"
            ),
            "state_class": "measurement",
            "icon": "mdi:shape",
        },
    )
    if not camera.snapshots:
        return rate, total
    picture = Entity(
        "snapshot", "image", "Last detection", {"image_topic": mine.snapshot, "content_type": "image/jpeg"}
    )
    return rate, total, picture


def _label(topics: Topics, camera: str, label: str) -> tuple[Entity, Entity]:
    """How many there are, and whether there is any. One that the document does not have is not known, which is another
    thing than not there."""
    key, name = label_key(label), _title(label)
    state = topics.camera(camera).state
    # A label may be called like a method: `keys`.
    seen = f"({path('objects')}|default({{}},true)).get({quoted(label)})"
    count: Payload = {
        "state_topic": state,
        "value_template": f"{{{{ {seen} }}}}",
        "state_class": "measurement",
        "icon": "mdi:counter",
    }
    occupancy: Payload = {
        "state_topic": state,
        "value_template": on_off(seen, on="x > 0"),
        "device_class": "occupancy",
    }
    return (
        Entity(f"{key}_count", "sensor", f"{name} count", count, group=label),
        Entity(f"{key}_occupancy", "binary_sensor", f"{name} occupancy", occupancy, group=label),
    )


def _title(label: str) -> str:
    """A label as a name: printable, not too long, with a capital."""
    text = "".join(c for c in label[:_MAX_NAME] if c.isprintable()).strip() or "?"
    return text[:1].upper() + text[1:]

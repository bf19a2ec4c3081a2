"""Home Assistant as far as discovery goes: what its MQTT integration takes, and what it makes of a template.

Keys and rules are those of Home Assistant 2025.4.4 and 2026.11.0, components/mqtt: `schemas.py`, `config.py` and the
module of each platform. Where the two differ the stricter one is kept: a key that only one of them knows is refused.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from typing import Any

import jinja2.sandbox

# What stands beside the components, for the device and for each of them.
_AVAILABILITY = {"availability", "availability_mode", "availability_topic", "availability_template"}
_DEVICE_LEVEL = {"device", "origin", "components", "state_topic", "command_topic", "qos", "encoding", *_AVAILABILITY}
_ABOUT = {
    "identifiers",
    "connections",
    "name",
    "manufacturer",
    "model",
    "model_id",
    "hw_version",
    "sw_version",
    "serial_number",
    "suggested_area",
    "via_device",
    "configuration_url",
}
_ORIGIN = {"name", "sw_version", "support_url"}
_COMMON = {
    "unique_id",
    "name",
    "icon",
    "entity_category",
    "enabled_by_default",
    "entity_picture",
    "json_attributes_topic",
    "json_attributes_template",
    "qos",
    "encoding",
    "payload_available",
    "payload_not_available",
    *_AVAILABILITY,
}
_READS = {"state_topic", "value_template"}
_WRITES = {"command_topic", "command_template", "retain"}
# Platform: what else it knows, and what it must have.
_PLATFORMS: dict[str, tuple[set[str], set[str]]] = {
    "sensor": (
        {
            *_READS,
            "device_class",
            "expire_after",
            "force_update",
            "last_reset_value_template",
            "options",
            "suggested_display_precision",
            "state_class",
            "unit_of_measurement",
        },
        {"state_topic"},
    ),
    "binary_sensor": (
        {*_READS, "device_class", "expire_after", "force_update", "off_delay", "payload_on", "payload_off"},
        {"state_topic"},
    ),
    "switch": (
        {*_READS, *_WRITES, "optimistic", "payload_on", "payload_off", "state_on", "state_off", "device_class"},
        {"command_topic"},
    ),
    "number": (
        {
            *_READS,
            *_WRITES,
            "optimistic",
            "device_class",
            "min",
            "max",
            "step",
            "mode",
            "payload_reset",
            "unit_of_measurement",
        },
        {"command_topic"},
    ),
    "select": ({*_READS, *_WRITES, "optimistic", "options"}, {"command_topic", "options"}),
    "button": ({*_WRITES, "payload_press", "device_class"}, {"command_topic"}),
    "event": ({*_READS, "device_class", "event_types"}, {"state_topic", "event_types"}),
    "image": ({"content_type", "image_topic", "image_encoding", "url_template", "url_topic"}, set()),
}
# Of the classes that we use: their units, and the state classes that go with them.
_UNITS: dict[str, set[str]] = {
    "temperature": {"°C", "°F", "K"},
    "duration": {"d", "h", "min", "s", "ms", "μs"},
    "data_size": {"B", "kB", "MB", "GB", "KiB", "MiB", "GiB"},
    "enum": set(),
    "timestamp": set(),
}
_STATE_CLASSES: dict[str, set[str]] = {
    "temperature": {"measurement"},
    "duration": {"measurement", "total", "total_increasing"},
    "data_size": {"measurement", "total", "total_increasing"},
    "enum": set(),
    "timestamp": set(),
}
_CLASSES = {
    "binary_sensor": {"problem", "occupancy"},
    "button": {"restart", "identify", "update"},
    "event": {"doorbell", "button", "motion"},
    "switch": {"outlet", "switch"},
    "number": {"duration"},
    "sensor": set(_UNITS),
}


def complaints(document: dict[str, Any]) -> list[str]:
    """What a Home Assistant of either version would object to in a device's document."""
    found = [f"unknown key {key}" for key in document.keys() - _DEVICE_LEVEL]
    found += [f"unknown key device.{key}" for key in document.get("device", {}).keys() - _ABOUT]
    found += [f"unknown key origin.{key}" for key in document.get("origin", {}).keys() - _ORIGIN]
    if not document.get("device", {}).get("identifiers"):
        found.append("the device has no identifier")
    if not document.get("origin", {}).get("name"):
        found.append("there is no origin")
    found += _availability(document)
    for key, component in document.get("components", {}).items():
        if component.keys() != {"platform"}:
            found += [f"{key}: {complaint}" for complaint in _component(component)]
        elif component["platform"] not in _PLATFORMS:
            found.append(f"{key}: no such platform")
    return found


def single_complaints(document: dict[str, Any], platform: str) -> list[str]:
    """The same for the document of one entity."""
    about = {key: document[key] for key in ("device", "origin") if key in document}
    rest = {key: what for key, what in document.items() if key not in about}
    return complaints({**about, "components": {"it": {"platform": platform, **rest}}})


def _component(component: dict[str, Any]) -> list[str]:
    platform = component.get("platform", "")
    if platform not in _PLATFORMS:
        return ["no such platform"]
    known, required = _PLATFORMS[platform]
    found = [f"unknown key {key}" for key in component.keys() - known - _COMMON - {"platform"}]
    found += [f"no {key}" for key in {"unique_id", "name", *required} - component.keys()]
    found += [f"{key} is null" for key, what in component.items() if what is None]
    found += [f"{key} is no topic" for key, what in component.items() if key.endswith("_topic") and not _is_topic(what)]
    found += _availability(component)
    categories = {"diagnostic"} if platform in ("sensor", "binary_sensor") else {"diagnostic", "config"}
    if component.get("entity_category", "diagnostic") not in categories:
        found.append("category")
    kind = component.get("device_class")
    if kind is not None and kind not in _CLASSES.get(platform, set()):
        found.append(f"device class {kind}")
    if not component.get("icon", "mdi:x").startswith("mdi:"):
        found.append("icon")
    checks = {"sensor": _sensor, "number": _number, "select": _select, "event": _event, "image": _image}
    return [*found, *checks.get(platform, lambda _: [])(component)]


def _availability(document: dict[str, Any]) -> list[str]:
    allowed = {"topic", "payload_available", "payload_not_available", "value_template"}
    entries = document.get("availability", [])
    found = [f"unknown key availability.{key}" for entry in entries for key in entry.keys() - allowed]
    found += ["availability without topic" for entry in entries if not _is_topic(entry.get("topic"))]
    if document.get("availability_mode", "all") not in {"all", "any", "latest"}:
        found.append("availability_mode")
    return found


def _sensor(component: dict[str, Any]) -> list[str]:
    kind, unit = component.get("device_class"), component.get("unit_of_measurement")
    state_class = component.get("state_class")
    found = []
    if "options" in component and (not component["options"] or kind != "enum" or state_class or unit):
        found.append("options")
    if kind == "enum" and "options" not in component:
        found.append("enum without options")
    if kind is not None and unit not in (_UNITS.get(kind) or {None}):
        found.append(f"unit {unit} of {kind}")
    if state_class not in {None, "measurement", "total", "total_increasing"}:
        found.append("state class")
    if kind is not None and state_class is not None and state_class not in _STATE_CLASSES.get(kind, set()):
        found.append(f"state class {state_class} of {kind}")
    for key in ("expire_after", "suggested_display_precision"):
        if not isinstance(component.get(key, 0), int) or component.get(key, 0) < 0:
            found.append(key)
    return found


def _number(component: dict[str, Any]) -> list[str]:
    fine = component["min"] < component["max"] and component["step"] >= 0.001
    return [] if fine and component["mode"] in {"auto", "box", "slider"} else ["range"]


def _select(component: dict[str, Any]) -> list[str]:
    options = component["options"]
    return [] if options and len(set(options)) == len(options) else ["options"]


def _event(component: dict[str, Any]) -> list[str]:
    types = component["event_types"]
    return [] if types and len(set(types)) == len(types) else ["event types"]


def _image(component: dict[str, Any]) -> list[str]:
    return [] if ("image_topic" in component) != ("url_topic" in component) else ["one of image_topic and url_topic"]


def _is_topic(topic: object) -> bool:
    return isinstance(topic, str) and bool(topic) and not set(topic) & set("+#\0")


class _Complaining(jinja2.Undefined):
    """Home Assistant logs a warning for each use of a name that is not there; here that is an error."""

    def _complain(self, *_: object) -> Any:
        raise jinja2.UndefinedError(f"{self._undefined_name} is undefined")

    __str__ = __iter__ = __bool__ = __eq__ = __hash__ = __len__ = _complain  # type: ignore[assignment]


_ENVIRONMENT = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=_Complaining)


def render(template: str, payload: bytes) -> str:
    """What Home Assistant makes of a message; raises jinja2.TemplateError where it would fail or warn."""
    text = payload.decode()
    values: dict[str, object] = {"value": text}
    with suppress(ValueError):
        values["value_json"] = json.loads(text)
    # It strips what a template gives.
    return _ENVIRONMENT.from_string(template).render(values).strip()


def state(component: dict[str, Any], payload: bytes) -> str | None:
    """The state that an entity of this component has after a message; None: unknown.

    Raises ValueError for a value that Home Assistant would drop with a complaint.
    """
    result = render(component["value_template"], payload) if "value_template" in component else payload.decode()
    platform = component["platform"]
    if result == "None":
        return None
    if platform in ("switch", "binary_sensor"):
        allowed = {component.get("payload_on", "ON"), component.get("payload_off", "OFF")}
        fine = result in allowed
    elif platform == "select" or component.get("device_class") == "enum":
        fine = result in component["options"]
    elif platform == "number":
        fine = component["min"] <= float(result) <= component["max"]
    elif component.get("device_class") == "timestamp":
        fine = datetime.fromisoformat(result).tzinfo is not None
    elif "state_class" in component or "unit_of_measurement" in component:
        fine = bool(f"{float(result)}")
    else:
        fine = len(result) <= 255
    if not fine:
        raise ValueError(f"{component['unique_id']}: {result!r}")
    return result


def attributes(component: dict[str, Any], payload: bytes) -> dict[str, Any]:
    """The attributes that an entity has after a message."""
    found = json.loads(render(component["json_attributes_template"], payload))
    assert isinstance(found, dict)
    return found

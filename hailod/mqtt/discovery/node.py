"""The node as a device, its entities one row each. Pure; a new entity is a new row."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from hailod.mqtt.discovery.entity import (
    EXPIRE_AFTER_S,
    Device,
    Entity,
    available,
    on_off,
    one_of,
    path,
    shown,
    value,
)
from hailod.mqtt.payloads import DeviceIdentity, Payload
from hailod.mqtt.topics import Topics
from hailod.types import MAX_BATCH

MANUFACTURER = "hailod"

# Every type that may come on `N/event`; an event of a type that is not here would be lost in Home Assistant.
NODE_EVENTS = (
    "clock_jumped",
    "command_failed",
    "config_rejected",
    "config_reloaded",
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
_REASONS = f"{{{{ {{'reasons': ({path('reasons')}|default([],true))[:8]}} | tojson }}}}"
# All buttons send the same id, by which the node knows that two presses are two commands.
PRESS = '{"id":"ha-button"}'


@dataclass(frozen=True, slots=True)
class NodeView:
    """What is shown of a node. `models` are those that can be chosen; figures come every `metrics_interval` s."""

    identity: DeviceIdentity
    version: str
    models: tuple[str, ...] = ()
    metrics_interval: float = 10.0


def node_device(topics: Topics, view: NodeView, controls: Collection[str]) -> Device:
    """The node; without `controls` nothing can be told to it."""
    identity = view.identity
    about = {
        "model": identity.name,
        "model_id": identity.arch,
        "hw_version": f"firmware {identity.firmware}" if identity.firmware else None,
    }
    return Device(
        id=node_id(topics),
        about={
            "identifiers": [node_id(topics)],
            "name": f"hailod {topics.node}{' (simulated)' if identity.simulated else ''}",
            "manufacturer": "Hailo",
            "sw_version": f"hailod {view.version}",
            **{key: text for key, text in about.items() if text},
        },
        origin=origin(view.version),
        common={"availability": [available(topics.status)], "qos": 1},
        entities=shown(
            (*_states(topics), *_figures(topics, view), *_settings(topics, view), *_buttons(topics)), controls
        ),
    )


def node_id(topics: Topics) -> str:
    return f"hailod_{topics.node}"


def origin(version: str) -> Payload:
    return {"name": "hailod", "sw_version": version}


def _states(topics: Topics) -> tuple[Entity, ...]:
    health: Payload = {"state_topic": topics.health, "entity_category": "diagnostic"}
    states = ("ok", "degraded", "failed")
    return (
        Entity(
            "problem",
            "binary_sensor",
            "Problem",
            {
                **health,
                "value_template": on_off(path("state"), on="x != 'ok'"),
                "json_attributes_topic": topics.health,
                "json_attributes_template": _REASONS,
                "device_class": "problem",
            },
        ),
        Entity(
            "state",
            "sensor",
            "State",
            {
                **health,
                "value_template": one_of(states, path("state")),
                "device_class": "enum",
                "options": list(states),
            },
        ),
        Entity(
            "restarts",
            "sensor",
            "Device restarts",
            {
                **health,
                "value_template": value("device_restarts"),
                "state_class": "total_increasing",
                "icon": "mdi:restart-alert",
                "enabled_by_default": False,
            },
        ),
        Entity(
            "started",
            "sensor",
            "Started",
            {
                "state_topic": topics.info,
                "value_template": value("started_at"),
                "device_class": "timestamp",
                "entity_category": "diagnostic",
            },
        ),
        Entity(
            "revision",
            "sensor",
            "Settings revision",
            {
                "state_topic": topics.settings,
                "value_template": value("revision"),
                "icon": "mdi:counter",
                "entity_category": "diagnostic",
                "enabled_by_default": False,
            },
        ),
        Entity("events", "event", "Event", {"state_topic": topics.event, "event_types": list(NODE_EVENTS)}),
    )


def _figures(topics: Topics, view: NodeView) -> tuple[Entity, ...]:
    """Figures of `N/metrics`. Key, name, where it stands, what it is, and whether it is shown unasked."""
    told: Payload = {
        "state_topic": topics.metrics,
        "expire_after": max(EXPIRE_AFTER_S, math.ceil(3 * view.metrics_interval)),
    }
    diagnostic: Payload = {"entity_category": "diagnostic"}
    measured: Payload = {"state_class": "measurement"}
    ms: Payload = {
        **measured,
        "device_class": "duration",
        "unit_of_measurement": "ms",
        "suggested_display_precision": 1,
    }
    celsius: Payload = {
        **measured,
        "device_class": "temperature",
        "unit_of_measurement": "°C",
        "suggested_display_precision": 1,
    }
    cpu: Payload = {**measured, "unit_of_measurement": "%", "suggested_display_precision": 0, "icon": "mdi:cpu-64-bit"}
    memory: Payload = {
        **measured,
        "device_class": "data_size",
        "unit_of_measurement": "MiB",
        "suggested_display_precision": 0,
    }
    rate: Payload = {
        **measured,
        "unit_of_measurement": "fps",
        "suggested_display_precision": 1,
        "icon": "mdi:speedometer",
    }
    lost: Payload = {"state_class": "total_increasing", "unit_of_measurement": "frames", "icon": "mdi:image-off"}
    rows: tuple[tuple[str, str, tuple[str, ...], Payload, bool], ...] = (
        ("fps", "Inference rate", ("fps",), rate, True),
        ("latency", "Inference latency", ("latency_ms", "p50"), {**ms, **diagnostic}, True),
        ("latency_p95", "Inference latency p95", ("latency_ms", "p95"), {**ms, **diagnostic}, False),
        ("latency_p99", "Inference latency p99", ("latency_ms", "p99"), {**ms, **diagnostic}, False),
        ("dropped", "Frames dropped", ("frames_dropped_total",), {**lost, **diagnostic}, True),
        ("chip_temp", "Chip temperature", ("device", "temp_c"), {**celsius, **diagnostic}, True),
        ("host_temp", "Host temperature", ("host", "temp_c"), {**celsius, **diagnostic}, True),
        ("cpu", "CPU usage", ("host", "cpu_pct"), {**cpu, **diagnostic}, True),
        ("memory", "Memory usage", ("host", "rss_mb"), {**memory, **diagnostic}, True),
        ("device_cpu", "Device process CPU usage", ("host", "device_host_cpu_pct"), {**cpu, **diagnostic}, False),
        (
            "device_memory",
            "Device process memory usage",
            ("host", "device_host_rss_mb"),
            {**memory, **diagnostic},
            False,
        ),
    )
    return tuple(
        Entity(
            key,
            "sensor",
            name,
            {**told, "value_template": value(*keys), **what, **({} if enabled else {"enabled_by_default": False})},
        )
        for key, name, keys, what, enabled in rows
    )


def _settings(topics: Topics, view: NodeView) -> tuple[Entity, ...]:
    def told(key: str) -> Payload:
        # The quality of service of the device applies to commands in later versions of Home Assistant only.
        return {"state_topic": topics.settings, "command_topic": topics.set(key), "qos": 1}

    config: Payload = {"entity_category": "config"}
    rows = [
        Entity(
            "device",
            "switch",
            "Accelerator",
            {**told("device"), "value_template": on_off(path("device"), on="x == 'ON'"), "icon": "mdi:chip"},
            control="set/device",
        ),
        Entity(
            "privacy",
            "switch",
            "Privacy",
            {**told("privacy"), "value_template": on_off(path("privacy")), "icon": "mdi:incognito"},
            control="set/privacy",
        ),
        Entity(
            "batch",
            "number",
            "Batch size",
            {
                **told("batch_size"),
                "value_template": value("batch_size"),
                "min": 1,
                "max": MAX_BATCH,
                "step": 1,
                "mode": "box",
                "icon": "mdi:layers-triple",
                **config,
            },
            control="set/batch_size",
        ),
        Entity(
            "max_delay",
            "number",
            "Batch timeout",
            {
                **told("max_delay_ms"),
                "value_template": value("max_delay_ms"),
                "min": 0,
                "max": 1000,
                "step": 1,
                "mode": "box",
                "device_class": "duration",
                "unit_of_measurement": "ms",
                **config,
            },
            control="set/max_delay_ms",
        ),
    ]
    if view.models:
        model = Entity(
            "model",
            "select",
            "Model",
            {
                **told("model"),
                "value_template": one_of(view.models, path("model")),
                "options": list(view.models),
                "icon": "mdi:brain",
                **config,
            },
            control="set/model",
        )
        rows.append(model)
    return tuple(rows)


def _buttons(topics: Topics) -> tuple[Entity, ...]:
    return (
        Entity(
            "restart",
            "button",
            "Restart device",
            {
                "command_topic": topics.command("device.restart"),
                "payload_press": PRESS,
                "qos": 1,
                "device_class": "restart",
                "entity_category": "config",
            },
            control="cmd/device.restart",
        ),
        Entity(
            "profile",
            "button",
            "Capture profile",
            {
                "command_topic": topics.command("profile.capture"),
                "payload_press": '{"id":"ha-button","args":{"duration_s":10}}',
                "qos": 1,
                "icon": "mdi:chart-timeline",
                "entity_category": "diagnostic",
            },
            control="cmd/profile.capture",
        ),
    )

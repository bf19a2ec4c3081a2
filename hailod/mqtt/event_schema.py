"""What each type of event tells: one row per type. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from hailod.mqtt.payloads import VERSION
from hailod.mqtt.schema_forms import COUNT, FRACTION, TEXT, TS, Schema, array, or_null

_DURATION: Schema = {"type": "number", "minimum": 0}
_FIGURE: Schema = {"type": ["number", "null"]}
_CAMERA = or_null(TEXT)
_MODEL = or_null(TEXT)

# A key that ends in `?` may be left out.
Fields = Mapping[str, Schema]

NODE_EVENTS: Mapping[str, Fields] = {
    "clock_jumped": {"by_s": {"type": "number"}},
    "command_failed": {
        "cmd": TEXT,
        "camera": _CAMERA,
        "code": TEXT,
        "message": TEXT,
        "retryable": {"type": "boolean"},
        "field?": TEXT,
        "allowed?": {"type": "array"},
        # Of a flood, how many were not told one by one.
        "untold?": COUNT,
    },
    "config_rejected": {"code": TEXT, "reason": TEXT},
    "config_reloaded": {
        "restart_required": {"type": "boolean"},
        "pending?": array(TEXT),
        "restarted?": array(TEXT),
        "revision?": COUNT,
        "gap_ms?": _FIGURE,
        "proven?": {"type": "boolean"},
    },
    "device_acquired": {"after_s": _DURATION, "by": TEXT},
    "device_lost": {"code": TEXT, "reason": TEXT, "rung": TEXT, "model?": TEXT},
    "device_recovered": {"duration_s": _DURATION, "rung": TEXT, "code": TEXT, "model?": TEXT},
    "device_released": {"for_s": _DURATION, "by": TEXT},
    "device_restarted": {"duration_s": _DURATION, "rung": TEXT, "by": TEXT},
    "load_normal": {},
    "model_changed": {"from?": _MODEL, "to": TEXT, "camera": _CAMERA, "took_ms": COUNT, "by": TEXT},
    "model_changing": {"from": _MODEL, "to": TEXT, "camera": _CAMERA},
    "model_quarantined": {"model": TEXT, "reason": TEXT, "retry_in_s": COUNT},
    "overloaded": {},
    "profile_ready": {"path": TEXT, "frames": COUNT, "duration_s": _DURATION},
    "thermal_normal": {"temp_c": _FIGURE, "duration_s": _DURATION},
    "thermal_throttle": {
        "temp_c": _FIGURE,
        "share": FRACTION,
        "max_fps": _FIGURE,
        "chip_throttled": {"type": ["boolean", "null"]},
    },
}

CAMERA_EVENTS: Mapping[str, Fields] = {
    "camera_lost": {"code": TEXT, "reason": TEXT, "failures": COUNT},
    "camera_recovered": {"code": TEXT, "duration_s": _DURATION},
}


def event(types: Mapping[str, Fields], **common: Schema) -> Schema:
    """One event of one of these types: its own keys beside those of every event and `common`."""
    every: Fields = {
        "v": {"const": VERSION},
        "id": {"type": "string", "minLength": 1},
        "ts": TS,
        "seq": {"type": "integer", "minimum": 1},
        "replayed": {"type": "boolean"},
        **common,
    }
    return {
        "type": "object",
        "properties": {**every, "event_type": {"enum": list(types)}, "clock_synced": {"const": False}},
        "required": [*every, "event_type"],
        "oneOf": [_branch(name, fields) for name, fields in types.items()],
        "unevaluatedProperties": False,
    }


def _branch(name: str, fields: Fields) -> Schema:
    return {
        "properties": {
            "event_type": {"const": name},
            **{key.removesuffix("?"): schema for key, schema in fields.items()},
        },
        "required": [key for key in fields if not key.endswith("?")],
    }

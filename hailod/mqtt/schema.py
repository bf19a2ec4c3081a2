"""The form of everything that is published and taken, as JSON Schema 2020-12: what `N/schema/...` tells. Pure.

Of our own documents every key is named here and no other is allowed, so that one that was forgotten shows in the first
test that sees it. What commands take is read from their models, so a new command brings its schema along.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel

from hailod.config.model import CameraSettings, ModelSettings, Settings
from hailod.mqtt import commands
from hailod.mqtt.event_schema import CAMERA_EVENTS, NODE_EVENTS, event
from hailod.mqtt.payloads import API, CAMERA_SHOWN, MAX_DETECTIONS, MODEL_SHOWN, NODE_SHOWN, VERSION, Payload
from hailod.mqtt.schema_forms import COUNT, FRACTION, TEXT, TS, Schema, array, closed, one_of, or_null, table

DIALECT = "https://json-schema.org/draft/2020-12/schema"
STATES = ("ok", "degraded", "failed")
NODE_WORDS = ("online", "offline")
CAMERA_WORDS = ("online", "offline", "starting", "disabled")
LOG_LEVELS = ("warning", "error", "critical")
ERROR_CODES = (
    *("bad_json", "bad_args", "unknown_command", "unknown_camera", "model_not_found", "model_incompatible"),
    *("out_of_range", "revision_conflict", "busy", "rate_limited", "expired", "too_large", "retained_ignored"),
    *("forbidden", "device_unavailable", "timeout", "internal"),
)

_NUMBER: Schema = {"type": "number"}
_FIGURE = or_null(_NUMBER)
_SWITCH = one_of("ON", "OFF")
_COUNTS = table(COUNT)
_ID = or_null({"type": "string", "maxLength": commands.MAX_ID})


@dataclass(frozen=True, slots=True)
class Row:
    """One topic, below the node's own and with `+` for what may stand there: how it is published and in what form."""

    topic: str
    qos: Literal[0, 1]
    retain: bool
    schema: Schema
    # Plain text where it is not JSON.
    text: bool = False


def rows(codes: Collection[str]) -> dict[str, Row]:
    """Every document of a node by the name of its schema; `codes` are those of `health`."""
    return {
        "status": Row("status", 1, True, one_of(*NODE_WORDS), text=True),
        "info": Row("info", 1, True, _info()),
        "health": Row("health", 1, True, _health(codes)),
        "settings": Row("settings", 1, True, _settings()),
        "models": Row("models", 1, True, _models()),
        "metrics": Row("metrics", 0, False, _metrics(codes)),
        "event": Row("event", 1, False, event(NODE_EVENTS)),
        "log": Row("log", 0, False, _log()),
        "reply": Row("reply/+", 1, False, _reply()),
        "job": Row("job/+", 1, False, _job()),
        "camera_status": Row("cam/+/status", 1, True, one_of(*CAMERA_WORDS), text=True),
        "camera_state": Row("cam/+/state", 1, True, _camera_state()),
        "camera_settings": Row("cam/+/settings", 1, True, _camera_settings()),
        "camera_event": Row("cam/+/event", 1, False, event(CAMERA_EVENTS, camera=TEXT)),
        "detections": Row("cam/+/detections", 0, False, _detections()),
    }


def documents(base: str, codes: Collection[str]) -> dict[str, Payload]:
    """What `N/schema/<name>` tells, by name, of the node with the topic `base`: `index` lists all the others.

    Plain text has a schema too: that of the string that it is.
    """
    known = rows(codes)
    requests = {f"cmd.{name}": _request(name, model) for name, model in commands.arguments().items()}
    index = {
        "v": VERSION,
        "api": API,
        "dialect": DIALECT,
        "documents": {
            name: {"topic": f"{base}/{row.topic}", "qos": row.qos, "retain": row.retain, "text": row.text}
            for name, row in known.items()
        },
        "commands": {name: {"topic": f"{base}/cmd/{name.removeprefix('cmd.')}"} for name in requests},
    }
    schemas = {**{name: row.schema for name, row in known.items()}, **requests}
    return {"index": index, **{name: {"$schema": DIALECT, "title": name, **schemas[name]} for name in schemas}}


def _request(name: str, model: type[BaseModel]) -> Schema:
    """A whole request: the envelope with the command's own arguments in it."""
    envelope = commands.Envelope.model_json_schema()
    args = model.model_json_schema()
    defined = {**envelope.pop("$defs", {}), **args.pop("$defs", {})}
    if name == "ping":
        args = args["properties"]["args"]
    elif args.get("required"):
        envelope["required"] = ["args"]
    properties = {**envelope["properties"], "args": args}
    schema = {key: value for key, value in envelope.items() if key not in {"title", "description"}}
    return {**_bare({**schema, "properties": properties}), **({"$defs": _bare(defined)} if defined else {})}


def _bare(schema: Any) -> Any:
    """The schema without pydantic's titles, which only repeat the names of the keys."""
    if isinstance(schema, Mapping):
        return {
            key: _named(value) if key in {"properties", "$defs"} else _bare(value)
            for key, value in schema.items()
            if not (key == "title" and isinstance(value, str))
        }
    return [_bare(item) for item in schema] if isinstance(schema, list) else schema


def _named(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Schemas by names that are nobody's keyword."""
    return {name: _bare(schema) for name, schema in schemas.items()}


def _setting(model: type[BaseModel], key: str) -> Schema:
    """The form of a setting as the configuration has it."""
    found: Schema = _properties(model)[key]
    return {key: value for key, value in found.items() if key != "default"}


@cache
def _properties(model: type[BaseModel]) -> Schema:
    return _named(model.model_json_schema()["properties"])


def _info() -> Schema:
    device = {
        "simulated": {"type": "boolean"},
        **dict.fromkeys(("arch", "name", "firmware", "hailort", "driver"), or_null(TEXT)),
        "serial_tail": or_null({"type": "string", "maxLength": 4}),
    }
    return closed(
        {
            "node": TEXT,
            "version": TEXT,
            "api": {"const": API},
            "instance": {"type": "string", "pattern": "^[0-9a-f]+$"},
            "started_at": {
                "type": "string",
                "format": "date-time",
                "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$",
            },
            "clock_synced": {"type": "boolean"},
            "device": closed(device),
            "cameras": array(TEXT),
            "features": array(TEXT),
            "limits": table({"type": "number", "minimum": 0}),
            "mqtt": closed({"protocol": {"enum": [4, 5, None]}, "response_prefixes": array(TEXT)}),
        },
        v=True,
    )


def _health(codes: Collection[str]) -> Schema:
    reason = closed(
        {
            "code": one_of(*codes),
            "since": {"type": "number", "exclusiveMinimum": 0},
            "count": {"type": "integer", "minimum": 1},
            "text": {"type": "string", "minLength": 1},
            **dict.fromkeys(("subject", "doing", "fix"), TEXT),
        },
        optional=("subject", "doing", "fix"),
    )
    books = {"offered": COUNT, "in_flight": COUNT}
    ended = dict.fromkeys(("done", "superseded", "expired", "failed", "abandoned"), COUNT)
    each = closed({**books, **ended}, optional=ended)
    camera = closed({"captured": COUNT, "offered": COUNT, "skipped": _COUNTS})
    by_name = closed({"balanced": {"type": "boolean"}, "cameras": table(camera), "models": table(each)})
    summed = closed({"balanced": {"type": "boolean"}, "captured": COUNT, **books, **ended}, optional=ended)
    return closed(
        {
            "ts": TS,
            "state": one_of(*STATES),
            "reasons": array(reason),
            "uptime_s": COUNT,
            "device_restarts": COUNT,
            "mqtt": closed({"reconnects": COUNT, "dropped": _COUNTS, "dropped_by": table(_COUNTS)}),
            "more": COUNT,
            "frames": {"oneOf": [by_name, summed]},
        },
        v=True,
        optional=("more",),
    )


def _settings() -> Schema:
    return closed(
        {
            "revision": COUNT,
            "model": or_null(TEXT),
            **{key: or_null(_setting(ModelSettings, key)) for key in MODEL_SHOWN},
            **{key: _setting(Settings, key) for key in NODE_SHOWN},
            "device": _SWITCH,
            "pending": or_null(TEXT),
        },
        v=True,
    )


def _models() -> Schema:
    model = closed(
        {
            "name": TEXT,
            "arch": or_null(TEXT),
            "task": TEXT,
            "input": array({"type": "integer", "minimum": 1}),
            "labels": COUNT,
            "loaded": {"type": "boolean"},
            "sha256": or_null({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
            "bytes": COUNT,
        }
    )
    return closed({"models": array(model)}, v=True)


def _metrics(codes: Collection[str]) -> Schema:
    faults = {
        "conditions_total": {**_COUNTS, "propertyNames": one_of(*codes)},
        **dict.fromkeys(("rungs_total", "frames_lost_total", "results_total", "frames_retried_total"), _COUNTS),
    }
    host = ("cpu_pct", "device_host_cpu_pct", "rss_mb", "device_host_rss_mb", "temp_c")
    device = ("temp_c", "power_w", "util_pct")
    return closed(
        {
            "ts": TS,
            "interval_s": _NUMBER,
            "fps": _FIGURE,
            "latency_ms": closed(dict.fromkeys(("p50", "p95", "p99"), _FIGURE)),
            "batch_mean": _FIGURE,
            "queue_depth": COUNT,
            "frames_total": COUNT,
            "frames_dropped_total": COUNT,
            "device": closed(dict.fromkeys(device, _FIGURE), optional=("power_w", "util_pct")),
            "host": closed(dict.fromkeys(host, _FIGURE)),
            "cameras": table(closed({"fps_in": _FIGURE, "fps_out": _FIGURE, "dropped_total": COUNT})),
            "faults": closed(faults),
            "log": closed({"uncaught": COUNT, "lines_lost": COUNT}),
        },
        v=True,
    )


def _log() -> Schema:
    return closed(
        {
            "ts": TS,
            "level": one_of(*LOG_LEVELS),
            "text": TEXT,
            "fields": table(TEXT),
            "repeated": COUNT,
        },
        v=True,
    )


def _reply() -> Schema:
    head = {"id": _ID, "cmd": TEXT}
    error = closed(
        {
            "code": one_of(*ERROR_CODES),
            "message": TEXT,
            "retryable": {"type": "boolean"},
            "field": TEXT,
            "allowed": {"type": "array"},
        },
        optional=("field", "allowed"),
    )
    ended = {**head, "took_ms": COUNT, "ts": TS}
    return {
        "oneOf": [
            closed({**head, "status": {"const": "accepted"}, "job": TEXT, "ts": TS}, v=True),
            closed({**ended, "status": {"const": "ok"}, "data": {}}, v=True),
            closed(
                {**ended, "status": {"const": "error"}, "error": error, "rolled_back": {"const": True}},
                v=True,
                optional=("rolled_back",),
            ),
        ]
    }


def _job() -> Schema:
    return closed(
        {
            "job": TEXT,
            "id": _ID,
            "cmd": TEXT,
            "state": one_of("running", "ok", "error"),
            "step": TEXT,
            "elapsed_s": {"type": "number", "minimum": 0},
            "ts": TS,
        },
        v=True,
    )


def _camera_state() -> Schema:
    return closed(
        {
            "ts": TS,
            "fps": or_null({"type": "number", "minimum": 0}),
            "stale": or_null({"type": "number", "exclusiveMinimum": 0}),
            "model": or_null(TEXT),
            "objects": _COUNTS,
        },
        v=True,
    )


def _camera_settings() -> Schema:
    return closed(
        {
            "revision": COUNT,
            **{key: _setting(CameraSettings, key) for key in CAMERA_SHOWN},
            "labels": array(TEXT),
            "models": array(TEXT),
            "source": TEXT,
        },
        v=True,
    )


def _detections() -> Schema:
    box = {**array(FRACTION), "minItems": 4, "maxItems": 4}
    return closed(
        {
            "ts": TS,
            "frame": {"type": "integer", "minimum": 1},
            "model": TEXT,
            "w": {"type": "integer", "minimum": 1},
            "h": {"type": "integer", "minimum": 1},
            "latency_ms": {"type": "number", "minimum": 0},
            "dets": {**array(closed({"l": TEXT, "s": FRACTION, "b": box})), "maxItems": MAX_DETECTIONS},
            "more": {"type": "integer", "minimum": 1},
        },
        v=True,
        optional=("more",),
    )

"""The documents hailod publishes, built from plain values: pure, and free of NaN.

`ts` is Unix seconds; boxes are x1, y1, x2, y2, normalised to 0..1 of the frame; the unit stands in the key's name. What
is not known is null. A number that is not finite is not known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from hailod.config.model import CameraSettings, Settings
from hailod.redact import redact_url
from hailod.types import Detections

VERSION = 1
API = "1.0"
# So many fit into a document; the lowest scores are left out and their number told as `more`.
MAX_DETECTIONS = 150
# The settings that everybody may read as they are: of the node, of its default model, of a camera.
NODE_SHOWN = ("log_level", "privacy")
MODEL_SHOWN = ("batch_size", "max_delay_ms")
CAMERA_SHOWN = ("enabled", "privacy", "threshold", "max_fps", "frozen_after", "sleeps", "rotate", "flip", "crop")

Payload = dict[str, object]
HealthState = Literal["ok", "degraded", "failed"]


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What accelerator this is; `serial_tail` is never more than the last four characters."""

    simulated: bool
    arch: str | None = None
    name: str | None = None
    firmware: str | None = None
    serial_tail: str | None = None
    hailort: str | None = None
    driver: str | None = None


@dataclass(frozen=True, slots=True)
class CameraRates:
    """A camera's share of `metrics`: frames per second in and out, and what was dropped since the start."""

    fps_in: float | None
    fps_out: float | None
    dropped_total: int


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One installed model. `input` is height, width, channels; `labels` how many there are."""

    name: str
    arch: str | None
    task: str
    input: tuple[int, ...]
    labels: int
    loaded: bool
    sha256: str | None
    bytes: int


def number(value: float | None, digits: int = 1) -> float | None:
    """`value` rounded, or None when it is not finite."""
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def _plain(value: object) -> object:
    """A setting as JSON has it."""
    if isinstance(value, float):
        return number(value, 4)
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def info(
    *,
    node: str,
    version: str,
    instance: str,
    started_at: float,
    clock_synced: bool,
    device: DeviceIdentity,
    cameras: Sequence[str],
    features: Sequence[str],
    limits: Mapping[str, int | float],
    protocol: int | None,
    response_prefixes: Sequence[str],
) -> Payload:
    """`N/info`. `started_at` is Unix seconds, `protocol` MQTT's level: 5, or 4 for 3.1.1."""
    return {
        "v": VERSION,
        "node": node,
        "version": version,
        "api": API,
        "instance": instance,
        "started_at": datetime.fromtimestamp(started_at, UTC).isoformat(timespec="seconds"),
        "clock_synced": clock_synced,
        "device": asdict(device),
        "cameras": list(cameras),
        "features": list(features),
        "limits": dict(limits),
        "mqtt": {"protocol": protocol, "response_prefixes": list(response_prefixes)},
    }


def health(
    *,
    ts: float,
    state: HealthState,
    reasons: Sequence[Mapping[str, object]],
    uptime_s: float,
    device_restarts: int,
    reconnects: int,
    dropped: Mapping[str, int],
    losses: Mapping[str, Mapping[str, int]],
) -> Payload:
    """`N/health`. A reason is a stable `code` for machines, `text` for people, `since` when (Unix time), and more.

    `dropped` counts messages that were given up by kind, `losses` the same by kind and reason.
    """
    return {
        "v": VERSION,
        "ts": number(ts, 3),
        "state": state,
        "reasons": [dict(reason) for reason in reasons],
        "uptime_s": int(uptime_s),
        "device_restarts": device_restarts,
        "mqtt": {"reconnects": reconnects, "dropped": dict(dropped), "dropped_by": dict(losses)},
    }


def metrics(
    *,
    ts: float,
    interval_s: float,
    fps: float | None,
    latency_ms: tuple[float | None, float | None, float | None],
    batch_mean: float | None,
    queue_depth: int,
    frames_total: int,
    frames_dropped_total: int,
    device: Mapping[str, float | None],
    host: Mapping[str, float | None],
    cameras: Mapping[str, CameraRates],
    faults: Mapping[str, Mapping[str, int]],
) -> Payload:
    """`N/metrics`. `latency_ms` is p50, p95, p99; `device` and `host` hold figures with their unit in the key; `faults`
    counts since the start, by reason."""
    p50, p95, p99 = (number(value) for value in latency_ms)
    return {
        "v": VERSION,
        "ts": number(ts, 3),
        "interval_s": number(interval_s),
        "fps": number(fps),
        "latency_ms": {"p50": p50, "p95": p95, "p99": p99},
        "batch_mean": number(batch_mean, 2),
        "queue_depth": queue_depth,
        "frames_total": frames_total,
        "frames_dropped_total": frames_dropped_total,
        "device": {key: number(value) for key, value in device.items()},
        "host": {key: number(value) for key, value in host.items()},
        "cameras": {
            name: {
                "fps_in": number(rates.fps_in),
                "fps_out": number(rates.fps_out),
                "dropped_total": rates.dropped_total,
            }
            for name, rates in cameras.items()
        },
        "faults": {name: dict(counts) for name, counts in faults.items()},
    }


def settings(*, revision: int, settings: Settings, lent: bool = False, pending: str | None = None) -> Payload:
    """`N/settings`: what is in effect, and of that only what is named here. `device` is ON, or OFF while it is lent to
    other programs; how frames are batched is that of the default model, null without one."""
    default = settings.default_model
    model = settings.models[default] if default else None
    return {
        "v": VERSION,
        "revision": revision,
        "model": default,
        **{key: _plain(getattr(model, key, None)) for key in MODEL_SHOWN},
        **{key: _plain(getattr(settings, key)) for key in NODE_SHOWN},
        "device": "OFF" if lent else "ON",
        "pending": pending,
    }


def models(entries: Sequence[ModelEntry]) -> Payload:
    """`N/models`."""
    return {"v": VERSION, "models": [{**asdict(entry), "input": list(entry.input)} for entry in entries]}


def camera_state(
    *,
    ts: float,
    fps: float | None,
    stale: float | None,
    model: str | None,
    labels: Sequence[str],
    objects: Mapping[str, int],
) -> Payload:
    """`C/state`. Each of `labels` is in `objects`, if only with 0; `stale` is since when (Unix seconds) counts are old
    because the camera or inference failed, None while they are fresh."""
    return {
        "v": VERSION,
        "ts": number(ts, 3),
        "fps": number(fps),
        "stale": number(stale),
        "model": model,
        "objects": {label: objects.get(label, 0) for label in labels},
    }


def camera_settings(*, revision: int, camera: CameraSettings, models: Sequence[str]) -> Payload:
    """`C/settings`: what is in effect, and of that only what is named here; of `source` no user, password or value of
    its query."""
    return {
        "v": VERSION,
        "revision": revision,
        **{key: _plain(getattr(camera, key)) for key in CAMERA_SHOWN},
        "labels": list(camera.labels or ()),
        "models": list(models),
        "source": redact_url(camera.source.get_secret_value()),
    }


def detections(
    *,
    ts: float,
    frame: int,
    model: str,
    width: int,
    height: int,
    latency_ms: float,
    found: Detections,
    labels: Sequence[str],
) -> Payload:
    """`C/detections`: what one model saw in one frame, scores descending. A box reaches no further than the frame, and
    a class without a label is told by its number."""
    shown = slice(MAX_DETECTIONS)
    boxes = np.clip(found.boxes[shown], 0.0, 1.0).astype(np.float64).round(4).tolist()
    scores = found.scores[shown].astype(np.float64).round(3).tolist()
    classes = found.classes[shown].tolist()
    document: Payload = {
        "v": VERSION,
        "ts": number(ts, 3),
        "frame": frame,
        "model": model,
        "w": width,
        "h": height,
        "latency_ms": number(latency_ms),
        "dets": [
            {"l": labels[index] if 0 <= index < len(labels) else str(index), "s": score, "b": box}
            for index, score, box in zip(classes, scores, boxes, strict=True)
        ],
    }
    if len(found) > MAX_DETECTIONS:
        document["more"] = len(found) - MAX_DETECTIONS
    return document


def event(event_type: str, *, ts: float, event_id: str, **fields: object) -> Payload:
    """`N/event` and `C/event`; the outbox adds `seq` and `replayed`."""
    return {"v": VERSION, "event_type": event_type, "id": event_id, "ts": number(ts, 3), **fields}


def log_line(*, ts: float, level: str, text: str, fields: Mapping[str, str], repeated: int) -> Payload:
    """`N/log`: one line. `repeated` is how often the same one came since it was told last, this time not counted."""
    return {
        "v": VERSION,
        "ts": number(ts, 3),
        "level": level,
        "text": text,
        "fields": dict(fields),
        "repeated": repeated,
    }

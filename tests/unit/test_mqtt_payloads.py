"""The documents, against the examples of the interface."""

from __future__ import annotations

import json

import numpy as np

from hailod.mqtt import payloads
from hailod.mqtt.outbox import MAX_DOCUMENT, encode
from hailod.types import Detections


def found(boxes: list[list[float]], scores: list[float], classes: list[int]) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(classes, np.int32)
    )


def document(detections: Detections) -> payloads.Payload:
    return payloads.detections(
        ts=1795289112.4312345,
        frame=88123,
        model="yolov8s",
        width=1280,
        height=720,
        latency_ms=14.239,
        found=detections,
        labels=["person", "car"],
    )


def test_detections_are_the_contracts_example() -> None:
    """Detections are published as the interface shows them, rounded, with labels by name."""
    assert document(found([[0.41, 0.22, 0.53, 0.71]], [0.9123], [0])) == {
        "v": 1,
        "ts": 1795289112.431,
        "frame": 88123,
        "model": "yolov8s",
        "w": 1280,
        "h": 720,
        "latency_ms": 14.2,
        "dets": [{"l": "person", "s": 0.912, "b": [0.41, 0.22, 0.53, 0.71]}],
    }


def test_boxes_stay_inside_the_frame_and_unknown_classes_are_numbers() -> None:
    """A box that reaches beyond the frame ends at its edge; a class without a label is told by its index."""
    (det,) = document(found([[-0.1, 0.0, 0.5, 1.2]], [0.5], [7]))["dets"]  # type: ignore[misc]
    assert det == {"l": "7", "s": 0.5, "b": [0.0, 0.0, 0.5, 1.0]}


def test_a_crowd_fits_into_a_document() -> None:
    """A frame with a thousand detections is published with the best of them and says how many are missing."""
    n = 1000
    crowd = found([[0.1111, 0.2222, 0.3333, 0.4444]] * n, [0.999] * n, [0] * n)
    told = document(crowd)
    assert len(encode(told)) < MAX_DOCUMENT
    assert told["more"] == n - payloads.MAX_DETECTIONS


def test_an_empty_scene_is_an_empty_list() -> None:
    """Nothing seen is said, not left out."""
    assert document(Detections.none())["dets"] == []


def test_no_nan_is_published() -> None:
    """A figure that is not known or not finite is null."""
    told = payloads.metrics(
        ts=1.0,
        interval_s=10.0,
        fps=float("nan"),
        latency_ms=(float("inf"), None, 3.14159),
        batch_mean=None,
        queue_depth=2,
        frames_total=5,
        frames_dropped_total=0,
        device={"temp_c": float("nan"), "power_w": 2.34},
        host={"rss_mb": 180.0},
        cameras={"front": payloads.CameraRates(float("nan"), 14.8, 1)},
        faults={"rungs_total": {"session": 2}},
    )
    assert told["fps"] is None
    assert told["faults"] == {"rungs_total": {"session": 2}}
    assert told["latency_ms"] == {"p50": None, "p95": None, "p99": 3.1}
    assert told["device"] == {"temp_c": None, "power_w": 2.3}
    assert told["cameras"] == {"front": {"fps_in": None, "fps_out": 14.8, "dropped_total": 1}}
    assert json.loads(encode(told)) == told


def test_camera_state_names_every_configured_label() -> None:
    """A label that is not in view counts 0; one that is not configured is not told."""
    told = payloads.camera_state(
        ts=1.0, fps=14.83, stale=None, model="m", labels=["person", "car"], objects={"person": 2, "dog": 1}
    )
    assert told["objects"] == {"person": 2, "car": 0}
    assert told["fps"] == 14.8
    assert told["stale"] is None


def test_info_and_health_are_the_contracts_examples() -> None:
    """Identity and health have the keys and forms of the interface."""
    told = payloads.info(
        node="pi5-kitchen",
        version="0.4.0",
        instance="6f1c",
        started_at=1795289112.4,
        clock_synced=True,
        device=payloads.DeviceIdentity(simulated=False, arch="hailo8", serial_tail="0A1B"),
        cameras=["front"],
        features=[],
        limits={"cmd_bytes": 8192},
        protocol=5,
        response_prefixes=["hailod/client/"],
    )
    assert told["started_at"] == "2026-11-21T19:25:12+00:00"
    assert told["mqtt"] == {"protocol": 5, "response_prefixes": ["hailod/client/"]}
    assert set(told) == {
        *("v", "node", "version", "api", "instance", "started_at", "clock_synced"),
        *("device", "cameras", "features", "limits", "mqtt"),
    }
    healthy = payloads.health(
        ts=1.0,
        state="degraded",
        reasons=[{"code": "thermal_throttle", "since": 1795289000.1, "text": "chip at 98 °C"}],
        uptime_s=86400.7,
        device_restarts=1,
        reconnects=2,
        dropped={"event": 3},
        losses={"event": {"expired": 1, "overflow": 2}},
    )
    assert healthy["reasons"] == [{"code": "thermal_throttle", "since": 1795289000.1, "text": "chip at 98 °C"}]
    assert healthy["mqtt"] == {
        "reconnects": 2,
        "dropped": {"event": 3},
        "dropped_by": {"event": {"expired": 1, "overflow": 2}},
    }
    assert healthy["uptime_s"] == 86400

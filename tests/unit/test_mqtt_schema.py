"""The published schemas: that they are schemas, that what hailod builds fits them, and that nothing else does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from hailod.clock import FakeClock
from hailod.errors import CommandError
from hailod.health import Code, Reason, State
from hailod.logs import Level
from hailod.mailbox import Outcome
from hailod.mqtt import commands, discovery, event_schema, payloads, schema
from hailod.mqtt.commands import Origin, Request, parse
from hailod.mqtt.messages import Inbound
from hailod.mqtt.outbox import MAX_DOCUMENT, encode
from hailod.mqtt.topics import Topics
from hailod.types import Detections
from tests.conftest import REPOSITORY
from tests.support.desk import settings
from tests.support.interface import complaints

TOPICS = Topics("pi")
NOW = 1_795_289_112.4
ORIGIN = Origin("ping", TOPICS.reply("ping"), 1000.0, None, "a1")


def documents() -> dict[str, Any]:
    return schema.documents(TOPICS.base, [str(code) for code in Code])


def health() -> payloads.Payload:
    reason = Reason(Code.CAMERA_LOST, 990.0, "camera front: refused", "front", "it is tried again", "look at its plug")
    document = payloads.health(
        ts=NOW,
        state="degraded",
        reasons=[reason.document(lambda moment: NOW - 1000.0 + moment)],
        uptime_s=12.0,
        device_restarts=0,
        reconnects=1,
        dropped={"event": 1},
        losses={"event": {"expired": 1}},
    )
    return {**document, "frames": {"balanced": True, "cameras": {}, "models": {}}}


def metrics() -> payloads.Payload:
    document = payloads.metrics(
        ts=NOW,
        interval_s=10.0,
        fps=59.2,
        latency_ms=(14.1, None, float("nan")),
        batch_mean=None,
        queue_depth=2,
        frames_total=5,
        frames_dropped_total=0,
        device={"temp_c": 51.4},
        host=dict.fromkeys(("cpu_pct", "device_host_cpu_pct", "rss_mb", "device_host_rss_mb", "temp_c")),
        cameras={"front": payloads.CameraRates(15.0, None, 1)},
        faults={
            "conditions_total": {"device_lost": 1},
            **{key: {} for key in ("rungs_total", "frames_lost_total", "results_total", "frames_retried_total")},
        },
    )
    return {**document, "log": {"uncaught": 0, "lines_lost": 0}}


def detections() -> payloads.Payload:
    found = Detections(np.array([[0, 0, 1, 1]], np.float32), np.array([0.5], np.float32), np.array([0], np.int32))
    frame = {"ts": NOW, "frame": 1, "model": "m", "width": 640, "height": 480, "latency_ms": 9.0}
    return payloads.detections(**frame, found=found, labels=["person"])  # type: ignore[arg-type]


def examples() -> dict[str, Any]:
    """One document of each form as hailod builds it."""
    snapshot = settings()
    numbered = {"seq": 1, "replayed": False}
    clock = FakeClock()
    return {
        "status": "online",
        "info": payloads.info(
            node="pi",
            version="0.4.0",
            instance="6f1c",
            started_at=NOW,
            clock_synced=True,
            device=payloads.DeviceIdentity(simulated=False, arch="hailo8", serial_tail="0A1B"),
            cameras=["front"],
            features=[],
            limits={"cmd_bytes": 8192},
            protocol=5,
            response_prefixes=["hailod/client/"],
        ),
        "health": health(),
        "settings": payloads.settings(revision=7, settings=snapshot),
        "models": payloads.models([payloads.ModelEntry("m", None, "detect", (640, 640, 3), 80, True, None, 5)]),
        "metrics": metrics(),
        "event": {**payloads.event("clock_jumped", ts=NOW, event_id="6f1c-1", by_s=3600.0), **numbered},
        "log": payloads.log_line(ts=NOW, level="warning", text="camera lost", fields={"camera": "front"}, repeated=0),
        "reply": commands.ok(ORIGIN, {"x": [1]}, clock),
        "job": {
            "v": 1,
            "job": "j-1",
            "id": "a1",
            "cmd": "model.swap",
            "state": "running",
            "step": "loading",
            "elapsed_s": 0.6,
            "ts": NOW,
        },
        "camera_status": "starting",
        "camera_state": payloads.camera_state(
            ts=NOW, fps=14.8, stale=None, model="m", labels=["person"], objects={"person": 2}
        ),
        "camera_settings": payloads.camera_settings(revision=7, camera=snapshot.cameras["front"], models=["one"]),
        "camera_event": {
            **payloads.event(
                "camera_lost", ts=NOW, event_id="6f1c-2", camera="front", code="gone", reason="refused", failures=1
            ),
            **numbered,
        },
        "detections": detections(),
    }


def read(document: object) -> Any:
    return document if isinstance(document, str) else json.loads(json.dumps(document))


@pytest.mark.parametrize("name", documents())
def test_schema_is_valid_and_fits_into_a_document(name: str) -> None:
    """What is told below `N/schema` is JSON Schema 2020-12, and no larger than any other document."""
    document = documents()[name]
    assert len(encode(document)) < MAX_DOCUMENT
    if name != "index":
        assert document["$schema"] == schema.DIALECT
        Draft202012Validator.check_schema(read(document))


def test_index_lists_every_schema_with_its_topic() -> None:
    """Who knows only the index finds each topic's schema, quality of service, and whether it is retained."""
    index = documents()["index"]
    assert {*index["documents"], *index["commands"], "index"} == set(documents())
    assert index["documents"]["camera_state"] == {
        "topic": "hailod/pi/cam/+/state",
        "qos": 1,
        "retain": True,
        "text": False,
    }
    assert index["commands"]["cmd.model.swap"] == {"topic": "hailod/pi/cmd/model.swap"}
    assert {name for name, row in index["documents"].items() if row["qos"] == 0} == {"metrics", "log", "detections"}
    state = {"status", "info", "health", "settings", "models", "camera_status", "camera_state", "camera_settings"}
    assert {name for name, row in index["documents"].items() if row["retain"]} == state


@pytest.mark.parametrize(("name", "document"), examples().items())
def test_what_is_built_fits_its_schema(name: str, document: object) -> None:
    """Each document as hailod builds it is what its schema says."""
    assert not list(complaints(name, read(document)))


def test_every_form_has_an_example() -> None:
    """No schema is there for which nothing was tried."""
    assert set(examples()) == set(schema.rows([str(code) for code in Code]))


@pytest.mark.parametrize(("name", "document"), [(n, d) for n, d in examples().items() if isinstance(d, dict)])
def test_a_key_too_many_or_too_few_is_found(name: str, document: Mapping[str, Any]) -> None:
    """A key that nobody named and one that was forgotten both break the schema, as does another version."""
    assert list(complaints(name, read({**document, "surprise": 1})))
    assert list(complaints(name, read({**document, "v": 2})))
    for key in document:
        assert list(complaints(name, read({k: v for k, v in document.items() if k != key}))), key


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("status", "ready"),
        ("camera_status", "gone"),
        ("health", {"state": "well"}),
        ("health", {"reasons": [{"code": "bad_mood", "since": 1.0, "count": 1, "text": "x"}]}),
        ("metrics", {"fps": "59"}),
        ("metrics", {"frames_total": -1}),
        ("event", {"event_type": "camera_lost"}),
        ("event", {"seq": 0}),
        ("event", {"by_s": None}),
        ("camera_state", {"objects": {"person": 1.5}}),
        ("camera_state", {"clock_synced": True}),
        ("camera_settings", {"threshold": 1.5}),
        ("camera_settings", {"password": "x"}),
        ("detections", {"dets": [{"l": "person", "s": 1.2, "b": [0, 0, 1, 1]}]}),
        ("detections", {"dets": [{"l": "person", "s": 0.2, "b": [0, 0, 1]}]}),
        ("reply", {"status": "done"}),
        ("reply", {"status": "error"}),
        ("log", {"level": "info"}),
    ],
)
def test_wrong_values_are_found(name: str, changed: Any) -> None:
    """Words that are not in the list, figures of another type and out of their range break the schema."""
    whole = changed if isinstance(changed, str) else {**examples()[name], **changed}
    assert list(complaints(name, read(whole)))


def test_lists_of_words_are_those_of_the_code() -> None:
    """What is closed in the code is closed in the schemas, to the same words."""
    assert tuple(State) == schema.STATES
    assert set(schema.LOG_LEVELS) - {"critical"} < set(get_args(Level))
    by_name = documents()["health"]["properties"]["frames"]["oneOf"][0]
    assert {*Outcome, "offered", "in_flight"} == set(
        by_name["properties"]["models"]["additionalProperties"]["properties"]
    )


def test_replies_fit_in_each_of_their_forms() -> None:
    """The first answer of two, and an error with all that it may hold, are told by the schema of replies."""
    clock = FakeClock()
    refused = CommandError("out_of_range", "too much", field="args.x", allowed=[1, "a"])
    assert not list(complaints("reply", read(commands.accepted(ORIGIN, "j-1", clock))))
    assert not list(complaints("reply", read(commands.error(ORIGIN, refused, clock))))
    unknown = CommandError("no_such_code", "?")
    assert list(complaints("reply", read(commands.error(ORIGIN, unknown, clock))))


def test_every_error_code_that_is_raised_is_in_the_closed_list() -> None:
    """A code that the schema of replies does not know is never sent."""
    source = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "hailod").rglob("*.py"))
    raised = set(re.findall(r'(?:CommandError|Refused)\(\s*"([a-z_]+)"', source))
    assert "unknown_camera" in raised
    assert raised <= set(schema.ERROR_CODES)


def test_every_event_that_is_told_is_declared() -> None:
    """What the node tells of itself is known to the schema and to Home Assistant, which drops what was not declared."""
    source = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "hailod" / "control").rglob("*.py"))
    of_node = set(re.findall(r'events\.node\(\s*"(\w+)"', source))
    of_camera = set(re.findall(r'events\.camera\(\s*\w+,\s*"(\w+)"', source))
    assert {"clock_jumped", "model_changed"} < of_node
    assert of_node <= set(discovery.NODE_EVENTS) <= set(event_schema.NODE_EVENTS)
    assert {"camera_lost"} < of_camera <= set(event_schema.CAMERA_EVENTS)


@pytest.mark.parametrize(
    ("name", "request_", "fits"),
    [
        ("ping", {}, True),
        ("ping", {"id": "a", "args": {"x": [1, None]}}, True),
        ("ping", {"id": "x" * 65}, False),
        ("model.swap", {"args": {"model": "one"}, "timeout_s": 30, "if_revision": 7}, True),
        ("model.swap", {"args": {"model": "one", "camera": "front"}, "dry_run": True}, True),
        ("model.swap", {"args": {"model": "../one"}}, False),
        ("model.swap", {"args": {"model": 1}}, False),
        ("model.swap", {"args": {"model": "one", "more": 1}}, False),
        ("model.swap", {"args": {}}, False),
        ("model.swap", {}, False),
        ("model.swap", {"args": {"model": "one"}, "timeout_s": 61}, False),
        ("model.swap", {"args": {"model": "one"}, "persist": "yes"}, False),
        ("device.restart", {}, True),
        ("device.restart", {"args": {"mode": "reset"}}, True),
        ("device.restart", {"args": {"mode": "hard"}}, False),
        ("device.release", {"args": {"for_s": 60}}, True),
        ("device.release", {"args": {"for_s": 0}}, False),
        ("device.acquire", {"args": {"x": 1}}, False),
    ],
)
def test_schema_of_a_command_says_what_is_taken(name: str, request_: Mapping[str, Any], fits: bool) -> None:
    """A request that fits the schema is run, and one that does not is refused: both are read from the same models."""
    said = not list(complaints(f"cmd.{name}", read(request_)))
    parsed = parse(Inbound(f"{TOPICS.base}/cmd/{name}", json.dumps(request_).encode(), False, 1000.0), TOPICS)
    assert (said, isinstance(parsed, Request)) == (fits, fits)


def test_every_command_brings_its_schema() -> None:
    """No command can be given whose form is not told."""
    refusal = parse(Inbound(f"{TOPICS.base}/cmd/no.such", b"{}", False, 1000.0), TOPICS)
    assert isinstance(refusal, commands.Refusal)
    assert {f"cmd.{name}" for name in refusal.error.allowed or ()} <= set(documents())

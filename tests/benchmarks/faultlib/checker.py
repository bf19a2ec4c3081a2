"""Reads every message of a node and says which of them is a lie or breaks the contract. Pure: told the time with each.

The models of the fault matrix see the same objects in every frame. So whatever says that there are fewer, and does not
say in the same breath that it is old, is a failure that passed for an empty scene.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from hailod.health import Code
from tests.support.interface import Interface

MAX_BYTES = 16_384
MAX_PROBLEMS = 50
NODE_WORDS = frozenset({"online", "offline"})
CAMERA_WORDS = frozenset({"online", "offline", "starting", "disabled"})
STATES = frozenset({"ok", "degraded", "failed"})
CODES = frozenset(str(code) for code in Code)
ENDED = ("done", "superseded", "expired", "failed", "abandoned")
# What must be told as over once it was told as begun.
PAIRS = {
    "device_lost": "device_recovered",
    "camera_lost": "camera_recovered",
    "thermal_throttle": "thermal_normal",
    "device_released": "device_acquired",
}
_WORD = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a subscriber saw it: `at` monotonic seconds, `wall` Unix seconds, both of its arrival."""

    topic: str
    payload: bytes
    at: float = 0.0
    wall: float = 0.0
    retain: bool = False
    qos: int | None = None

    @property
    def document(self) -> Mapping[str, Any]:
        """The JSON object; ValueError for anything else."""
        found = json.loads(self.payload, parse_constant=_no_constant)
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
        return found


@dataclass(slots=True)
class _Camera:
    """What was told of one camera: by model the newest frame number and time, and the most of each label."""

    frames: dict[str, int] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)


class Checker:
    """Takes the messages of the node `base` in the order of their arrival; `problems` are its complaints.

    `expects` are the counts by label that a camera shows in every frame; of cameras not named there what was seen once
    is expected from then on. No payload may hold one of `secrets`. A result of an older frame than `max_age` seconds,
    as the node itself measured it, is too old to be published as new. `clears`: a document may be withdrawn
    by an empty one, as the broker takes none of its size. `empty` counts those that told of no objects, or
    of fewer than there are. With `interface` every message is held to the published schemas too.
    """

    def __init__(
        self,
        base: str,
        *,
        expects: Mapping[str, Mapping[str, int]] | None = None,
        secrets: Sequence[str] = (),
        max_age: float = 1.5,
        clears: bool = False,
        interface: Interface | None = None,
    ) -> None:
        self.problems: list[str] = []
        self.messages = 0
        self.empty = 0
        self._clears = clears
        self._base = base
        self._expects = dict(expects or {})
        self._secrets = tuple(secrets)
        self._max_age = max_age
        self._interface = interface
        self._instance: str | None = None
        self._cameras: dict[str, _Camera] = {}
        self._sequence: dict[str, int] = {}
        self._totals: dict[str, float] = {}
        self._open: dict[tuple[str, str], float] = {}

    def take(self, message: Message) -> None:
        """Look at one message."""
        self.messages += 1
        for secret in self._secrets:
            if secret.encode() in message.payload:
                self._complain(message, "holds a secret")
        if self._interface is not None:
            self._interface.take(message.topic, message.payload, qos=message.qos, retain=message.retain)
            self.problems += self._interface.problems[: MAX_PROBLEMS - len(self.problems)]
            self._interface.problems.clear()
        if not message.topic.startswith(f"{self._base}/"):
            return
        if len(message.payload) > MAX_BYTES:
            self._complain(message, f"{len(message.payload)} bytes are more than {MAX_BYTES}")
        levels = message.topic.removeprefix(f"{self._base}/").split("/")
        if "set" in levels or "cmd" in levels:
            return  # for the node, not from it
        try:
            self._judge(message, levels)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            self._complain(message, f"is not what it should be: {type(error).__name__}: {error}")

    def expect(self, camera: str, counts: Mapping[str, int]) -> None:
        """From now on the camera shows these in every frame."""
        self._expects[camera] = counts

    def unfinished(self, allowed: frozenset[str] = frozenset()) -> list[str]:
        """Events that told of a beginning and were not followed by that of the end."""
        return [
            f"event {begun} of {subject}: no {PAIRS[begun]} came after it"
            for (begun, subject) in self._open
            if begun not in allowed
        ]

    # -- inside ------------------------------------------------------------------------------------------------------

    def _judge(self, message: Message, levels: Sequence[str]) -> None:
        match levels:
            case ["status"]:
                self._word(message, NODE_WORDS)
            case ["cam", _, "status"] if message.payload:
                self._word(message, CAMERA_WORDS)
            case ["cam", _, _] if not message.payload:
                pass  # a camera that is no more
            case _ if self._clears and not message.payload:
                pass
            case ["schema", *_]:
                pass  # what is of its own form
            case _:
                document = message.document
                if document["v"] != 1:
                    self._complain(message, f"v is {document['v']!r}")
                self._document(message, levels, document)

    def _document(self, message: Message, levels: Sequence[str], document: Mapping[str, Any]) -> None:
        judges: Mapping[str, Callable[[Message, Mapping[str, Any]], None]] = {
            "info": self._info,
            "health": self._health,
            "metrics": self._metrics,
            "event": self._event,
        }
        match levels:
            case ["cam", camera, "state"]:
                self._state(message, camera, document)
            case ["cam", camera, "detections"]:
                self._detections(message, camera, document)
            case ["cam", _, "event"]:
                self._event(message, document)
            case ["cam", _, "settings" | "track"] | ["reply" | "job", _]:
                pass
            case [name] if name in judges:
                judges[name](message, document)
            case ["settings" | "models" | "log"]:
                pass
            case _:
                self._complain(message, "is no topic of the interface")

    def _word(self, message: Message, allowed: frozenset[str]) -> None:
        if message.payload.decode() not in allowed:
            self._complain(message, f"{message.payload!r:.40} is none of {sorted(allowed)}")

    def _info(self, message: Message, document: Mapping[str, Any]) -> None:
        instance = str(document["instance"])
        if instance == self._instance:
            return
        # Another process: it counts anew, but what is seen has not changed.
        self._instance = instance
        self._sequence.clear()
        self._totals.clear()
        self._open.clear()
        for camera in self._cameras.values():
            camera.frames.clear()

    def _state(self, message: Message, camera: str, document: Mapping[str, Any]) -> None:
        objects = {str(label): int(count) for label, count in document["objects"].items()}
        stale = document["stale"]
        if stale is not None and not 0 < float(stale) <= message.wall + 1.0:
            self._complain(message, f"stale since {stale}, which is no time of the past")
        if stale is not None:
            return
        known = self._of(camera)
        expected = self._expects.get(camera, {})
        missing = [
            f"{objects.get(label, 0)} x {label}, not {least}"
            for label in sorted(known.most.keys() | expected.keys())
            if objects.get(label, 0) < (least := max(known.most.get(label, 0), expected.get(label, 0)))
        ]
        if missing:
            self._denies(message, f"{'; '.join(missing)}; and not flagged as stale")
        for label, count in objects.items():
            known.most[label] = max(known.most.get(label, 0), count)

    def _detections(self, message: Message, camera: str, document: Mapping[str, Any]) -> None:
        known, model = self._of(camera), str(document["model"])
        frame, moment = int(document["frame"]), float(document["ts"])
        missing = [
            f"less than {least} x {label}"
            for label, least in self._expects.get(camera, {}).items()
            if sum(found["l"] == label for found in document["dets"]) < least
        ]
        if not document["dets"]:
            self._denies(message, f"frame {frame}: no objects, where there always are some")
        elif missing:
            self._denies(message, f"frame {frame}: {'; '.join(missing)}")
        for found in document["dets"]:
            if not (0.0 <= float(found["s"]) <= 1.0 and all(0.0 <= float(side) <= 1.0 for side in found["b"])):
                self._complain(message, f"frame {frame}: score or box out of 0..1: {found}")
        if frame <= known.frames.get(model, 0):
            self._complain(message, f"frame {frame} after {known.frames[model]}")
        elif moment <= known.times.get(model, 0.0):
            self._complain(message, f"frame {frame}: ts {moment} after {known.times[model]}")
        age = float(document["latency_ms"]) / 1000
        if age > self._max_age:
            self._complain(message, f"frame {frame} was {age:.2f} s old when it was published as new")
        known.frames[model], known.times[model] = frame, moment

    def _health(self, message: Message, document: Mapping[str, Any]) -> None:
        if document["state"] not in STATES:
            self._complain(message, f"state {document['state']!r}")
        elif document["state"] != "ok" and not document["reasons"]:
            self._complain(message, f"{document['state']} without a reason")
        for reason in document["reasons"]:
            if reason["code"] not in CODES:
                self._complain(message, f"code {reason['code']!r} is not in the closed list")
            if not reason["text"]:
                self._complain(message, f"{reason['code']} without a text")
        frames = document["frames"]
        if frames["balanced"] is not True:
            self._complain(message, "its books are not balanced")
        if "cameras" not in frames:
            # Of many cameras their sums are told.
            if frames["offered"] != sum(frames.get(end, 0) for end in ENDED) + frames["in_flight"]:
                self._complain(message, f"frames are unaccounted for: {frames}")
            return
        for name, books in frames["cameras"].items():
            if books["captured"] != books["offered"] + sum(books["skipped"].values()):
                self._complain(message, f"camera {name}: captured is not skipped + offered: {books}")
        for name, books in frames["models"].items():
            if books["offered"] != sum(books.get(end, 0) for end in ENDED) + books["in_flight"]:
                self._complain(message, f"{name}: frames are unaccounted for: {books}")

    def _metrics(self, message: Message, document: Mapping[str, Any]) -> None:
        for path, value in _totals(document):
            if value < self._totals.get(path, -math.inf):
                self._complain(message, f"{path} went down from {self._totals[path]:g} to {value:g}")
            self._totals[path] = value

    def _event(self, message: Message, document: Mapping[str, Any]) -> None:
        kind, topic, number = str(document["event_type"]), message.topic, int(document["seq"])
        if not _WORD.fullmatch(kind):
            self._complain(message, f"event_type {kind!r}")
        if not document["id"]:
            self._complain(message, "without an id")
        expected = self._sequence.get(topic, 0) + 1
        if number != expected:
            self._complain(message, f"seq {number}, where {expected} was due")
        self._sequence[topic] = number
        # Of two cameras each has its own topic; of models the name is in the event.
        subject = str(document.get("camera") or document.get("model") or "device")
        if kind in PAIRS:
            self._open[kind, subject] = message.at
        for begun, over in PAIRS.items():
            if kind == over:
                self._open.pop((begun, subject), None)
        if kind == "device_recovered" and not (float(document["duration_s"]) >= 0.0 and document["rung"]):
            self._complain(message, "a recovery without duration or rung")

    def _of(self, camera: str) -> _Camera:
        return self._cameras.setdefault(camera, _Camera())

    def _denies(self, message: Message, text: str) -> None:
        """It tells of less than there is."""
        self.empty += 1
        self._complain(message, text)

    def _complain(self, message: Message, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{message.topic}: {text}")


def retained_problems(
    base: str,
    retained: Mapping[str, bytes],
    *,
    online: Mapping[str, Mapping[str, int]],
    others: Sequence[str] = (),
    state: str | None = "ok",
) -> list[str]:
    """What is wrong with what a broker keeps of a node that works: documents missing, words or counts that are not so.

    `online` are the cameras that deliver with the counts they show; `others` are there and deliver nothing. `state` is
    what health must say, None: anything.
    """
    problems = [f"{topic} is retained" for topic in retained if {"cmd", "set"} & set(topic.split("/"))]
    wanted = [*("info", "models", "settings", "health", "status")]
    wanted += [f"cam/{name}/{leaf}" for name in online for leaf in ("status", "state", "settings")]
    wanted += [f"cam/{name}/{leaf}" for name in others for leaf in ("status", "settings")]
    problems += [f"{base}/{leaf} is not retained" for leaf in wanted if not retained.get(f"{base}/{leaf}")]
    if problems:
        return problems
    if (word := retained[f"{base}/status"]) != b"online":
        problems.append(f"{base}/status is {word!r}")
    if state is not None and (said := json.loads(retained[f"{base}/health"])["state"]) != state:
        problems.append(f"{base}/health is {said}, not {state}: {retained[f'{base}/health'].decode()[:400]}")
    for name, counts in online.items():
        if (word := retained[f"{base}/cam/{name}/status"]) != b"online":
            problems.append(f"{base}/cam/{name}/status is {word!r}")
        document = json.loads(retained[f"{base}/cam/{name}/state"])
        if document["stale"] is not None:
            problems.append(f"{base}/cam/{name}/state is stale")
        if any(document["objects"].get(label, 0) < count for label, count in counts.items()):
            problems.append(f"{base}/cam/{name}/state shows {document['objects']}, not {dict(counts)}")
    for name in others:
        if (word := retained[f"{base}/cam/{name}/status"]) == b"online":
            problems.append(f"{base}/cam/{name}/status is {word!r}")
    return problems


def leaked(lines: Sequence[str], secrets: Sequence[str]) -> list[str]:
    """Complaints about lines of a log that hold a secret; they do not repeat it."""
    return [
        f"line {number} of the log holds a secret"
        for number, line in enumerate(lines, 1)
        if any(secret in line for secret in secrets)
    ]


def _totals(document: Mapping[str, Any], path: str = "") -> list[tuple[str, float]]:
    """Every number whose key ends in `_total`, with its path."""
    found: list[tuple[str, float]] = []
    for key, value in document.items():
        if isinstance(value, Mapping):
            found += _totals(value, f"{path}{key}.")
        elif key.endswith("_total"):
            found.append((f"{path}{key}", float(value)))
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")

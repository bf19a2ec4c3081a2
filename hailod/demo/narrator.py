"""From what a node publishes to lines that people read. Pure: a message in, lines out.

Times are the seconds of the demo's own clock that its caller passes.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Any

from hailod.mqtt.topics import Topics

_WIDTH = 10
_INTERVALS = 1000
_REPLIES = 64
# Conditions that do not make a node less than ok.
_HARMLESS = frozenset({"simulated", "clock_unsynced"})
# Events that tell the end of what health told the beginning of.
_GOOD_NEWS = frozenset({"device_recovered", "camera_recovered", "thermal_normal", "device_acquired"})
# Conditions that belong to every start.
_ORDINARY = _HARMLESS | {"device_starting", "device_configuring"}


class Tone(StrEnum):
    """What a line is about, for those who can show colours."""

    PLAIN = "plain"
    SCENE = "scene"
    RATE = "rate"
    GOOD = "good"
    BAD = "bad"
    REPLY = "reply"


@dataclass(frozen=True, slots=True)
class Line:
    """One line for people."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Interval:
    """What one message of metrics says of its time; latencies in milliseconds, None without results."""

    seconds: float
    fps: float
    p50: float | None
    p99: float | None


@dataclass(slots=True)
class Heard:
    """What was heard so far. `seen` counts arrivals by label for each camera; `replies` are the ids of commands
    that were answered lately, `refused` those of them that were not obeyed; `told` counts conditions of health that
    came, and events, by their names; `balanced` is whether the books were in every message of health."""

    online: bool = False
    detections: int = 0
    frames: int = 0
    dropped: int = 0
    restarts: int = 0
    reconnects: int = 0
    balanced: bool = True
    seen: dict[str, Counter[str]] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)
    status: dict[str, str] = field(default_factory=dict)
    replies: deque[str] = field(default_factory=lambda: deque(maxlen=_REPLIES))
    refused: deque[str] = field(default_factory=lambda: deque(maxlen=_REPLIES))
    intervals: deque[Interval] = field(default_factory=lambda: deque(maxlen=_INTERVALS))

    @property
    def steady(self) -> list[Interval]:
        """The intervals but for the first, in part of which everything was still being started."""
        return list(self.intervals)[1:] or list(self.intervals)

    @property
    def fps(self) -> float:
        """Results a second, all cameras together."""
        seconds = sum(interval.seconds for interval in self.steady)
        return sum(interval.fps * interval.seconds for interval in self.steady) / seconds if seconds else 0.0

    @property
    def latency_ms(self) -> tuple[float, float] | None:
        """The middle one of the intervals' medians, and the worst of their 99th percentiles."""
        known = [(i.p50, i.p99) for i in self.steady if i.p50 is not None and i.p99 is not None]
        return (median(p50 for p50, _ in known), max(p99 for _, p99 in known)) if known else None


class Narrator:
    """Tells the messages of one node. What is none of its documents is one line that says so."""

    def __init__(self, topics: Topics) -> None:
        self.heard = Heard()
        self._topics = topics
        self._objects: dict[str, dict[str, int]] = {}
        self._thresholds: dict[str, float] = {}
        self._reasons: dict[tuple[str, float], Mapping[str, Any]] = {}

    def hear(self, topic: str, payload: bytes, at: float) -> list[Line]:
        """The lines that a message gives, each with its time before it; often none."""
        told = self._tell(topic, payload, _document(payload))
        return [Line(f"{at:6.1f} s  {_printable(line.text)}", line.tone) for line in told]

    def _tell(self, topic: str, payload: bytes, document: Mapping[str, Any]) -> Iterator[Line]:
        levels = topic.removeprefix(f"{self._topics.base}/").split("/")
        try:
            match levels:
                case ["status"]:
                    self.heard.online = payload == b"online"
                case ["metrics"]:
                    yield from self._metrics(document)
                case ["health"]:
                    yield from self._health(document)
                case ["event"] | ["cam", _, "event"]:
                    self.heard.told[str(document["event_type"])] += 1
                    yield from _event(document)
                case ["reply", _]:
                    yield from self._reply(document)
                case ["cam", camera, "state"]:
                    yield from self._state(camera, document["objects"])
                case ["cam", camera, "status"]:
                    yield from self._camera_status(camera, payload.decode(errors="replace"))
                case ["cam", camera, "settings"]:
                    yield from self._settings(camera, float(document["threshold"]))
                case ["cam", _, "detections"]:
                    self.heard.detections += 1
        except (KeyError, TypeError, ValueError, AttributeError):
            yield Line(f"{'mqtt':{_WIDTH}}  what came on {topic} is none of the daemon's documents", Tone.BAD)

    def _state(self, camera: str, objects: Mapping[str, int]) -> Iterator[Line]:
        before = self._objects.get(camera, {})
        self._objects[camera] = dict(objects)
        seen = self.heard.seen.setdefault(camera, Counter())
        for label, count in sorted(objects.items()):
            change = count - before.get(label, 0)
            if change:
                seen[label] += max(change, 0)
                yield Line(_label(camera) + _movement(label, change, count), Tone.SCENE)

    def _camera_status(self, camera: str, status: str) -> Iterator[Line]:
        before = self.heard.status.get(camera)
        self.heard.status[camera] = status
        if status != before:
            tone = {"online": Tone.GOOD, "offline": Tone.BAD}.get(status, Tone.PLAIN)
            yield Line(f"{_label(camera)}camera {status}", tone)

    def _settings(self, camera: str, threshold: float) -> Iterator[Line]:
        before = self._thresholds.get(camera)
        self._thresholds[camera] = threshold
        if before not in (None, threshold):
            yield Line(f"{_label(camera)}threshold is {threshold:g} now, it was {before:g}", Tone.REPLY)

    def _metrics(self, document: Mapping[str, Any]) -> Iterator[Line]:
        self.heard.frames = int(document["frames_total"])
        self.heard.dropped = int(document["frames_dropped_total"])
        if not self.heard.frames:
            return
        latency, host = document["latency_ms"], document["host"]
        interval = Interval(
            float(document["interval_s"]), float(document["fps"] or 0.0), latency["p50"], latency["p99"]
        )
        self.heard.intervals.append(interval)
        delay = f"latency {interval.p50:.0f} ms, 99 % within {interval.p99:.0f} ms" if interval.p50 else "no results"
        cpu = sum(value for key in ("cpu_pct", "device_host_cpu_pct") if (value := host.get(key)) is not None)
        yield Line(f"{_label('speed')}{interval.fps:.1f} FPS, {delay}, CPU of the daemon {cpu:.0f} %", Tone.RATE)

    def _health(self, document: Mapping[str, Any]) -> Iterator[Line]:
        state, now = str(document["state"]), float(document["ts"])
        # A condition keeps its `since` when its text changes.
        reasons = {(str(reason["code"]), float(reason["since"])): reason for reason in document["reasons"]}
        for key, reason in reasons.items():
            if key not in self._reasons:
                tone = Tone.PLAIN if key[0] in _ORDINARY else Tone.BAD
                told = "" if key[0] in _HARMLESS else f"{state}: "
                self.heard.told[key[0]] += 1
                yield Line(f"{_label('health')}{told}{key[0]}: {reason['text']}", tone)
                for what, key_of_it in (("hailod", "doing"), ("you", "fix")):
                    if said := reason.get(key_of_it):
                        yield Line(f"{_label('')}  {what}: {said}", tone)
        for key, reason in self._reasons.items():
            if key not in reasons:
                lasted = now - float(reason["since"])
                yield Line(f"{_label('health')}{state}: {key[0]} is over after {lasted:.1f} s", Tone.GOOD)
        self._reasons = reasons
        self.heard.restarts = int(document["device_restarts"])
        self.heard.reconnects = int(document["mqtt"]["reconnects"])
        self.heard.balanced = self.heard.balanced and bool(document["frames"]["balanced"])

    def _reply(self, document: Mapping[str, Any]) -> Iterator[Line]:
        command, status = str(document["cmd"]), document["status"]
        if status == "accepted":
            return
        if document.get("id") is not None:
            self.heard.replies.append(str(document["id"]))
        if status != "ok":
            self.heard.refused.append(str(document.get("id")))
            error = document["error"]
            yield Line(f"{_label('reply')}{command}: {error['code']}: {error['message']}", Tone.BAD)
            return
        data = document["data"] if isinstance(document["data"], dict) else {}
        told = [f"model {data['model']}"] if "model" in data else []
        told += [f"gap_ms {data['gap_ms']:g}"] if "gap_ms" in data else []
        told.append(f"took {document['took_ms']} ms")
        yield Line(f"{_label('reply')}{command}: ok, {', '.join(told)}", Tone.REPLY)


def summary(heard: Heard, *, seconds: float, balanced: bool, cpu_pct: float) -> list[Line]:
    """What a demo of so many seconds came to."""
    lines = [Line(f"{seconds:.0f} s, {heard.frames} frames, {heard.fps:.1f} FPS, {heard.dropped} frames dropped")]
    if heard.latency_ms is not None:
        p50, p99 = heard.latency_ms
        lines.append(Line(f"latency {p50:.0f} ms, at worst 99 % within {p99:.0f} ms"))
    for camera, seen in sorted(heard.seen.items()):
        told = ", ".join(f"{count} {_plural(label, count)}" for label, count in sorted(seen.items()) if count)
        lines.append(Line(f"{camera} saw {told or 'nothing'}", Tone.SCENE))
    fine = balanced and heard.balanced
    books = "balanced: every frame is accounted for" if fine else "not balanced: frames are unaccounted for"
    lines.append(Line(f"books {books}", Tone.GOOD if fine else Tone.BAD))
    lines.append(Line(f"CPU of the demo, all of its processes: {cpu_pct:.0f} % of one core", Tone.RATE))
    return lines


def _event(document: Mapping[str, Any]) -> Iterator[Line]:
    kind = str(document["event_type"])
    if kind in _GOOD_NEWS:
        lasted = f" after {document['duration_s']:.1f} s" if "duration_s" in document else ""
        how = f", by: {document['rung']}" if document.get("rung") else ""
        subject = str(document.get("camera") or document.get("model") or "")
        yield Line(f"{_label('event')}{kind}{f' {subject}' if subject else ''}{lasted}{how}", Tone.GOOD)
    if document["event_type"] == "command_failed":
        subject = f"{document['camera']} " if document.get("camera") else ""
        told = f"{subject}{document['cmd']}: {document['code']}: {document['message']}"
        yield Line(f"{_label('refused')}{told}", Tone.BAD)


def _document(payload: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(payload)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _printable(text: str) -> str:
    """`text` without what would move a terminal's cursor or change its colours."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _label(subject: str) -> str:
    return f"{subject:{_WIDTH}}  "


def _movement(label: str, change: int, count: int) -> str:
    """`person came in (2 persons)`, `2 cars left`."""
    moved = label if abs(change) == 1 else f"{abs(change)} {_plural(label, abs(change))}"
    verb = "came in" if change > 0 else "left"
    remain = f" ({count} {_plural(label, count)})" if count and count != change else ""
    return f"{moved} {verb}{remain}"


def _plural(label: str, count: int) -> str:
    return label if count == 1 else f"{label}s"

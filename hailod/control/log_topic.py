"""`N/log`: the gravest lines of the log over MQTT, few of them, and each as long as it repeats only once a minute."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from hailod import logs
from hailod.clock import Clock
from hailod.logs import Line
from hailod.mqtt import payloads
from hailod.mqtt.bucket import TokenBucket
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics

MAX_HZ = 2.0
# How often a line that repeats is told again, with how often it came meanwhile.
REPEAT_S = 60.0
# So many different lines are known; of those that wait the oldest are given up.
MAX_LINES = 64
MAX_TEXT = 500
MAX_FIELDS = 16
MAX_VALUE = 160
# What says that a message cannot be sent must not become a message.
_SILENT = ("hailod.mqtt", "paho")
# An absolute path, but not the path of a URL: where files are is nobody's business who may read a topic.
_PATH = re.compile(r"(?<![\w/:.*%-])/(?:[\w.+@%-]+/)+(?=[\w.+@%-])")


@dataclass(slots=True, eq=False)
class _Entry:
    line: Line
    # How often it came since it was told, and (monotonic) when it was told last.
    count: int = 0
    told_at: float | None = None


class LogTopic:
    """Sends lines of the log as they come, if they are wanted. Used by the control thread."""

    def __init__(self, topics: Topics, clock: Clock, outbox: Outbox) -> None:
        self._topics = topics
        self._clock = clock
        self._outbox = outbox
        self._level: Literal["off", "warning", "error"] = "off"
        self._tap: logs.Tap | None = None
        self._known: dict[tuple[str, str, str], _Entry] = {}
        self._bucket = TokenBucket(MAX_HZ)
        # Of those that the tap could not hold, how many were counted.
        self._unread = 0

    def configure(self, level: Literal["off", "warning", "error"]) -> None:
        """Lines of this level and above are wanted; "off": none."""
        if level == self._level:
            return
        self._level = level
        self._known.clear()
        self._unread = 0
        self._tap = None if level == "off" else logs.Tap(level, without=_SILENT)
        logs.tap(self._tap)

    def tick(self) -> None:
        """Take what was logged since the last time, and tell what is due, one line at a time."""
        if self._tap is None:
            return
        now = self._clock.monotonic()
        for line in self._tap.read():
            self._note(line)
        if (unread := self._tap.lost - self._unread) > 0:
            self._unread += unread
            self._outbox.give_up(self._topics.log, unread)
        entry = next(self._due(now), None)
        if entry is not None and self._bucket.take(now):
            self._outbox.stream(self._topics.log, _document(entry), MAX_HZ)
            entry.count, entry.told_at = 0, now
        # What has not come again for a minute is new when it comes.
        for key in [key for key, known in self._known.items() if not known.count and self._over(known, now)]:
            del self._known[key]

    def _note(self, line: Line) -> None:
        key = (line.level, line.text, str(sorted(line.fields.items())))
        entry = self._known.get(key)
        if entry is None:
            if len(self._known) >= MAX_LINES:
                self._give_up_one()
            entry = self._known[key] = _Entry(line)
        entry.line = line
        entry.count += 1

    def _give_up_one(self) -> None:
        """Make room: what was told goes first, then the oldest that waits, which is counted."""
        key = next((key for key, entry in self._known.items() if not entry.count), next(iter(self._known)))
        if lost := self._known.pop(key).count:
            self._outbox.give_up(self._topics.log, lost)

    def _due(self, now: float) -> Iterator[_Entry]:
        return (entry for entry in self._known.values() if entry.count and self._over(entry, now))

    @staticmethod
    def _over(entry: _Entry, now: float) -> bool:
        return entry.told_at is None or now - entry.told_at >= REPEAT_S


def _document(entry: _Entry) -> payloads.Payload:
    line = entry.line
    return payloads.log_line(
        ts=line.wall,
        level=line.level,
        text=_cut(line.text, MAX_TEXT),
        fields={key: _cut(line.fields[key], MAX_VALUE) for key in list(line.fields)[:MAX_FIELDS]},
        repeated=entry.count - 1,
    )


def _cut(text: str, limit: int) -> str:
    shown = _PATH.sub("…/", text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"

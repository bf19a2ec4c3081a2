"""What hailod can say in Frigate's words: counts per label, and when a label comes, changes in number and goes. Pure.

Frigate's events are about tracked objects. hailod does not track yet: it knows how many of a label a camera sees. So an
event here is about one label before one camera, from the first one seen to the last one gone, with its number as
`count`; whatever only tracking could know (`id`, `box`, `score`, a picture) is there and null, and never invented.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hailod.mqtt.payloads import Payload, number

# The last level of the topic with the sum of all labels.
ALL = "all"
_LONGEST_LABEL = 48
# Anything else could end the level, be a wildcard or name the broker's own topics. Blanks stay: Frigate has them too.
_FOREIGN = re.compile(r"[^\w .-]")
_UNKNOWN = MappingProxyType(
    dict.fromkeys(
        ("id", "snapshot", "sub_label", "top_score", "false_positive", "score", "box", "area", "ratio", "region")
    )
)


def level(label: str) -> str:
    """A label as one level of a topic; what a model calls its classes is nobody's to trust."""
    name = _FOREIGN.sub("_", label)[:_LONGEST_LABEL].strip() or "_"
    return f"{name}_" if name == ALL else name


def counts(objects: Mapping[str, int]) -> dict[str, int]:
    """By the last level of their topics, `all` included; labels that become the same level are added."""
    found: Counter[str] = Counter()
    for label, count in objects.items():
        found[level(label)] += count
    return {**found, ALL: sum(found.values())}


@dataclass(frozen=True, slots=True)
class _Present:
    since: float
    count: int


class Presence:
    """What stands before one camera, as `frigate/events` tells it."""

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._present: dict[str, _Present] = {}

    def see(self, objects: Mapping[str, int], at: float) -> list[Payload]:
        """The counts as of a frame of `at` (Unix seconds); the events that this makes."""
        events: list[Payload] = []
        for label in sorted(objects.keys() | self._present.keys()):
            before, count = self._present.get(label), objects.get(label, 0)
            if count == (before.count if before is not None else 0):
                continue
            now = _Present(before.since if before is not None else at, count)
            kind = "new" if before is None else "end" if count == 0 else "update"
            events.append(
                {
                    "type": kind,
                    "before": self._side(label, before or _Present(at, 0), at, ended=False),
                    "after": self._side(label, now, at, ended=count == 0),
                }
            )
            if count:
                self._present[label] = now
            else:
                del self._present[label]
        return events

    def _side(self, label: str, present: _Present, at: float, *, ended: bool) -> Payload:
        return {
            **_UNKNOWN,
            "camera": self._camera,
            "label": label,
            "count": present.count,
            "frame_time": number(at, 3),
            "start_time": number(present.since, 3),
            "end_time": number(at, 3) if ended else None,
            "current_zones": [],
            "entered_zones": [],
            "has_snapshot": False,
            "has_clip": False,
        }

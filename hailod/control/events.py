"""What happened, told once: `N/event` for the node and `C/event` for a camera.

An event's id is the instance's and a number: it does not depend on the clock, which a Pi sets only after its start.
"""

from __future__ import annotations

import itertools

from hailod.clock import Clock
from hailod.mqtt import payloads
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics


class Events:
    """Puts events into the outbox. Used by the control thread."""

    def __init__(self, topics: Topics, clock: Clock, outbox: Outbox, instance: str) -> None:
        self._topics = topics
        self._clock = clock
        self._outbox = outbox
        self._instance = instance
        self._numbers = itertools.count(1)

    def node(self, event_type: str, **details: object) -> None:
        """Something happened to the node, its device or a model."""
        self._put(self._topics.event, event_type, details)

    def camera(self, camera: str, event_type: str, **details: object) -> None:
        """Something happened to a camera."""
        self._put(self._topics.camera(camera).event, event_type, {"camera": camera, **details})

    def _put(self, topic: str, event_type: str, details: dict[str, object]) -> None:
        identity = f"{self._instance}-{next(self._numbers)}"
        self._outbox.event(topic, payloads.event(event_type, ts=self._clock.wall(), event_id=identity, **details))

"""Removes what a broker retains of one node: finds it, says what it is, clears it, and looks whether it is gone.

Everything happens on the calling thread. What belongs to a node is told by its topics and, for Home Assistant's
discovery, by what a document refers to: the ids of `pi` with a camera `two` and of a node `pi_two` look alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from hailod.clock import Clock
from hailod.config.model import NAME_PATTERN, MqttSettings
from hailod.mqtt.caller import RETAINED_TIMEOUT, Session, Visitor, connect
from hailod.mqtt.topics import HOME_ASSISTANT, ROOT

# A broker that holds much needs longer than one that holds little: it is over when nothing came for this long.
QUIET_S = RETAINED_TIMEOUT
LONGEST_S = 30.0
CLEARED_S = 10.0
_DISCOVERY = (f"{HOME_ASSISTANT}/+/+/config", f"{HOME_ASSISTANT}/+/+/+/config")
_COUNT = re.compile(rb"\d{1,9}")
_NAME = re.compile(NAME_PATTERN)


class Purge(Visitor):
    """Looks for what is retained of `node`."""

    def __init__(self, settings: MqttSettings, node: str, clock: Clock, *, frigate: str | None = None) -> None:
        """`frigate` is the prefix of the opt-in topics, None where the node has none."""
        super().__init__(settings, node, clock)
        self._frigate = frigate

    def find(self, cameras: Iterable[str] = ()) -> dict[str, int]:
        """The retained topics of the node with the size of what they hold; `cameras` are those known otherwise."""
        session = self._connected
        filters = [f"{self._topics.base}/#", *_DISCOVERY]
        if self._frigate is not None:
            filters += [f"{self._frigate}/available", f"{self._frigate}/+/+"]
        session.subscribe(*filters)
        self._hear_all(session)
        return {topic: len(payload) for topic, payload in sorted(self._ours(session.retained, set(cameras))) if payload}

    @property
    def online(self) -> bool:
        """Whether the node is there and would only tell everything again; known after `find`."""
        return self._connected.retained.get(self._topics.status) == b"online"

    def clear(self, topics: Collection[str]) -> list[str]:
        """Have the broker forget these; returns those that it still holds."""
        session = self._connected
        before = dict(session.retained)
        session.clear(topics)
        session.wait(lambda: session.unacknowledged == 0, CLEARED_S, wish="clear what is retained")
        # Told anew what is retained, on a connection that knows of nothing.
        self._leave()
        self._session = session = connect(self._settings, self._clock)
        session.subscribe(
            f"{self._topics.base}/#", *(topic for topic in topics if topic in before and self._foreign(topic))
        )
        self._hear_all(session)
        return sorted(topic for topic in topics if session.retained.get(topic))

    def _foreign(self, topic: str) -> bool:
        return not topic.startswith(f"{self._topics.base}/")

    def _hear_all(self, session: Session) -> None:
        """Listen until the broker has told all that it holds."""
        deadline = self._clock.monotonic() + LONGEST_S
        before = -1
        while len(session.retained) != before and self._clock.monotonic() < deadline:
            before = len(session.retained)
            session.wait(lambda: False, QUIET_S)

    def _ours(self, retained: Mapping[str, bytes], cameras: set[str]) -> Iterator[tuple[str, bytes]]:
        base = f"{self._topics.base}/"
        ours = {topic: payload for topic, payload in retained.items() if topic.startswith(base)}
        cameras |= {name for topic in ours if (name := _camera(topic.removeprefix(base))) is not None}
        for topic, payload in retained.items():
            if topic in ours or (topic.startswith(f"{HOME_ASSISTANT}/") and self._discovers_us(topic, payload)):
                yield topic, payload
            elif self._frigate is not None and topic.startswith(f"{self._frigate}/"):
                levels = topic.split("/")
                if levels[1:] == ["available"] or (
                    len(levels) == 3 and levels[1] in cameras and _COUNT.fullmatch(payload)
                ):
                    yield topic, payload

    def _discovers_us(self, topic: str, payload: bytes) -> bool:
        """Whether a discovery document is the node's own, and not one that somebody wrote about it."""
        own, levels = f"{ROOT}_{self._topics.node}", topic.split("/")
        texts = list(_texts(payload))
        about_us = any(f"{text}/".startswith(f"{self._topics.base}/") for text in texts)
        about_others = any(text.startswith(f"{ROOT}/") for text in texts) and not about_us
        if own in levels:
            return not about_others
        return about_us and any(level.startswith(f"{own}_") for level in levels)


def _camera(levels: str) -> str | None:
    """The camera that a topic below the node's is about."""
    first, _, rest = levels.partition("/")
    name = rest.partition("/")[0]
    return name if first == "cam" and _NAME.match(name) else None


def _texts(payload: bytes) -> Iterator[str]:
    """Every text in a JSON document; none of what is no document."""
    try:
        waiting = [json.loads(payload)]
    except (ValueError, RecursionError):
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)

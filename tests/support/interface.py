"""Holds what a node really sends to what it promises: the schema of each document, and the rules beside the schemas.

    rules = Interface("hailod/test-node")
    for message in seen: rules.take(message.topic, message.payload, qos=message.qos, retain=message.retain)
    assert not rules.problems

`v`, keys, types, units and words are the schemas' business. The rules: below 16 kB; QoS as in the table; what is not
state is never retained; numbers of events without a gap for as long as the node is the same instance; and at a connect
everything in its order, with nothing but state before `online`. What was published as a schema is the one in the code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, NoReturn

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from hailod.health import Code
from hailod.mqtt import schema
from hailod.mqtt.schema import Row
from hailod.mqtt.topics import HOME_ASSISTANT, ROOT, Topics

MAX_BYTES = 16_384
MAX_PROBLEMS = 50
MAX_PICTURE = 262_144
# Of a stream the first so many are held to the schema, then one in as many.
_STREAM_SAMPLE = 50
_EVENTS = frozenset({"event", "camera_event"})


class Interface:
    """Takes the messages of the node with the topic `base` in the order in which one subscriber got them.

    `problems` are its complaints. Messages for the node, and those of others, are none of its business.
    """

    def __init__(self, base: str, *, as_published: bool = False) -> None:
        """`as_published`: the flag `retain` of messages is their sender's, and all of them are live."""
        self._as_published = as_published
        self.problems: list[str] = []
        self._topics = Topics(base.removeprefix(f"{ROOT}/"))
        self._seen: dict[str, int] = {}
        self._sequence: dict[str, int] = {}
        self._instance: str | None = None
        # The rank of the state told last in an announcement; None outside of one, or where its beginning was not seen.
        self._rank: int | None = None
        self._online: bool | None = None

    def take(self, topic: str, payload: bytes, *, qos: int | None = None, retain: bool = False) -> None:
        """Look at one message. `qos` as a subscriber of QoS 1 sees it, None: not known."""
        if topic.startswith(f"{HOME_ASSISTANT}/") and f"/{ROOT}_{self._topics.node}" in topic:
            self._check(topic, payload, qos, 1, retain, True)
            if self._as_published or not retain:
                self._order(topic, payload, None)
            return
        base = f"{self._topics.base}/"
        levels = topic.removeprefix(base).split("/")
        if not topic.startswith(base) or "set" in levels or "cmd" in levels:
            return
        found = next(((name, row) for name, row in _rows().items() if _matches(row, levels)), None)
        if levels[0] == "cam" and levels[2:] == ["snapshot"]:
            self._picture(topic, payload, qos)
            return
        if levels[0] == "schema":
            self._check(topic, payload, qos, 1, retain, True)
            self._schema(topic, levels, payload)
        elif found is None:
            self._complain(topic, "is no topic of the interface")
        else:
            self._document(topic, *found, payload, qos, retain)
        if self._as_published or not retain:
            self._order(topic, payload, None if found is None else found[1])

    def _check(self, topic: str, payload: bytes, qos: int | None, wanted: int, retain: bool, state: bool) -> None:
        if len(payload) >= MAX_BYTES:
            self._complain(topic, f"{len(payload)} bytes are not below {MAX_BYTES}")
        if qos is not None and qos != wanted:
            self._complain(topic, f"QoS {qos}, not {wanted}")
        if retain and not state:
            self._complain(topic, "is retained")
        if self._as_published and state and not retain:
            self._complain(topic, "is not retained")

    def _picture(self, topic: str, payload: bytes, qos: int | None) -> None:
        """A JPEG, or nothing where one is taken away."""
        if len(payload) > MAX_PICTURE:
            self._complain(topic, f"{len(payload)} bytes are more than {MAX_PICTURE}")
        if payload and not (payload.startswith(b"\xff\xd8\xff") and qos in (0, None)):
            self._complain(topic, f"is no JPEG of QoS 0: {payload[:8]!r}, QoS {qos}")

    def _schema(self, topic: str, levels: list[str], payload: bytes) -> None:
        known = _documents(self._topics.base)
        name = "/".join(levels[1:])
        if payload and (name not in known or json.loads(payload) != known[name]):
            self._complain(topic, "is not the schema that it should be")

    def _document(self, topic: str, name: str, row: Row, payload: bytes, qos: int | None, retain: bool) -> None:
        self._check(topic, payload, qos, row.qos, retain, row.retain)
        if not payload:
            if not row.retain:
                self._complain(topic, "is empty")
            return
        self._seen[topic] = self._seen.get(topic, 0) + 1
        if row.qos == 0 and self._seen[topic] > _STREAM_SAMPLE and self._seen[topic] % _STREAM_SAMPLE:
            return
        try:
            document = payload.decode() if row.text else json.loads(payload, parse_constant=_no_constant)
        except ValueError as error:
            self._complain(topic, f"cannot be read: {error}")
            return
        for text in islice(complaints(name, document), 3):
            self._complain(topic, text)
        if isinstance(document, dict):
            self._numbers(topic, name, document)

    def _numbers(self, topic: str, name: str, document: Mapping[str, Any]) -> None:
        if name == "info" and document.get("instance") != self._instance:
            self._instance = document.get("instance")
            self._sequence.clear()
        if name in _EVENTS and isinstance(number := document.get("seq"), int):
            before = self._sequence.get(topic)
            again = before is not None and number <= before and document.get("replayed") is True
            if before is not None and number != before + 1 and not again:
                self._complain(topic, f"seq {number} after {before}")
            self._sequence[topic] = max(number, before or 0)

    def _order(self, topic: str, payload: bytes, row: Row | None) -> None:
        if topic == self._topics.status:
            self._online = payload == b"online"
            self._rank = None if self._online else -1
            return
        if self._online is None:
            # Only who was there before the node sees it come.
            self._rank = -1 if topic == self._topics.info else None
            self._online = False
        if self._rank is None or not payload:
            return
        if row is None or row.retain:
            rank = self._topics.rank(topic)
            if rank < self._rank:
                self._complain(topic, "is told too late in the announcement")
            self._rank = max(rank, self._rank)
        elif row.qos == 1:
            # A broker may send what has QoS 0 past what waits for its turn.
            self._complain(topic, "is told before the node is online")

    def _complain(self, topic: str, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{topic}: {text}")


def complaints(name: str, document: object) -> Iterator[str]:
    """What is wrong with a document by the schema of this name."""
    for error in _validator(name).iter_errors(document):
        # Of alternatives the one that fits best says more than that none fits.
        best = best_match([error]) or error
        path = "/".join(str(step) for step in best.absolute_path)
        yield f"{path or 'it'}: {best.message[:300]}"


@cache
def _rows() -> Mapping[str, Row]:
    return schema.rows([str(code) for code in Code])


@cache
def _documents(base: str) -> Mapping[str, Any]:
    return {name: json.loads(json.dumps(document)) for name, document in schema.documents(base, list(Code)).items()}


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(_documents("hailod/any")[name])


def _matches(row: Row, levels: list[str]) -> bool:
    pattern = row.topic.split("/")
    return len(pattern) == len(levels) and all(a in ("+", b) for a, b in zip(pattern, levels, strict=True))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")

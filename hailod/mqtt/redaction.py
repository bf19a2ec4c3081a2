"""The last look at a document before it is published: every text in it is scrubbed, but for what is listed here.

Listed is what cannot hold a secret, because it is made of numbers, of words of ours, and of names that are the user's
own and public as topics (cameras, models, labels). Without the list a password `person` would blank out a label. What
is new is scrubbed until somebody lists it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from hailod.mqtt.messages import Document
from hailod.mqtt.topics import ROOT

# Documents without any free text, by the last level of their topic; the frequent ones among them cost nothing.
PLAIN_DOCUMENTS = frozenset({"detections", "metrics", "state", "status", "track"})
# Below this level of a node everything is written in our source.
_SCHEMA = "schema"

# Keys whose values are words of ours, numbers, or names of things.
_DOCUMENT_KEYS = """
    v api node version instance started_at event_type id seq ts code cmd status job camera cameras model models
    label labels arch task sha256 log_level device state since count features allowed response_prefixes
    retryable by from to
"""
_DISCOVERY_KEYS = """
    origin platform unique_id identifiers via_device topic state_topic command_topic availability_topic
    json_attributes_topic event_types options device_class state_class entity_category icon unit_of_measurement
    value_template json_attributes_template command_template availability_mode payload_available
    payload_not_available payload_on payload_off payload_press
"""
PLAIN_KEYS = frozenset((_DOCUMENT_KEYS + _DISCOVERY_KEYS).split())
# The status of a camera, a count, ON: one word.
_WORD = re.compile(r"[A-Za-z0-9_.+-]{0,32}")
_DEEPEST = 16

Scrub = Callable[[str], str]


def redacted(topic: str, document: Document, scrub: Scrub) -> Document:
    """`document` as it may be published on `topic`; itself when there is nothing to hide."""
    levels = topic.split("/")
    if levels[-1] in PLAIN_DOCUMENTS or (levels[0] == ROOT and levels[2:3] == [_SCHEMA]):
        return document
    if isinstance(document, str):
        return document if _WORD.fullmatch(document) else scrub(document)
    cleaned = _cleaned(document, scrub, _DEEPEST)
    if isinstance(document, Mapping) and document.get("cmd") == "ping" and "data" in document:
        # What the asker sent comes back as it is: an echo that masked a password would confirm a guess, thousands of
        # them in one message.
        cleaned = {**cleaned, "data": document["data"]}
    return cast("Document", cleaned)


def _cleaned(value: Any, scrub: Scrub, depth: int) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if depth == 0:
        return None
    if isinstance(value, Mapping):
        return {
            key: inner if key in PLAIN_KEYS and not _is_table(inner) else _cleaned(inner, scrub, depth - 1)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_cleaned(inner, scrub, depth - 1) for inner in value]
    return value


def _is_table(value: object) -> bool:
    """Whether there are keys in it that have to be looked at themselves."""
    return isinstance(value, Mapping) or (isinstance(value, list | tuple) and any(map(_is_table, value)))

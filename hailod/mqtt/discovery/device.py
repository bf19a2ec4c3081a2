"""One discovery document for a device, with its entities as components; where they are too many for a message, those of
groups stand in further documents of the same device. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Collection

from hailod.mqtt.discovery.entity import Device, Entity
from hailod.mqtt.outbox import MAX_DOCUMENT, encode
from hailod.mqtt.payloads import Payload
from hailod.mqtt.topics import HOME_ASSISTANT

BUDGET = MAX_DOCUMENT - 384
_MOST_PARTS = 64
MIGRATE: Payload = {"migrate_discovery": True}


def topic(device: str, part: int | None = None) -> str:
    """Where the document of a device stands. Names of nodes and cameras have no capital; that of a part has."""
    beside = "" if part is None else f"_L{part}"
    return f"{HOME_ASSISTANT}/device/{device}{beside}/config"


def documents(device: Device) -> dict[str, Payload]:
    """The documents by topic. Which group is in which part depends on the groups alone, so that entities stay where
    they are for as long as all have room."""
    whole = document(device, device.entities)
    own = [entity for entity in device.entities if entity.group is None]
    if _fits(whole) or len(own) == len(device.entities):
        return {topic(device.id): whole}
    parts = 1
    while True:
        spread: dict[int, list[Entity]] = {}
        for entity in device.entities:
            if entity.group is not None:
                spread.setdefault(zlib.crc32(entity.group.encode(errors="replace")) % parts, []).append(entity)
        made = {topic(device.id, part): document(device, entities) for part, entities in sorted(spread.items())}
        if parts >= _MOST_PARTS or all(_fits(each) for each in made.values()):
            return {topic(device.id): document(device, own), **made}
        parts *= 2


def document(device: Device, entities: Collection[Entity]) -> Payload:
    """The device with these of its entities."""
    return {
        "device": device.about,
        "origin": device.origin,
        **device.common,
        "components": {entity.key: {"platform": entity.platform, **device.component(entity)} for entity in entities},
    }


def _fits(each: Payload) -> bool:
    return len(encode(each)) <= BUDGET

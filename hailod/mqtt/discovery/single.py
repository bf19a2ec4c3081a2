"""One discovery document for each entity, for readers that know no other: the same entities with the same ids. Pure."""

from __future__ import annotations

from hailod.mqtt.discovery.entity import Device
from hailod.mqtt.payloads import Payload
from hailod.mqtt.topics import HOME_ASSISTANT


def topic(device: str, platform: str, key: str) -> str:
    """Where the document of an entity stands."""
    return f"{HOME_ASSISTANT}/{platform}/{device}/{key}/config"


def documents(device: Device) -> dict[str, Payload]:
    """The documents by topic; each says what device it is of."""
    shared = {"device": device.about, "origin": device.origin, **device.common}
    return {
        topic(device.id, entity.platform, entity.key): {**shared, **device.component(entity)}
        for entity in device.entities
    }

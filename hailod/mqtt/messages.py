"""The values that cross the borders of this package. All are immutable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

# A JSON object, plain text (`online`), or the bytes of a picture.
Document = Mapping[str, object] | str | bytes


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message as it came in, nothing of it believed yet.

    `payload` holds at most one byte more than a command may have. `retain` is the flag as the broker delivered it.
    `response_topic`, `correlation` and `expiry` (seconds) are MQTT 5 properties; `received` is monotonic seconds.
    """

    topic: str
    payload: bytes
    retain: bool
    received: float
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry: float | None = None


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """Where a reply goes, and the MQTT 5 correlation data it carries back."""

    topic: str
    correlation: bytes | None = None


class Trouble(NamedTuple):
    """What is wrong and what a person can do about it, without secrets."""

    text: str
    fix: str


@dataclass(frozen=True, slots=True)
class LinkState:
    """The connection to the broker. `protocol` is MQTT's level on the wire: 5, or 4 for version 3.1.1.

    `trouble` says why there is no connection or, of one that stands, why it may not last; `limits` what the broker does
    not let through although it stands. `retry_s` is when the next attempt comes.
    """

    connected: bool
    protocol: int | None = None
    trouble: Trouble | None = None
    limits: Trouble | None = None
    retry_s: float | None = None

"""What the link tells the control thread."""

from __future__ import annotations

from dataclasses import dataclass

from hailod.device.flight import Session
from hailod.device.protocol import Message
from hailod.device.recovery import Fault
from hailod.errors import DeviceError


@dataclass(frozen=True, slots=True)
class DeviceUp:
    """A host has opened the device."""

    identity: Message


@dataclass(frozen=True, slots=True)
class DeviceDown:
    """The device is out of service; `retry_in` seconds until the next start, None: not before the old host is gone.

    `asked`: by a command, and then nothing is wrong.
    """

    fault: Fault
    text: str
    retry_in: float | None
    asked: bool = False


@dataclass(frozen=True, slots=True)
class DeviceStuck:
    """A killed host does not die: its driver holds it. Nothing waits for it, and nothing starts before it is gone."""

    pid: int


@dataclass(frozen=True, slots=True)
class DeviceReleased:
    """The device is free for others: its host is gone, and none is started before the device is acquired."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelReady:
    """A model is configured and takes frames."""

    session: Session
    took_ms: float


@dataclass(frozen=True, slots=True)
class ModelFailed:
    """The device refuses the model; the host goes on with the others."""

    name: str
    error: DeviceError


@dataclass(frozen=True, slots=True)
class ModelUnloaded:
    """A model is off the device: no longer wanted, or about to be configured anew."""

    name: str


LinkEvent = DeviceUp | DeviceDown | DeviceStuck | DeviceReleased | ModelReady | ModelFailed | ModelUnloaded

"""What the link tells the control thread."""

from __future__ import annotations

from dataclasses import dataclass

from hailod.device.flight import Session
from hailod.device.protocol import Message
from hailod.device.recovery import Rung
from hailod.device.statuses import Fault
from hailod.device.thermal import Heat
from hailod.errors import DeviceError


@dataclass(frozen=True, slots=True)
class DeviceUp:
    """A host has opened the device, or a device that was too hot has cooled."""

    identity: Message


@dataclass(frozen=True, slots=True)
class DeviceDown:
    """The device is out of service; `retry_in` seconds until the next start, None: not before the old host is gone.

    `asked`: by a command, and then nothing is wrong. `fix`: what people can do, empty where hailod itself is the fix.
    """

    fault: Fault
    text: str
    retry_in: float | None
    asked: bool = False
    fix: str = ""


@dataclass(frozen=True, slots=True)
class DeviceStuck:
    """A killed host does not die: its driver holds it. Nothing waits for it, and nothing starts before it is gone."""

    pid: int


@dataclass(frozen=True, slots=True)
class DeviceReleased:
    """The host is gone, and the device free for others until it is asked back."""


@dataclass(frozen=True, slots=True)
class ThermalChanged:
    """Another share of the load is allowed; `max_rate` frames a second, None: as many as come."""

    heat: Heat
    max_rate: float | None


@dataclass(frozen=True, slots=True, eq=False)
class ModelReady:
    """A model is configured and takes frames. `took_ms`: for so long nothing was sent to the device."""

    session: Session
    took_ms: float


@dataclass(frozen=True, slots=True)
class ModelLost:
    """A model's session is dead; the host goes on with the others. `rung`: what is done about it."""

    name: str
    text: str
    rung: Rung


@dataclass(frozen=True, slots=True)
class ModelQuarantined:
    """A model keeps failing while others are well on the same device; it is tried again in `retry_in` seconds."""

    name: str
    text: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class ModelFailed:
    """The device refuses the model; the host goes on with the others."""

    name: str
    error: DeviceError
    fix: str = ""


@dataclass(frozen=True, slots=True)
class ModelUnloaded:
    """A model is off the device: no longer wanted, or about to be configured anew."""

    name: str


LinkEvent = (
    DeviceUp
    | DeviceDown
    | DeviceStuck
    | DeviceReleased
    | ThermalChanged
    | ModelReady
    | ModelLost
    | ModelQuarantined
    | ModelFailed
    | ModelUnloaded
)

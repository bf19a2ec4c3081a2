"""What a simulated device is to be. Plain values: they cross to another process as JSON."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from hailod.errors import ModelError
from hailod.simulator import presets
from hailod.simulator.chip.faults import Faults

__all__ = ["Arch", "Faults", "SimulatorOptions", "parse_device"]

Arch = Literal["hailo8", "hailo8l", "hailo8r", "hailo10h", "hailo15h", "hailo15m", "hailo15l"]


@dataclass(frozen=True)
class SimulatorOptions:
    """The simulated chip.

    `serial` names the device: processes of one user that use the same serial contend for the same device.
    `configure_s` is how long `configure()` takes, the GIL held.
    """

    arch: Arch = "hailo8"
    configure_s: float = Field(default=0.2, ge=0.0)
    open_s: float = Field(default=0.0, ge=0.0)
    """How long `VDevice()` takes, the GIL held."""
    serial: str = Field(default="HLSIM00000000001", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    profile: Literal["4.23", "5.2"] = "4.23"
    """The HailoRT whose contract and behaviour is simulated."""
    device_id: str = "0000:01:00.0"
    preset: str | None = None
    """A published timing that every model takes, such as `yolov8m@hailo8l`; None: each its own."""
    model_change_s: float = Field(default=0.004, ge=0.0)
    """What it costs to load another model onto the chip, unless switching contexts within a batch does so anyway."""
    temperature_c: float = 48.0
    power_w: float | None = None
    """None: no sensor on the module, as on the AI HAT and AI Kit."""
    multi_process_build: bool = True
    """Distribution packages are built with service support, which makes asynchronous queues shorter."""
    transfer_timeout_s: float = Field(default=10.0, ge=0.0)
    """How long closing a hung model blocks, per place in its queue."""
    memory: str | None = None
    """A file that keeps what outlives a process: job numbers, spent faults, a device that is away. None: nothing."""
    faults: Faults = Faults()


def parse_device(name: str) -> dict[str, Any]:
    """The options that a chip (`hailo8l`) or a timing preset (`yolov8m@hailo8l`) stands for; ModelError with near
    matches when there is none of that name."""
    chips = get_args(Arch)
    if name in chips:
        return {"arch": name}
    if "@" not in name:
        raise ModelError(f"there is no chip {name!r}, only {', '.join(chips)}; with a speed: yolov8m@hailo8l")
    return {"arch": presets.preset(name).chip, "preset": name}

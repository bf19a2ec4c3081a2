"""What a simulated device is to be, and how it is to fail. Plain values: they cross to another process as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

Arch = Literal["hailo8", "hailo8l"]


@dataclass(frozen=True)
class Faults:
    """Scripted failures. Jobs are counted from 1 over all models of the process, one per call of `run_async`.

    A failed completion is fatal to its ConfiguredInferModel, as in HailoRT: what is behind it is aborted.
    """

    fail_completions: Mapping[int, int] = field(default_factory=dict)
    """Job number to the status its callback gets."""
    fail_submits: Mapping[int, int] = field(default_factory=dict)
    """Job number to the status `run_async` raises."""
    hang_from: int | None = None
    """From this job on no callback comes."""
    abort_at: int | None = None
    """This job's completion aborts the process."""
    vanish_at: int | None = None
    """From this job on the device is off the bus: no callback comes, controls fail, scans are empty."""
    open_status: int | None = None
    """What every VDevice() raises."""


@dataclass(frozen=True)
class SimulatorOptions:
    """The simulated chip.

    `serial` names the device: processes of one user that use the same serial contend for the same device.
    `configure_s` is how long `configure()` takes, the GIL held.
    """

    arch: Arch = "hailo8"
    configure_s: float = Field(default=0.2, ge=0.0)
    serial: str = Field(default="HLSIM00000000001", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    device_id: str = "0000:01:00.0"
    temperature_c: float = 48.0
    power_w: float | None = None
    """None: no sensor on the module, as on the AI HAT and AI Kit."""
    multi_process_build: bool = True
    """Distribution packages are built with service support, which makes asynchronous queues shorter."""
    transfer_timeout_s: float = Field(default=10.0, ge=0.0)
    """How long closing a hung model blocks, per place in its queue."""
    faults: Faults = Faults()

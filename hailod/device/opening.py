"""How a host is asked to open the device, and what a simulated device remembers from host to host."""

from __future__ import annotations

import os

from hailod.config.model import DeviceSettings
from hailod.device.protocol import Message


class Opening:
    """The request `open`. A simulated device with scripted faults has a memory, which belongs to the daemon."""

    def __init__(self) -> None:
        self._memory = -1

    def begin(self, settings: DeviceSettings) -> None:
        """Make what outlives the hosts."""
        if settings.backend == "simulated" and settings.simulated.faults is not None:
            self._memory = os.memfd_create("simulated-device", os.MFD_CLOEXEC)

    def end(self) -> None:
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def request(self, settings: DeviceSettings, generation: int) -> Message:
        """The message that the host of this generation gets first."""
        memory = f"/proc/{os.getpid()}/fd/{self._memory}" if self._memory >= 0 else None
        return {
            "type": "open",
            "generation": generation,
            "backend": settings.backend,
            "scheduler": settings.scheduler,
            "id": settings.id,
            "telemetry_s": settings.thermal.interval,
            "simulated": settings.simulated.model_dump(mode="json") | {"memory": memory},
        }

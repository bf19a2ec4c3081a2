"""What a fault of the device means and what is done about it.

A fault is classed by its cure, never by its text:

    unavailable   no device, in use, no driver or library: nothing to kill, try again for ever, backing off
    rejected      wrong HEF, chip or versions: trying again changes nothing; name the fix and try again rarely, because
                  an administrator may have mended it meanwhile
    session lost  a completion or run_async failed: HailoRT has shut the model down for good
    device lost   the host process died or the driver failed
    hung          no sign of life: heartbeat missing, process stopped, or the oldest job too old

Every class but `rejected` of a single model ends the host process and starts a new one. The first new start after a
time of health has no delay, because most faults are over with the process that had them; from the second on the delay
is drawn from 0 to a ceiling that doubles (full jitter), so that nothing that shares the device can fall into step.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

REJECTED_RETRY_S = 600.0
HEALTHY_S = 60.0


class Fault(StrEnum):
    """The class of a device fault: what to do, not what it was."""

    UNAVAILABLE = "device_unavailable"
    REJECTED = "device_rejected"
    SESSION_LOST = "session_lost"
    DEVICE_LOST = "device_lost"
    HUNG = "device_hung"


@dataclass(frozen=True, slots=True)
class Cure:
    """The class of a HailoRT status and the fix to tell people, empty where hailod itself is the fix."""

    fault: Fault
    fix: str = ""


_VERSIONS = (
    "kernel driver, library and firmware must be of one version: sudo apt update && sudo apt full-upgrade "
    "(packages hailo-all for Hailo-8/8L, hailo-h10-all for Hailo-10H), then reboot"
)
_IN_USE = "another program holds the device: stop it (sudo fuser -v /dev/hailo0 names it)"
_MISSING = "is the HAT seated and its driver loaded? lspci -d 1e60: and ls /dev/hailo* must show it"
_WRONG_CHIP = "take the HEF that was compiled for this chip (hailo8l files also run on hailo8, not the reverse)"
_BROKEN_HEF = "the HEF is damaged or from a later compiler: copy it again, or upgrade HailoRT"

# Statuses that are not here are DEVICE_LOST: a new process is the cure that assumes least.
CURES: dict[int, Cure] = {
    4: Cure(Fault.SESSION_LOST),  # TIMEOUT
    6: Cure(Fault.SESSION_LOST),  # INVALID_OPERATION
    13: Cure(Fault.REJECTED, "the model file cannot be opened: check path and permissions"),
    14: Cure(Fault.REJECTED, _BROKEN_HEF),
    16: Cure(Fault.REJECTED, _VERSIONS),
    26: Cure(Fault.REJECTED, _WRONG_CHIP),
    63: Cure(Fault.SESSION_LOST),  # STREAM_ABORT
    64: Cure(Fault.UNAVAILABLE, _MISSING),
    73: Cure(Fault.UNAVAILABLE, _IN_USE),
    74: Cure(Fault.UNAVAILABLE, f"{_MISSING}; or {_IN_USE}"),
    75: Cure(Fault.REJECTED, _WRONG_CHIP),
    76: Cure(Fault.REJECTED, _VERSIONS),
    78: Cure(Fault.REJECTED, _VERSIONS),
    82: Cure(Fault.SESSION_LOST),  # QUEUE_IS_FULL
    91: Cure(Fault.REJECTED, _BROKEN_HEF),
    92: Cure(Fault.REJECTED, _BROKEN_HEF),
    93: Cure(Fault.REJECTED, _WRONG_CHIP),
}


def cure_of(status: int) -> Cure:
    """What HailoRT's `status` calls for."""
    return CURES.get(status, Cure(Fault.DEVICE_LOST))


class Respawn:
    """How long to wait before the next host is started. Pure: told the time, owns only the count of failures."""

    def __init__(self, initial: float, ceiling: float, rng: random.Random) -> None:
        self._initial = initial
        self._ceiling = ceiling
        self._rng = rng
        self._failures = 0
        self._healthy_since: float | None = None

    @property
    def failures(self) -> int:
        """How many starts have failed since the last time of health."""
        return self._failures

    def succeeded(self, now: float) -> None:
        """The device delivers results; the count is forgotten after `HEALTHY_S` of it."""
        if self._healthy_since is None:
            self._healthy_since = now
        elif now - self._healthy_since >= HEALTHY_S:
            self._failures = 0

    def delay(self, fault: Fault) -> float:
        """Count a failure; seconds until the next start."""
        self._healthy_since = None
        self._failures += 1
        if fault is Fault.REJECTED:
            return REJECTED_RETRY_S
        if self._failures == 1 and fault is not Fault.UNAVAILABLE:
            return 0.0
        ceiling = min(self._ceiling, self._initial * 2.0 ** min(self._failures - 1, 30))
        return self._rng.uniform(0.0, ceiling)

"""The current sensor of a module: single measurements, and long ones that the firmware averages into buffers."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from hailod.simulator.native import DvmTypes, HailoRTStatusException, NativeEnum
from hailod.simulator.pyhailort.firmware import PowerMeasurementData

FW_CONTROL_FAILURE = 18

# The only rail that a module senses, its supply, over a shunt as on the M.2 reference design.
SENSED = (DvmTypes.AUTO, DvmTypes.OVERCURRENT_PROTECTION)
SUPPLY_MV = 3300.0
SHUNT_OHM = 0.01

DEFAULT_INTERVAL_MS = 2.2
# A long measurement is computed when it is read, of no more than so many of its samples.
MAX_EVALUATED = 256


def quantity(watts: float, kind: NativeEnum) -> float:
    """What the sensor shows for a power: W, or mA, or mV."""
    milliamps = watts / SUPPLY_MV * 1e6
    return {
        "CURRENT": milliamps,
        "BUS_VOLTAGE": SUPPLY_MV,
        "SHUNT_VOLTAGE": milliamps * SHUNT_OHM,
    }.get(kind.name, watts)


class PowerSensor:
    """Measures `watts` of a moment; everything fails with FW_CONTROL_FAILURE where that is None: there is no sensor."""

    def __init__(self, watts: Callable[[float], float | None], now: Callable[[], float]) -> None:
        self._watts = watts
        self._now = now
        self._forget()

    def _forget(self) -> None:
        self._running = False
        self._interval_ms = DEFAULT_INTERVAL_MS
        self._kinds: dict[int, NativeEnum] = {}
        self._since: dict[int, float] = {}

    def measure(self, dvm: NativeEnum, kind: NativeEnum) -> float:
        """One value: W, mA or mV."""
        return quantity(self._sensed(dvm, self._now()), kind)

    def start(self, averaging_factor: NativeEnum, sampling_period: NativeEnum) -> None:
        """From now on a sample every 2 x period x averaging factor, in all buffers that were set."""
        now = self._now()
        self._sensed(DvmTypes.AUTO, now)
        period_us = int(sampling_period.name.removeprefix("PERIOD_").removesuffix("us"))
        self._interval_ms = 2 * period_us * int(averaging_factor.name.removeprefix("AVERAGE_")) / 1000
        self._running = True
        self._since = dict.fromkeys(self._kinds, now)

    def set_buffer(self, index: int, dvm: NativeEnum, kind: NativeEnum) -> None:
        """What a buffer is to hold."""
        now = self._now()
        self._sensed(dvm, now)
        self._kinds[index], self._since[index] = kind, now

    def read_buffer(self, index: int, *, clear: bool) -> PowerMeasurementData:
        """The samples so far, or since they were last cleared. Fails before both start() and set_buffer()."""
        now = self._now()
        self._sensed(DvmTypes.AUTO, now)
        if not self._running or index not in self._kinds:
            raise HailoRTStatusException(FW_CONTROL_FAILURE)
        since, kind = self._since[index], self._kinds[index]
        if clear:
            self._since[index] = now
        samples = int((now - since) * 1000 / self._interval_ms)
        if not samples:
            return PowerMeasurementData(0.0, self._interval_ms, 0.0, 0.0, 0)
        evaluated = min(samples, MAX_EVALUATED)
        moments = [since + (now - since) * number / evaluated for number in range(1, evaluated + 1)]
        values = [quantity(self._sensed(DvmTypes.AUTO, moment), kind) for moment in moments]
        return PowerMeasurementData(fmean(values), self._interval_ms, min(values), max(values), samples)

    def stop(self) -> None:
        """Forget samples and settings."""
        self._sensed(DvmTypes.AUTO, self._now())
        self._forget()

    def _sensed(self, dvm: NativeEnum, moment: float) -> float:
        watts = self._watts(moment)
        if watts is None or dvm not in SENSED:
            raise HailoRTStatusException(FW_CONTROL_FAILURE)
        return watts

"""The simulated current sensor, against a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hailod.simulator.native import ENUMS, DvmTypes, HailoRTStatusException, PowerMeasurementTypes
from hailod.simulator.pyhailort.power import PowerSensor

Averaging = ENUMS["AveragingFactor"]
Sampling = ENUMS["SamplingPeriod"]


@dataclass
class Clock:
    """Stands where it is put."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_long_measurement_follows_the_power() -> None:
    """Average, least and most are those of the time since the start or the last clearing; samples are counted."""
    clock = Clock()
    sensor = PowerSensor(lambda moment: 2.0 + moment, clock)
    sensor.set_buffer(0, DvmTypes.AUTO, PowerMeasurementTypes.POWER)
    sensor.start(Averaging.AVERAGE_256, Sampling.PERIOD_1100us)
    clock.now = 4.0
    found = sensor.read_buffer(0, clear=True)
    assert found.total_number_of_samples == int(4000 / 563.2)
    assert found.average_time_value_milliseconds == pytest.approx(563.2)
    assert found.min_value < found.average_value < found.max_value == pytest.approx(6.0)
    clock.now = 4.1
    assert sensor.read_buffer(0, clear=False).total_number_of_samples == 0
    clock.now = 8.0
    assert sensor.read_buffer(0, clear=False).min_value > 6.0


def test_kinds_of_a_measurement() -> None:
    """Of 3.3 W at 3.3 V: an ampere, and ten millivolts over the shunt."""
    sensor = PowerSensor(lambda _: 3.3, Clock())
    kinds = PowerMeasurementTypes
    values = [sensor.measure(DvmTypes.AUTO, kind) for kind in (kinds.AUTO, kinds.CURRENT, kinds.SHUNT_VOLTAGE)]
    assert values == pytest.approx([3.3, 1000.0, 10.0])


def test_reading_needs_both_a_start_and_a_buffer() -> None:
    """Before either, after stop(), and without a sensor the firmware fails."""
    sensor = PowerSensor(lambda _: 1.0, Clock())
    for prepare in (
        lambda: sensor.set_buffer(1, DvmTypes.AUTO, PowerMeasurementTypes.POWER),
        sensor.stop,
        lambda: sensor.start(Averaging.AVERAGE_1, Sampling.PERIOD_140us),
    ):
        prepare()
        with pytest.raises(HailoRTStatusException, match="18"):
            sensor.read_buffer(1, clear=True)
    with pytest.raises(HailoRTStatusException, match="18"):
        PowerSensor(lambda _: None, Clock()).stop()

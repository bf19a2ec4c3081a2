"""Load is shed in steps before the chip protects itself, and comes back."""

from __future__ import annotations

import pytest

from hailod.config.model import ThermalSettings
from hailod.device.thermal import SHARES, Heat, Load, Thermostat

SETTINGS = ThermalSettings(shed_at=90.0, shed_step=4.0, hysteresis=5.0, hold=10.0)


def steps(*readings: tuple[float, float | None]) -> list[int]:
    """The step after each reading: (seconds, degrees)."""
    thermostat = Thermostat(SETTINGS)
    return [thermostat.measure(celsius, seconds).step for seconds, celsius in readings]


def test_each_limit_sheds_more() -> None:
    """75, 50 and 25 % are left at the first limit and one and two steps above it."""
    assert steps((0, 89.9), (2, 90.0), (4, 93.9), (6, 94.0), (8, 98.0), (10, 119.0)) == [0, 1, 1, 2, 3, 3]
    assert SHARES == (1.0, 0.75, 0.5, 0.25)


def test_a_leap_sheds_at_once() -> None:
    """Heat that comes quickly is answered by as many steps as it takes."""
    assert steps((0, 60.0), (2, 99.0)) == [0, 3]


def test_load_comes_back_step_by_step() -> None:
    """A step is left below its own limit less the hysteresis, one at a time, and each is held for a while."""
    assert steps((0, 99.0), (5, 60.0), (10, 60.0), (12, 60.0), (20, 60.0), (30, 60.0)) == [3, 3, 2, 2, 1, 0]


def test_no_flapping_around_a_limit() -> None:
    """A temperature that hovers about a limit does not switch the load on and off."""
    readings = [(10.0 * n, 90.0 if n % 2 else 86.0) for n in range(1, 20)]
    assert set(steps(*readings)) == {1}


def test_a_chip_that_throttles_itself_is_at_the_last_step() -> None:
    """Whatever its thermometer says."""
    thermostat = Thermostat(SETTINGS)
    thermostat.throttle(True)
    assert thermostat.measure(50.0, 0.0) == Heat(3, 0.25, 50.0, True)
    thermostat.throttle(False)
    assert thermostat.measure(50.0, 10.0).step == 2


def test_a_chip_without_thermometer_is_left_alone() -> None:
    """What is not known is no reason to do less."""
    assert steps((0, None), (10, None)) == [0, 0]


@pytest.mark.parametrize(
    ("celsius", "seconds", "cool"), [(96.0, 1000.0, False), (94.0, 0.0, True), (None, 59.0, False)]
)
def test_when_a_chip_that_stopped_itself_works_again(celsius: float | None, seconds: float, cool: bool) -> None:
    """Below the limit for it, or after a while where the temperature cannot be read."""
    thermostat = Thermostat(SETTINGS)
    thermostat.measure(celsius, 0.0)
    assert thermostat.cool(seconds, 0.0) is cool
    assert celsius is not None or thermostat.cool(60.0, 0.0)


def test_the_limit_is_a_share_of_what_was_done_before() -> None:
    """Shedding halves what the device did when it became too warm, not what it did after it was held back."""
    load = Load()
    for second in range(11):
        load.count(second * 40, float(second))
    assert load.limit(Heat(1, 0.75)) == pytest.approx(30.0)
    for second in range(11, 31):
        load.count(400 + (second - 10) * 30, float(second))
    assert load.limit(Heat(2, 0.5)) == pytest.approx(20.0)
    assert load.limit(Heat()) is None
    assert load.limit(Heat(1, 0.75)) == pytest.approx(22.5)


def test_a_node_that_has_just_begun_counts_what_it_has() -> None:
    """Before the first full window the rate is that of the part of it which is over."""
    load = Load()
    for tenth in range(11):
        load.count(tenth * 4, tenth / 10)
    assert load.limit(Heat(2, 0.5)) == pytest.approx(20.0)


def test_an_idle_node_is_not_blinded() -> None:
    """A quarter of nothing is still a frame every two seconds."""
    assert Load().limit(Heat(3, 0.25)) == 0.5

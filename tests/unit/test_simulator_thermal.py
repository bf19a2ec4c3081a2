"""Temperature curves, what the firmware does along them, and the thread that announces it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hailod.simulator.chip.notifications import Notification, Notifier
from hailod.simulator.chip.thermal import GREEN, ORANGE, RED, Curve, history
from tests.support.waiting import wait_for


def test_a_curve_is_linear_between_its_points() -> None:
    """Constant before the first and after the last; of two points at one moment the second counts from then on."""
    curve = Curve([(1.0, 10.0), (3.0, 20.0), (3.0, 40.0), (5.0, 0.0)])
    assert [curve.at(moment) for moment in (0, 1, 2, 2.99999, 3, 4, 5, 9)] == pytest.approx(
        [10, 10, 15, 20, 40, 20, 0, 0], abs=1e-3
    )


def test_each_limit_has_its_hysteresis() -> None:
    """A level is entered at its limit and left below another one."""
    steps = history(Curve([(0, 90), (20, 110), (40, 90)]))
    assert [(round(step.at, 6), step.level, step.zone) for step in steps] == [
        (0, -1, GREEN), (14, 0, ORANGE), (18, 1, ORANGE), (27, 0, ORANGE), (31, -1, GREEN),
    ]  # fmt: skip


def test_the_top_stops_dataflow_until_it_has_cooled() -> None:
    """Red from 120 degrees until below 110, whatever the temperature does between."""
    steps = history(Curve([(0, 119), (1, 121), (2, 111), (3, 121), (4, 109)]))
    assert next((step.at, step.red) for step in steps if step.zone == RED) == (0.5, True)
    assert [step.at for step in steps if step.level == 3 and not step.red] == [0]
    assert steps[-1].zone == ORANGE


def test_a_curve_can_begin_hot_and_jump() -> None:
    """The first point counts as reached from below, two points at one moment as a jump through all between."""
    first, *_ = history(Curve([(5, 125)]))
    assert (first.at, first.level, first.red) == (5, 3, True)
    steps = history(Curve([(0, 40), (1, 40), (1, 130), (2, 40)]))
    assert {step.at for step in steps if step.red} >= {1}


@given(st.lists(st.floats(0, 150), min_size=1, max_size=12))
def test_the_state_fits_the_temperature(values: list[float]) -> None:
    """At every point: red at the top, green when cool, throttled between; times never decrease."""
    curve = Curve([(float(second), value) for second, value in enumerate(values)])
    steps = history(curve)
    assert [step.at for step in steps] == sorted(step.at for step in steps)
    for second, value in enumerate(values):
        state = [step for step in steps if step.at <= second][-1]
        if value >= 120:
            assert state.zone == RED
        elif value < 99:
            assert state.zone == GREEN
            assert state.level == -1
        elif value >= 116:
            assert state.level == 3


class Firmware:
    """Something that announces, on a clock that tests turn."""

    def __init__(self) -> None:
        self.now = 0.0
        self.planned: list[Notification] = []
        self.notifier = Notifier(lambda: self.now, self._due, lambda: float("inf"), None)

    def announce(self, moment: float) -> None:
        self.planned.append(Notification(moment, 1, {}))
        self.now = moment
        self.notifier.poke()

    def _due(self, since: float, until: float) -> list[Notification]:
        return [each for each in self.planned if since < each.at <= until]


@pytest.fixture
def firmware() -> Iterator[Firmware]:
    made = Firmware()
    yield made
    made.notifier.close()


def test_listeners_hear_everything_once_and_in_order(firmware: Firmware) -> None:
    """Each listener hears what is announced while it listens, on one thread that is not the caller's."""
    heard: list[tuple[float, int]] = []
    firmware.announce(1.0)
    stop = firmware.notifier.subscribe(lambda each: heard.append((each.at, threading.get_ident())))
    for moment in (2.0, 3.0):
        firmware.announce(moment)
        wait_for(lambda moment=moment: heard and heard[-1][0] == moment, what="the announcement")  # type: ignore[misc]
    assert [moment for moment, _ in heard] == [2.0, 3.0]
    (thread,) = {thread for _, thread in heard}
    assert thread != threading.get_ident()
    stop()
    stop()


def test_a_listener_that_left_hears_nothing(firmware: Firmware) -> None:
    """Others go on; with the last one gone, a new one starts afresh."""
    left: list[float] = []
    stayed: list[float] = []
    stop = firmware.notifier.subscribe(lambda each: left.append(each.at))
    firmware.notifier.subscribe(lambda each: stayed.append(each.at))
    stop()
    firmware.announce(1.0)
    wait_for(lambda: stayed == [1.0], what="the announcement")
    assert left == []


def test_each_kind_has_its_message() -> None:
    """Identities of HailoRT name the member of the message in which their fields are."""
    bodies = [Notification(0.0, number, {}).body for number in range(11)]
    assert bodies[1] == "health_monitor_temperature_alarm_notification"
    assert bodies[4] == bodies[5] == "health_monitor_lcu_ecc_error_notification"
    assert bodies[10] == "health_monitor_clock_changed_notification"

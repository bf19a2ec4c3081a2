"""Refusals as they are told: all of the first, and of a flood the number."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from hailod.clock import FakeClock
from hailod.control.events import Events
from hailod.control.refusals import BURST, Refusals
from hailod.errors import CommandError
from hailod.mqtt.commands import Origin
from hailod.mqtt.messages import ReplyTo
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics
from tests.support.desk import FakeDesk

TOPICS = Topics("pi")
SET = Origin("set/threshold", "hailod/pi/cam/front/set/threshold", 0.0, None, camera="front")
COMMAND = Origin("ping", "hailod/pi/cmd/ping", 0.0, ReplyTo("hailod/pi/reply/ping"))
ERROR = CommandError("bad_args", "expected a number", field="threshold")


class Heard(Events):
    """Events as they are made, before the outbox paces them."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(TOPICS, clock, Outbox(TOPICS, clock), "e")
        self.details: list[dict[str, Any]] = []

    def node(self, event_type: str, **details: object) -> None:
        assert event_type == "command_failed"
        self.details.append(details)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def heard(clock: FakeClock) -> Heard:
    return Heard(clock)


@pytest.fixture
def refusals(clock: FakeClock, heard: Heard) -> Refusals:
    return Refusals(clock, heard)


def test_each_refusal_is_told_while_they_are_few(refusals: Refusals, heard: Heard) -> None:
    """A refused setting is told by an event, and the settings are said again."""
    desk = FakeDesk()
    for _ in range(3):
        refusals.tell(SET, ERROR, desk)
    assert [details["code"] for details in heard.details] == ["bad_args"] * 3
    assert all("untold" not in details for details in heard.details)
    assert desk.told == 3


def test_a_flood_is_told_by_its_number(refusals: Refusals, heard: Heard, clock: FakeClock) -> None:
    """Of a thousand refusals at once the first are told, and a second later how many there were; none goes missing."""
    desk = FakeDesk()
    for _ in range(1000):
        refusals.tell(SET, ERROR, desk)
    assert len(heard.details) == desk.told == BURST
    clock.advance(1.0)
    refusals.tick(clock.monotonic(), desk)
    assert len(heard.details) + sum(details.get("untold", 0) for details in heard.details) == 1000
    assert desk.told == BURST + 1
    clock.advance(60.0)
    refusals.tick(clock.monotonic(), desk)
    assert len(heard.details) == BURST + 1


def test_the_settings_are_told_again_whatever_was_refused_last(
    refusals: Refusals, heard: Heard, clock: FakeClock
) -> None:
    """A refused setting among others that were only counted jumps back like any other."""
    desk = FakeDesk()
    for _ in range(int(BURST)):
        refusals.tell(COMMAND, ERROR, desk)
    refusals.tell(SET, ERROR, desk)
    refusals.tell(COMMAND, ERROR, desk)
    assert desk.told == 0
    clock.advance(1.0)
    refusals.tick(clock.monotonic(), desk)
    assert desk.told == 1
    assert heard.details[-1]["untold"] == 1


def test_a_flood_does_not_fill_the_log(refusals: Refusals, clock: FakeClock) -> None:
    """The log has a line for each of the first refusals, then one a second with the number of those between."""
    with capture_logs() as lines:
        for _ in range(1000):
            refusals.write("message refused", code="bad_json")
        clock.advance(1.0)
        refusals.write("message refused", code="bad_json")
    assert len(lines) == BURST + 1
    assert lines[-1]["untold"] == 1000 - BURST

"""The page that people open when something breaks names all that can stand in a message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hailod.device.recovery import Rung
from hailod.health import Code, Health
from hailod.mqtt.discovery import NODE_EVENTS

PAGE = (Path(__file__).parents[2] / "docs" / "recovery.md").read_text()
# Commands of later versions, and those that are told where commands are.
ELSEWHERE = {"command_failed", "model_changed", "model_changing", "overloaded", "load_normal", "profile_ready"}


def rows(heading: str) -> dict[str, list[str]]:
    """The table below a heading: the names in its first column, and the other columns."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "| `" in line[:4]
    ]
    return {name: row[1:] for row in cells for name in re.findall(r"`(\w+)`", row[0])}


def test_every_condition_is_explained() -> None:
    """Each code has its row, with the state that it leads to; none is there that does not exist."""
    explained = rows("Health")
    assert explained.keys() == set(Code)
    for code in Code:
        health = Health()
        health.raise_(code, "x", 0.0)
        assert explained[code][0] == health.state.value, code


def test_every_rung_is_explained() -> None:
    """The ladder of the page is the ladder of the code."""
    assert rows("The ladder").keys() == set(Rung)


@pytest.mark.parametrize("event", sorted(set(NODE_EVENTS) - ELSEWHERE))
def test_every_event_of_a_fault_is_named(event: str) -> None:
    """Who writes an automation finds the event's name."""
    assert f"`{event}`" in PAGE

"""The short form of the round trip of a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.roundtrip import measure, questions, stage
from tests.support.broker import mosquitto_path


@pytest.mark.timeout(60)
def test_every_command_is_answered_under_full_load(tmp_path: Path) -> None:
    """With eight cameras that ask more of the device than it can do, every ping and every setting has its answer. How
    long that takes is measured by the long form."""
    mosquitto_path()
    with stage(tmp_path, "loaded", nodelay=True) as standing:
        found = measure(standing, "loaded", nodelay=True, count=5, round_=1)
        assert standing.daemon.stop() == 0
    assert {figures.command for figures in found} == set(questions("cam1"))
    assert [figures.unanswered for figures in found] == [0] * len(found)
    assert all(figures.fps < figures.offered_fps for figures in found)

"""A short soak: thousands of frames, a few faults of every kind, and nothing is left of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.benchmarks.soak import soak
from tests.benchmarks.soaklib.faults import Plan


@pytest.mark.timeout(120)
def test_nothing_grows_and_every_frame_has_its_end(tmp_path: Path) -> None:
    """Through completions that fail, crashes, hangs and garbage the engine keeps its books, and gives back all that it
    took; which the long form (`python -m tests.benchmarks.soak`) shows for millions of frames."""
    plan = Plan(8, 20_000, random.Random(1))
    found = soak(20_000, plan, tmp_path, pauses=5, quiet=True)
    assert found["problems"] == []
    assert found["injected"] == 8
    assert found["in_flight"] == 0

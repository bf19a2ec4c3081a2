"""The short form of swapping models under load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.swap import FAILING, Run, judge, lines, stage
from tests.support.broker import mosquitto_path


@pytest.mark.timeout(120)
def test_a_swap_loses_no_frame_that_the_device_had(tmp_path: Path) -> None:
    """Swaps there and back succeed; a HEF for another chip, a corrupt file and a decoder that does not fit are refused
    by code and undone. The books balance exactly, and no camera goes back to a model that was replaced. What it costs
    is measured by the long form."""
    mosquitto_path()
    with stage(tmp_path, 0.05, ("front", "back")) as standing:
        run = Run(standing)
        sections = [
            run.swaps("swap", ["two", "one"], succeed=True),
            run.swaps("failing", list(FAILING.values()), succeed=False),
        ]
        assert standing.daemon.stop() == 0
    print("\n".join(lines(sections)))
    assert judge(sections) == []
    assert all(swap.gap_ms is not None for swap in sections[0].swaps)
    assert [swap.code for swap in sections[1].swaps] == ["model_incompatible"] * len(FAILING)

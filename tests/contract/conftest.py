"""What the tests of the simulated device share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.simulated import Open, opening
from tests.support.synchronous import OpenSync, opening_sync


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a bench with options of the simulator; closes it afterwards."""
    with opening(tmp_path) as open_bench:
        yield open_bench


@pytest.fixture
def open_group(tmp_path: Path) -> Iterator[OpenSync]:
    """Opens a network group of the synchronous API with options of the simulator; closes it afterwards."""
    with opening_sync(tmp_path) as open_bench:
        yield open_bench

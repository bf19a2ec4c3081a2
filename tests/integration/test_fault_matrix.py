"""The short form of the fault matrix: a dozen faults, each on a daemon of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support.broker import mosquitto_path
from tests.support.rtsp import require_server


@pytest.mark.timeout(240)
def test_every_fault_is_told_and_got_over(tmp_path: Path) -> None:
    """Whatever breaks, the daemon says so, gets over it, tells no empty scene meanwhile, loses no event and ends when
    it is asked to. How long it takes is printed, and judged only by the long form on a machine that is idle."""
    require_server()
    mosquitto_path()
    found = tmp_path / "faults.json"
    # Most of a row is waiting, so that three at a time keep two cores busy.
    options = ["--short", "--no-bounds", "--jobs", "3", "--json", str(found)]
    command = [sys.executable, "-m", "tests.benchmarks.faults", *options]
    table = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    print(table.stdout, table.stderr)
    rows = json.loads(found.read_text())
    assert {row["name"]: row["problems"] for row in rows if not row["passed"]} == {}
    assert len(rows) >= 12
    assert table.returncode == 0

"""The short form of the attack on the control plane."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support.broker import mosquitto_path


@pytest.mark.timeout(120)
def test_hostile_messages_are_answered_and_change_nothing(tmp_path: Path) -> None:
    """Whatever is sent to any control topic gets a coded reply or silence by rule; nothing changes, ends or grows, and
    nothing is said on topics of others. Speed is measured by the long form."""
    mosquitto_path()
    found = tmp_path / "fuzz.json"
    short = [
        "--messages",
        "2500",
        "--wire",
        "500",
        "--paced",
        "10",
        "--seconds",
        "1",
        "--no-bounds",
        "--json",
        str(found),
    ]
    command = [sys.executable, "-m", "tests.benchmarks.fuzz_mqtt", *short]
    table = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    print(table.stdout, table.stderr)
    findings = json.loads(found.read_text())
    assert findings["problems"] == []
    assert findings["in_process"]["messages"] == 2500
    assert findings["daemon"]["accounted"] == 250
    assert findings["daemon"]["flooded"] >= 250
    assert table.returncode == 0

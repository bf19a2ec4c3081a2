"""SIGKILL at any moment: the short form of `tests.benchmarks.kills`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.timeout(180)
def test_no_kill_leaves_half_a_change() -> None:
    """Whenever a writer of settings or the daemon is killed, what was answered is there, whole, and the next start is
    clean."""
    program = [sys.executable, "-m", "tests.benchmarks.kills", "--store", "60", "--daemon", "3"]
    done = subprocess.run(program, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "writers killed" in done.stdout
    assert "daemons killed" in done.stdout

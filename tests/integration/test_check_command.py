"""`hailod check` as a user runs it: a command, a configuration, a broker, and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.broker import Broker, free_port
from tests.support.daemon import SEES_TWO

CONFIG = """
state_dir = "state"
[mqtt]
host = "127.0.0.1"
port = {port}
[device]
backend = "simulated"
[device.simulated]
serial = "check-{pid}"
[models.two]
path = "two.sim.toml"
[cameras.front]
source = "{source}"
open_timeout = 2.0
"""


def check(directory: Path, port: int, source: str) -> subprocess.CompletedProcess[str]:
    file = directory / "hailod.toml"
    file.write_text(CONFIG.format(port=port, source=source, pid=os.getpid()))
    file.chmod(0o600)
    return subprocess.run(
        [sys.executable, "-m", "hailod", "check", "--config", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env={key: value for key, value in os.environ.items() if not key.startswith("HAILOD_")},
    )


def test_all_is_well(tmp_path: Path) -> None:
    """With a broker, a model and a camera that delivers every line is well and so is the exit code."""
    tmp_path.joinpath("two.sim.toml").write_text(SEES_TWO)
    with Broker(tmp_path) as broker:
        done = check(tmp_path, broker.port, "synthetic:")
    lines = done.stdout.splitlines()
    assert [line.split(":")[0].split(maxsplit=1)[1] for line in lines] == [
        "config",
        "broker",
        "device",
        "model two",
        "camera front",
    ]
    assert [line for line in lines if line.startswith("FAIL")] == []
    assert (done.returncode, done.stderr) == (0, "")


def test_all_is_wrong(tmp_path: Path) -> None:
    """Each thing that is wrong has its own line with a remedy, the exit code is 1, and no password is shown."""
    done = check(tmp_path, free_port(), f"rtsp://user:geheim@127.0.0.1:{free_port()}/cam")
    failed = [line.split(":")[0] for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert failed == ["FAIL  broker", "FAIL  model two", "FAIL  camera front"]
    assert done.returncode == 1
    assert "geheim" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr

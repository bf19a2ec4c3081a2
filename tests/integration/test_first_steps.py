"""The mistakes of somebody who writes a first configuration: what `hailod run` and `hailod check` say to them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TEN_LINES = """
[mqtt]
host = "127.0.0.1"
port = 1883
[device]
backend = "simulated"
[models.yolox_nano]
path = "yolox_nano.sim.toml"
[cameras.front]
source = "rtsp://user:geheim@127.0.0.1:8554/cam"
model = "yolox_nano"
"""


def hailod(command: str, config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hailod", command, "--config", config.name],
        cwd=config.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={key: value for key, value in os.environ.items() if not key.startswith("HAILOD_")}
        | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )


@pytest.mark.parametrize(
    ("command", "right", "wrong", "words"),
    [
        ("run", "= 1883", "= localhost:1883", 'not valid TOML at line 4, column 8: .*"quotes"'),
        ("check", "[models.yolox_nano]", "[models.yolox_nano", "not valid TOML at line 7"),
        ("run", "host =", "hots =", "mqtt.hots: unknown key; did you mean host"),
        ("check", "= 1883", "= 188300", "mqtt.port = 188300: must be a whole number from 1 to 65535"),
        ("run", "[cameras.front]", "[camera.front]", "camera: unknown key; did you mean cameras"),
        ("check", "[cameras.front]", '[cameras."Front Door"]', "a name must be 1 to 48 of the characters"),
        ("run", 'model = "yolox_nano"', 'model = "yolox"', r"no model 'yolox' \(known: yolox_nano\)"),
        (
            "check",
            "rtsp://",
            "rtps://",
            r'"rtps://\*\*\*@127.0.0.1:8554/cam": no source of kind .*allowed: a path, rtsp:',
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, command: str, right: str, wrong: str, words: str) -> None:
    """What is wrong is one line with file, key, value and remedy, and exit code 78; never a traceback or a password."""
    config = tmp_path / "hailod.toml"
    assert right in TEN_LINES
    config.write_text(TEN_LINES.replace(right, wrong))
    done = hailod(command, config)
    output = done.stdout + done.stderr
    assert done.returncode == 78
    assert [line for line in output.splitlines() if str(config) not in line] == []
    assert re.search(words, output), output
    assert "geheim" not in output


def test_a_model_that_is_not_there_is_told_with_the_places_looked_at(tmp_path: Path) -> None:
    """A model file is looked for beside the configuration and in the system's folders, and the refusal names them."""
    config = tmp_path / "hailod.toml"
    config.write_text(TEN_LINES)
    # It holds a password, of which a warning would come first.
    config.chmod(0o640)
    done = hailod("run", config)
    assert done.returncode == 78
    assert done.stderr.startswith(f"{config}: models.yolox_nano: ")
    assert f"{tmp_path}/yolox_nano.sim.toml, /usr/share/hailo-models/yolox_nano.sim.toml" in done.stderr


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_configuration_that_is_not_there(tmp_path: Path, command: str) -> None:
    """Without a configuration file nothing is guessed: its path is told, and how to name another."""
    done = hailod(command, tmp_path / "hailod.toml")
    assert done.returncode == 78
    assert f"{tmp_path}/hailod.toml: no such file; name another with --config" in done.stdout + done.stderr

"""The command line: help for newcomers, exit codes for scripts, and no secret on the screen."""

from __future__ import annotations

import argparse
import io
import json
import os
from pathlib import Path

import pytest

from hailod.checks import Status
from hailod.cli import COMMANDS, ctl, load_config, main
from hailod.cli.check import check_camera, check_config, checks
from hailod.cli.device_check import DeviceTrial, check_device, check_model, find_models
from hailod.clock import SystemClock
from hailod.config.load import load
from hailod.config.model import CameraSettings, DeviceSettings, SimulatedSettings
from hailod.mqtt.payloads import Payload
from hailod.version import VERSION

CONFIG = """
[mqtt]
password = "brokerpw"
[device]
backend = "simulated"
[models.m]
path = "m.onnx"
[cameras.front]
source = "rtsp://user:geheim@192.0.2.1/x"
enabled = false
[cameras.test]
source = "synthetic:"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "hailod.toml"
    file.write_text(CONFIG)
    return file


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`hailod --version` says which hailod this is."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hailod {VERSION}\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`hailod --help` says what there is and where to begin, without importing it all."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"    {name}" in out for name in COMMANDS)
    assert "/etc/hailod/hailod.toml" in out


@pytest.mark.parametrize("argv", [[], ["chek"], ["config"], ["config", "show", "--nonsense"]])
def test_wrong_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped command line is exit code 2."""
    assert main(argv) == 2
    assert "usage: hailod" in capsys.readouterr().err


def test_config_show(config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every effective value is shown with its origin, secrets masked."""
    monkeypatch.setenv("HAILOD_LOG_LEVEL", "debug")
    assert main(["config", "show", "--config", str(config)]) == 0
    lines = {line.split("  #")[0].strip(): line.rpartition("  # ")[2] for line in capsys.readouterr().out.splitlines()}
    assert lines['log_level = "debug"'] == "environment HAILOD_LOG_LEVEL"
    assert lines['models.m.path = "m.onnx"'] == f"file {config}"
    assert lines["cameras.test.threshold = 0.5"] == "default"
    assert lines["mqtt.password = ***"] == f"file {config}"
    assert lines['cameras.front.source = "rtsp://***@192.0.2.1/x"'] == f"file {config}"
    assert lines["# mqtt.port is not set"] == "default"


@pytest.mark.parametrize("command", [["config", "show"], ["check"]])
def test_bad_configuration(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration that cannot be used is exit code 78, with every problem in a line of its own."""
    file = tmp_path / "hailod.toml"
    file.write_text("foo = 1\n[mqtt]\nport = 0\n")
    assert main([*command, "--config", str(file)]) == 78
    captured = capsys.readouterr()
    assert "foo: unknown key" in captured.out + captured.err
    assert "mqtt.port = 0: must be" in captured.out + captured.err
    assert "Traceback" not in captured.err


def trial(settings: DeviceSettings) -> DeviceTrial:
    return DeviceTrial(settings, {}, SystemClock())


def test_relative_source_begins_at_the_configuration(tmp_path: Path) -> None:
    """A clip beside the configuration file is found from wherever hailod is started."""
    file = tmp_path / "hailod.toml"
    file.write_text('[cameras.a]\nsource = "clip.mp4"\n[cameras.b]\nsource = "rtsp://h/clip.mp4"\n')
    cameras = load_config(argparse.Namespace(config=file), {}).settings.cameras
    assert cameras["a"].source.get_secret_value() == str(tmp_path / "clip.mp4")
    assert cameras["b"].source.get_secret_value() == "rtsp://h/clip.mp4"


def test_checks_go_through_everything(config: Path) -> None:
    """Configuration, broker, device, every model and every camera are asked for, in this order."""
    subjects = [check.subject for check in checks(load(config, {}), SystemClock())]
    assert subjects == ["config", "broker", "device", "model m", "camera front", "camera test"]


def test_exposed_password(config: Path) -> None:
    """A file that holds a password and that everybody can read is worth a warning with the remedy."""
    config.chmod(0o644)
    result = check_config(load(config, {}))
    assert (result.status, str(config) in result.fix) == (Status.WARN, True)
    config.chmod(0o640)
    assert check_config(load(config, {})).status is Status.OK


def test_nothing_configured(tmp_path: Path) -> None:
    """An empty configuration is valid and says what is missing."""
    file = tmp_path / "hailod.toml"
    file.write_text("")
    result = check_config(load(file, {}))
    assert (result.status, result.fix) == (Status.WARN, "add a [cameras.NAME] table with a source")


def test_device_without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HailoRT's Python package the check fails and names the package to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = check_device(DeviceSettings(), trial(DeviceSettings()))
    assert result.status is Status.FAIL
    assert "apt install" in result.fix


def test_simulated_device_is_said() -> None:
    """A simulated device is never mistaken for a chip."""
    settings = DeviceSettings(backend="simulated", simulated=SimulatedSettings(serial=f"cli-{os.getpid()}"))
    result = check_device(settings, trial(settings))
    assert (result.status, result.text.startswith("simulated")) == (Status.WARN, True)


def test_missing_model(tmp_path: Path) -> None:
    """A model file that is not there fails the check and names the setting."""
    file = tmp_path / "hailod.toml"
    file.write_text('[models.m]\npath = "nowhere.hef"\n')
    plans, problems = find_models(load(file, {}))
    assert plans == {}
    result = check_model("m", None, problems["m"], DeviceSettings(), trial(DeviceSettings()))
    assert (result.status, result.fix) == (Status.FAIL, "correct [models.m]")
    assert "nowhere.hef" in result.text


def test_synthetic_camera() -> None:
    """A camera that delivers is ok with the size of its picture."""
    result = check_camera("test", CameraSettings.model_validate({"source": "synthetic:"}), SystemClock())
    assert result.status is Status.OK
    assert "x" in result.text


def test_missing_camera(tmp_path: Path) -> None:
    """A camera that cannot be opened fails the check and names the setting."""
    settings = CameraSettings.model_validate({"source": str(tmp_path / "nowhere.mp4")})
    result = check_camera("front", settings, SystemClock())
    assert result.status is Status.FAIL
    assert "cameras.front.source" in result.fix


def test_sleeping_camera_that_is_away(free_port: int) -> None:
    """A battery camera that does not answer may be asleep: a warning, no failure."""
    settings = CameraSettings.model_validate({"source": f"http://127.0.0.1:{free_port}/a.jpg", "sleeps": True})
    result = check_camera("front", settings, SystemClock())
    assert result.status is Status.WARN
    assert "wake it" in result.fix


class Called(ctl.Caller):
    """Tells what would have been sent."""

    def __enter__(self) -> Called:
        return self

    def call(self, name: str, args: object, **_: object) -> Payload:
        return {"status": "ok", "data": {"name": name, "args": args}}


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["model.swap", "yolov8m"], {"model": "yolov8m"}),
        (["model.swap", "camera=front", "5"], {"model": "5", "camera": "front"}),
        (["model.remove", "yolov8m"], {"name": "yolov8m"}),
        (["model.add", "m", "path=m.hef"], {"name": "m", "path": "m.hef"}),
        (["camera.add", "yard", "source=rtsp://h/1?a=b"], {"camera": "yard", "source": "rtsp://h/1?a=b"}),
        (["camera.enable", "front"], {"camera": "front"}),
        (["camera.disable", "front"], {"camera": "front"}),
        (["camera.restart", "front"], {"camera": "front"}),
        (["camera.remove", "front"], {"camera": "front"}),
        (["snapshot.take", "front"], {"camera": "front"}),
        (["settings.get", "cameras.front"], {"path": "cameras.front"}),
        (["settings.reset", "cameras.front"], {"path": "cameras.front"}),
        (["settings.reset"], None),
        (["device.restart", "reset", "force=true"], {"mode": "reset", "force": True}),
        (["device.release", "10m"], {"for_s": 600.0}),
        (["profile.capture", "10"], {"duration_s": 10.0}),
        (["no.such", "a.b=1"], {"a.b": 1}),
        (
            [
                "settings.set",
                "cameras.front.threshold=0.6",
                "cameras.front.rotate=90",
                "models.yolov8s.batch_size=4",
                "log_level=debug",
                "pipeline.stale_after=10",
                "privacy=ON",
            ],
            {
                "cameras": {"front": {"threshold": 0.6, "rotate": 90}},
                "models": {"yolov8s": {"batch_size": 4}},
                "node": {"log_level": "debug", "pipeline": {"stale_after": 10}, "privacy": "ON"},
            },
        ),
        (
            ["settings.set", 'node={"model": "m"}', "log_level=debug", 'cameras={"a": {"rotate": 90}}'],
            {"node": {"model": "m", "log_level": "debug"}, "cameras": {"a": {"rotate": 90}}},
        ),
        (
            ["settings.set", "log_level=info", "--json-args", '{"node": {"log_level": "debug", "model": "m"}}'],
            {"node": {"log_level": "info", "model": "m"}},
        ),
    ],
)
def test_ctl_reads_what_people_write(
    words: list[str], sent: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A word alone is the command's first argument, and settings are named by their path."""
    monkeypatch.setattr(ctl, "Caller", Called)
    assert main(["ctl", *words, "--host", "h", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == {"name": words[0], "args": sent}


def test_ctl_reads_a_camera_with_its_password_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A source that holds a password is given where no list of processes shows it."""
    monkeypatch.setattr(ctl, "Caller", Called)
    monkeypatch.setattr("sys.stdin", io.StringIO('{"source": "rtsp://me:geheim@192.0.2.1/1"}'))
    assert main(["ctl", "camera.add", "yard", "--json-args", "-", "--host", "h", "--json"]) == 0
    sent = json.loads(capsys.readouterr().out)["data"]["args"]
    assert sent == {"source": "rtsp://me:geheim@192.0.2.1/1", "camera": "yard"}
    assert main(["ctl", "camera.add", "yard", "source=rtsp://me:geheim@192.0.2.1/1", "--host", "h"]) == 2
    said = capsys.readouterr().err
    assert "--json-args -" in said
    assert "geheim" not in said

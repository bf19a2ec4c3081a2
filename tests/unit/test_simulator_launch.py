"""Which model stands behind a HEF, what a command line asks for, and what is said of one that cannot be followed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import structlog

from hailod.errors import ModelError
from hailod.simulator import runner
from hailod.simulator.launch import SHADOW, VARIABLE, Launch, as_hailort_logs, inherited
from hailod.simulator.standins import MAX_BYTES, StandIns, read_stand_ins


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file that passes for a model until it is opened."""
    path = tmp_path / "yolox_s.onnx"
    path.touch()
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("hef", "named", "name"),
    [
        ("yolov8s.hef", "yolov8s.hef", "yolov8s"),
        ("yolov8s.hef", "/usr/share/hailo-models/yolov8s.hef", "yolov8s"),
        ("yolov8?_h8l.hef", "models/yolov8m_h8l.hef", "yolov8m_h8l"),
        ("/usr/share/*/yolov8s.hef", "/usr/share/hailo-models/yolov8s.hef", "yolov8s"),
        ("*", "anything", "anything"),
    ],
)
def test_stand_in_is_found(model: Path, hef: str, named: str, name: str) -> None:
    """A HEF is known by its file name, or by its whole path where a folder is given, and lends the model its name."""
    assert read_stand_ins([f"{hef}={model}"]).find(named) == (model, name)


@pytest.mark.parametrize(
    ("hef", "named"), [("yolov8s.hef", "YOLOV8S.hef"), ("yolov8s.hef", "yolov8s.hef.bak"), ("/a/x.hef", "/b/x.hef")]
)
def test_other_hefs_stand_for_themselves(model: Path, hef: str, named: str) -> None:
    """A HEF that no stand-in is for is opened itself."""
    assert read_stand_ins([f"{hef}={model}"]).find(named) is None


def test_relative_paths_are_those_of_the_program(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path with a folder is also recognised when the program names it from where it runs."""
    stand_ins = read_stand_ins([f"{model.parent}/hefs/x.hef={model}"])
    monkeypatch.chdir(model.parent)
    assert stand_ins.find("hefs/x.hef") == (model, "x")


def test_map_names_models_from_its_own_folder(model: Path) -> None:
    """Files of a map are looked for beside it; a real HEF keeps the name that it has."""
    real = model.with_name("real.hef")
    real.touch()
    path = written(model.with_name("models.toml"), '[models]\n"a.hef" = "yolox_s.onnx"\n"b.hef" = "real.hef"\n')
    stand_ins = read_stand_ins([str(path)])
    assert [stand_ins.find(name) for name in ("a.hef", "b.hef", "c.hef")] == [
        (model, "a"),
        (real, None),
        None,
    ]


def test_first_match_counts(model: Path) -> None:
    """Of several that match, the stand-in that was named first is meant."""
    other = model.with_name("other.onnx")
    other.touch()
    stand_ins = read_stand_ins([f"yolo*.hef={model}", str(other)])
    assert stand_ins.find("yolov8s.hef") == (model, "yolov8s")
    assert stand_ins.find("resnet.hef") == (other, "resnet")


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("yolov8s.hef=missing.onnx", "'missing.onnx' is no file"),
        ("yolov8s.hef={folder}/model.pt", "model.pt' is no model; allowed are .onnx"),
        ("yolov8s.hef=", "is no model"),
        ("={model}", "hef = '': String should have at least 1 character"),
        ("model.pt", "expected NAME.hef=MODEL"),
        ("missing.toml", "missing.toml: cannot be read: No such file or directory"),
        ("{folder}/broken.toml", "broken.toml: not TOML"),
        ("{folder}/binary.toml", "binary.toml: not TOML"),
        ("{folder}/other.toml", "other.toml: models = "),
        ("{folder}/extra.toml", "models.a.hef = {'file': 'yolox_s.onnx'}"),
        ("{folder}/huge.toml", "larger than 65536 bytes"),
        ("{folder}/deep.toml", "deep.toml: "),
    ],
)
def test_stand_in_that_cannot_be_is_explained(model: Path, argument: str, complaint: str) -> None:
    """What is wrong with a stand-in is said together with where it stands."""
    folder = model.parent
    for name, text in {
        "broken": "[models",
        "other": "[networks]\n",
        "extra": '[models]\n"a.hef" = { file = "yolox_s.onnx" }\n',
        "huge": "#" * (MAX_BYTES + 1),
        "deep": "models = " + "[" * 5000,
    }.items():
        written(folder / f"{name}.toml", text)
    (folder / "binary.toml").write_bytes(b"\xff\xfe")
    (folder / "model.pt").touch()
    with pytest.raises(ModelError) as raised:
        read_stand_ins([argument.format(folder=folder, model=model)])
    assert complaint in str(raised.value)


def asked(*arguments: str) -> tuple[list[str], dict[str, str]]:
    """The command that the runner becomes, and its environment."""
    became: list[tuple[str, list[str], dict[str, str]]] = []
    runner.main(arguments, lambda *what: became.append(what))
    ((path, command, environment),) = became
    assert path == command[0] == sys.executable
    return command, environment


def test_runner_becomes_the_program(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that follows the script is the script's, and its environment says what to simulate."""
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-X", "dev", "-m", "hailod.simulator", "--device", "x"])
    monkeypatch.setattr(sys, "argv", ["__main__.py", "--device", "x"])
    command, environment = asked("--device", "hailo8l", "--model", str(model), "detect.py", "--device", "0", "-m", "b")
    assert command[1:] == ["-X", "dev", "detect.py", "--device", "0", "-m", "b"]
    assert environment["PYTHONPATH"] == f"{SHADOW}{os.pathsep}/elsewhere"
    launch = Launch.model_validate_json(environment[VARIABLE])
    assert launch.options().arch == "hailo8l"
    assert StandIns(launch.models).find("a.hef") == (model, "a")


def test_runner_runs_modules() -> None:
    """`-m` runs a module as `python -m` does, so that a test suite is run on the simulator."""
    command, environment = asked("--serial", "ci-1", "-m", "pytest", "-x", "--", "tests")
    assert command[-5:] == ["-m", "pytest", "-x", "--", "tests"]
    assert Launch.model_validate_json(environment[VARIABLE]).options().serial == "ci-1"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "a script is needed"),
        (["--device", "hailo9", "x.py"], "hailo9"),
        (["--device", "yolov8z@hailo8l", "x.py"], "near matches: yolov8"),
        (["--serial", "a/b", "x.py"], "serial = 'a/b'"),
        (["--profile", "3.0", "x.py"], "profile = '3.0'"),
        (["--model", "nothing.onnx", "x.py"], "'nothing.onnx' is no file"),
        (["--faults", "nothing.toml", "x.py"], "nothing.toml: No such file or directory"),
        (["--dev", "hailo8", "x.py"], "unrecognized arguments: --dev"),
    ],
)
def test_command_line_that_cannot_be_followed(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be simulated is said before the program starts, with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        asked(*arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("value", [None, "{", '{"colour": 1}'])
def test_environment_without_a_launch_is_a_missing_library(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child whose environment lost what to simulate fails to import, rather than run on a device nobody asked for."""
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ImportError, match=VARIABLE):
        inherited()


@pytest.mark.parametrize(("wanted", "said"), [(None, True), ("warning", True), ("nonsense", True), ("critical", False)])
def test_log_lines_look_like_hailorts(wanted: str | None, said: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the simulated library has to say is written as HailoRT does, and silenced by the same variable."""
    monkeypatch.delenv("HAILORT_CONSOLE_LOGGER_LEVEL", raising=False)
    if wanted is not None:
        monkeypatch.setenv("HAILORT_CONSOLE_LOGGER_LEVEL", wanted)
    event = {"event": "not a HEF", "level": "error", "path": "x.hef"}
    if said:
        assert as_hailort_logs(None, "error", event) == "[HailoRT] [error] not a HEF path=x.hef"
    else:
        with pytest.raises(structlog.DropEvent):
            as_hailort_logs(None, "error", event)

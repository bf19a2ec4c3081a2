"""`hailod models inspect`: what people and programs are told of a HEF."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hailod.cli import main
from hailod.models.hef import read_hef
from hailod.models.hef.report import document, lines
from tests.support.hef_encoder import HAILO8L, NHCW, NMS, CoreNms, File, Group, HostNms, Tensor, detector, encode_hef
from tests.support.hef_mutations import models


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "yolov8s.hef"
    file.write_bytes(encode_hef(detector(), file=File(hw_arch=HAILO8L)))
    return file


def test_people_read_what_matters(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The plain form has chip, compiler, hash, sizes, contexts, inputs, outputs, thresholds, and what to mind."""
    assert main(["models", "inspect", str(path)]) == 0
    out = capsys.readouterr().out
    for part in (
        str(path),
        "compiled for  Hailo-8L, by compiler 3.33.0 on 2023-11-14",
        "runs on       hailo8l, hailo8*, hailo8r*",
        "needs         HailoRT 4.21 or later",
        "xxh3-64",
        "is right",
        "yolov8s: one context; its slowest part does 100 FPS",
        "takes       yolov8s/input_layer1: 640x640x3 UINT8 NHWC, real = (q - 0) * 1",
        "gives       yolov8s/yolov8_nms_postprocess: FLOAT32 NMS_BY_CLASS",
        "yolov8 NMS on the host: 80 classes, at most 100 of each, score 0.2, IoU 0.7",
        "mind          on hailo8: compiled for a smaller chip",
    ):
        assert part in out


def test_programs_get_a_stable_document(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints one document with the documented keys."""
    assert main(["models", "inspect", "--json", str(path)]) == 0
    read = json.loads(capsys.readouterr().out)
    assert sorted(read) == [
        "architecture",
        "chips",
        "compiled_at",
        "compiler",
        "extensions",
        "format_version",
        "hailort",
        "json_version",
        "network_groups",
        "path",
        "resources",
        "signature",
        "sizes",
        "warnings",
    ]
    assert (read["json_version"], read["hailort"]) == (1, {"minimum": "4.21", "major": 4})
    assert read["chips"][0] == {"name": "hailo8l", "note": ""}
    (output,) = read["network_groups"][0]["output_vstreams"]
    assert (output["order"], output["type"], output["shape"]) == ("HAILO_NMS_BY_CLASS", "FLOAT32", None)
    assert output["nms"]["score_threshold"] == 0.2


@pytest.mark.parametrize("name", models())
def test_every_model_can_be_told(name: str) -> None:
    """Whatever a file holds, both forms say it, and JSON has no number that it does not know."""
    groups, file = models()[name]
    hef = read_hef(encode_hef(*groups, file=file))
    assert all(line.isprintable() for line in lines(hef))
    assert json.loads(json.dumps(document(hef), allow_nan=False))["format_version"] == file.version


def test_hostile_values_are_tamed() -> None:
    """Names cannot move the cursor, numbers that are none are null, and a date beyond all calendars is left out."""
    tensor = Tensor("m/\x1b[2J", (4, 4, 8), NHCW, scale=float("nan"))
    group = Group("m", [Tensor("m/in", (8, 8, 3))], [tensor], bottleneck_fps=float("inf"))
    hef = read_hef(encode_hef(group, file=File(timestamp=1 << 62)))
    said = "\n".join(lines(hef))
    assert "\x1b" not in said
    assert "m/\\x1b[2J" in said
    assert " on 2" not in said.splitlines()[0]
    read = document(hef)["network_groups"][0]
    assert read["bottleneck_fps"] is None
    assert read["output_vstreams"][0]["quantisation"]["scale"] == [None]


def test_plain_form_of_other_outputs() -> None:
    """NMS on the core, boxes without NMS, masks, scales by feature and files within are told in words of their own."""
    core = Tensor("m/nms", (0, 0, 0), NMS, 2, core_nms=CoreNms(80, 20), context=1)
    head = Tensor("m/conv1", (4, 4, 2), NHCW, scales=(0.5, 0.25), zero_points=(1.0, 2.0))
    boxes = HostNms("m/boxes", boxes_only=True, takes=("m/conv1",))
    group = Group("m", [], [core, head], [boxes], contexts=2)
    said = "\n".join(lines(read_hef(encode_hef(group, file=File(resources=[("vocabulary", 2_000_000)])))))
    assert "NMS on the neural core: 80 classes, at most 20 of each" in said
    assert "yolov8 boxes decoded on the host, NMS left to you" in said
    assert "holds vocabulary, 2.0 MB" in said
    assert "2 contexts" in said
    assert "undefined" in said
    raw = "\n".join(lines(read_hef(encode_hef(Group("m", [], [head])))))
    assert "4x4x2 UINT8 NHWC, quantised by feature" in raw


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot open: No such file or directory; check its name"),
        (b"", "the file ends too early; give a HEF file"),
        (b"MZ" + bytes(60), "no HEF: it begins with 4d5a0000"),
        (encode_hef(detector(size=64))[:-1], "truncated or damaged (at byte 8); copy or download it again"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(
    content: bytes | None, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be read gives exit code 1 and one line: which file, what is wrong and what to do."""
    path = tmp_path / "m.hef"
    if content is not None:
        path.write_bytes(content)
    assert main(["models", "inspect", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"hailod: {path}: ")
    assert what in captured.err
    assert captured.err.count("\n") == 1

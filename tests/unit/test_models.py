"""Model files, manifests, the catalogue and labels."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from hailod.config.model import ModelSettings
from hailod.errors import ModelError
from hailod.models import catalogue
from hailod.models.catalogue import apply_settings, find_model, resolve_manifest
from hailod.models.labels import MAX_LABELS, MAX_LENGTH, read_labels
from hailod.models.manifest import Manifest

DATA = Path(catalogue.__file__).with_name("catalogue")


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_the_manifest_beside_the_model_wins(tmp_path: Path) -> None:
    """A `<stem>.toml` beside a known model replaces the catalogue's entry."""
    write(tmp_path / "yolov8s.toml", 'labels = ["cat", "dog"]\nalign = "top_left"\n')
    manifest = resolve_manifest(tmp_path / "yolov8s.hef")
    assert (manifest.labels, manifest.align) == (("cat", "dog"), "top_left")


def test_a_simulated_model_is_its_own_manifest(tmp_path: Path) -> None:
    """A `.sim.toml` file describes itself."""
    model = write(tmp_path / "fast.sim.toml", '[simulator]\npreset = "yolov8s@hailo8"\ninput = [640, 640]\n')
    assert resolve_manifest(model).simulator.preset == "yolov8s@hailo8"


def test_labels_may_lie_in_a_file_beside_the_manifest(tmp_path: Path) -> None:
    """A manifest may name its label file instead of listing the labels."""
    write(tmp_path / "names.txt", "cat\ndog\n")
    write(tmp_path / "pets.toml", 'labels = "names.txt"\n')
    assert resolve_manifest(tmp_path / "pets.hef").labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("stem", "classes", "resize", "align"),
    [
        ("yolov8s_h8l", 80, "letterbox", "center"),
        ("yolov8s_h8", 80, "letterbox", "center"),
        ("yolov8m_h10", 80, "letterbox", "center"),
        ("yolov6n", 80, "letterbox", "center"),
        ("yolov6n_h8l", 80, "letterbox", "center"),
        ("yolox_s_leaky_h8l_rpi", 80, "letterbox", "top_left"),
        ("yolov5s_personface_h8l", 2, "letterbox", "center"),
        ("ssd_mobilenet_v1", 90, "stretch", "center"),
        ("yolox_nano", 80, "letterbox", "top_left"),
    ],
)
def test_the_catalogue_knows_the_common_models(stem: str, classes: int, resize: str, align: str) -> None:
    """The models people have from the Model Zoo and from Raspberry Pi need no manifest."""
    manifest = resolve_manifest(Path("/nowhere") / f"{stem}.hef")
    assert (len(manifest.labels), manifest.resize, manifest.align) == (classes, resize, align)


@pytest.mark.parametrize("stem", ["yolov8s_pose_h8", "yolov5n_seg_h8", "my_own_yolo"])
def test_the_catalogue_claims_nothing_it_does_not_know(stem: str) -> None:
    """Other tasks of the same family, and unknown models, get the defaults."""
    assert resolve_manifest(Path("/nowhere") / f"{stem}.hef") == Manifest()


def test_the_longest_pattern_wins() -> None:
    """`yolox_nano*` is nearer to the ONNX export than `yolox_*`."""
    assert resolve_manifest(Path("/nowhere/YOLOX_nano.onnx")).simulator.channels == "bgr"
    assert resolve_manifest(Path("/nowhere/yolox_s.onnx")).simulator.channels == "rgb"


def test_every_catalogue_file_is_valid() -> None:
    """Each entry has patterns and reads as a manifest."""
    files = sorted(DATA.glob("*.toml"))
    assert files
    for file in files:
        patterns = tomllib.loads(file.read_text())["match"]
        assert patterns
        stem = patterns[0].replace("*", "").replace("[12]", "1").replace("[nsm]", "s").replace("[nsmlx]", "s")
        assert resolve_manifest(Path("/nowhere") / f"{stem}.hef").labels


def test_coco_labels_are_in_order() -> None:
    """The class numbers that models report mean what COCO says; the 90 ids have their gaps."""
    eighty, ninety = read_labels(DATA / "coco80.txt"), read_labels(DATA / "coco90.txt")
    assert (len(eighty), eighty[0], eighty[15], eighty[79]) == (80, "person", "cat", "toothbrush")
    assert [ninety.index(label) + 1 for label in ("person", "stop sign", "cat", "backpack", "tv", "toothbrush")] == [
        1,
        13,
        17,
        27,
        72,
        90,
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('resize = "crop"', "resize = 'crop': Input should be 'letterbox' or 'stretch'"),
        ("pad = 300", "pad = 300: Input should be less than or equal to 255"),
        ('colour = "red"', "colour: unknown key (allowed: decoder, labels, resize"),
        ("[simulator]\nspeed = 3", "simulator.speed: unknown key (allowed: channels, mean"),
        ("pad = = 3", "not TOML"),
        ("labels = 3", "labels = 3"),
        ('labels = "../../etc/passwd"', "the name of a file beside this one"),
        ('labels = ["ok", "bad\\u0007"]', "label 2"),
        ("a = " + "[" * 30_000, "nested too deeply"),
        (b"pad = 1 # \xff", "not UTF-8"),
        ("#" * (64 * 1024 + 1), "larger than 65536 bytes"),
    ],
)
def test_bad_manifests_are_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    """A manifest that cannot be used is refused with file, key, value and what is allowed."""
    file = write(tmp_path / "model.toml", content)
    with pytest.raises(ModelError) as refusal:
        resolve_manifest(tmp_path / "model.hef")
    assert str(file) in str(refusal.value)
    assert said in str(refusal.value)


def test_the_users_table_has_the_last_word(tmp_path: Path) -> None:
    """What `[models.NAME]` says replaces the manifest's word; what it leaves out stays."""
    manifest = resolve_manifest(Path("/nowhere/yolox_nano.onnx"))
    settings = ModelSettings(path=Path("x.onnx"), decoder="yolox", labels=["a"], resize="stretch", pad=0)
    applied = apply_settings(manifest, settings, tmp_path)
    assert (applied.decoder, applied.labels, applied.resize, applied.pad) == ("yolox", ("a",), "stretch", 0)
    assert (applied.align, applied.simulator) == (manifest.align, manifest.simulator)
    assert apply_settings(manifest, ModelSettings(path=Path("x.onnx"))) == manifest


def test_the_users_label_file_lies_beside_the_configuration(tmp_path: Path) -> None:
    """A relative label file is looked up from the folder of the configuration."""
    write(tmp_path / "names.txt", "\ufeffcat\r\nhot dog\r\n\n")
    settings = ModelSettings(path=Path("x.onnx"), labels=Path("names.txt"))
    assert apply_settings(Manifest(), settings, tmp_path).labels == ("cat", "hot dog")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"cat\n\ndog\n", "label 2"),
        (b"", "label 1"),
        (b"x" * (MAX_LENGTH + 1), "label 1"),
        (b"cat\n\x1b[31mdog", "label 2"),
        (b"caf\xe9", "not UTF-8"),
        (b"a\n" * (MAX_LABELS + 1), f"{MAX_LABELS + 1} labels"),
        (b"x" * 2_000_000, "larger than"),
    ],
)
def test_bad_label_files_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """Labels reach topics, logs and screens: they are few, short and printable, or refused."""
    with pytest.raises(ModelError, match=said):
        read_labels(write(tmp_path / "labels.txt", content))


def test_a_pipe_is_no_label_file(tmp_path: Path) -> None:
    """What could be read for ever is refused at once."""
    os.mkfifo(tmp_path / "labels.txt")
    with pytest.raises(ModelError, match="no such file"):
        read_labels(tmp_path / "labels.txt")


def test_models_are_found_beside_the_configuration_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is looked up from the configuration's folder, then in the folders of the system."""
    system, here = tmp_path / "system", tmp_path / "etc"
    system.mkdir()
    here.mkdir()
    monkeypatch.setattr(catalogue, "MODEL_DIRS", (system,))
    installed = write(system / "a.hef", b"")
    assert find_model(Path("a.hef"), here) == installed
    own = write(here / "a.hef", b"")
    assert find_model(Path("a.hef"), here) == own
    assert find_model(installed, here) == installed
    fetched = tmp_path / "state" / "models"
    fetched.mkdir(parents=True)
    there = write(fetched / "b.hef", b"")
    assert find_model(Path("b.hef"), here, tmp_path / "state") == there


def test_a_missing_model_is_refused_with_the_places(tmp_path: Path) -> None:
    """The message names what was looked for and every place that was tried."""
    with pytest.raises(ModelError) as refusal:
        find_model(Path("nothing.hef"), tmp_path)
    for place in (tmp_path, *catalogue.MODEL_DIRS):
        assert str(place / "nothing.hef") in str(refusal.value)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    """A path that is no file is refused."""
    with pytest.raises(ModelError, match="is no file"):
        find_model(tmp_path, tmp_path)

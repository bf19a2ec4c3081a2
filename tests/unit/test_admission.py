"""Which files may become models: those that lie where models lie, and are what they say they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hailod import app
from hailod.config.model import Settings
from hailod.errors import CommandError, HailodError, ModelError
from hailod.models.admission import admit
from hailod.mqtt.commands import ModelAdd
from tests.support.models import sees_two

SEES_TWO = sees_two(64, 96)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    models.mkdir()
    (models / "two.sim.toml").write_text(SEES_TWO)
    (models / "broken.hef").write_bytes(b"\x01HEF" + b"\0" * 100)
    (models / "words.txt").write_text("hello")
    (tmp_path / "secret.sim.toml").write_text(SEES_TWO)
    (models / "link.sim.toml").symlink_to(tmp_path / "secret.sim.toml")
    (models / "inner.sim.toml").symlink_to(models / "two.sim.toml")
    return models


def code_of(path: str, folder: Path, sha256: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        admit(Path(path), (folder,), "hailo8", sha256)
    return str(getattr(caught.value, "code", "model_incompatible"))


def test_model_is_found_at_its_real_place(folder: Path) -> None:
    """By its name or its whole path, and through a link that stays within."""
    real = (folder / "two.sim.toml").resolve()
    digest = hashlib.sha256(SEES_TWO.encode()).hexdigest()
    for path in ("two.sim.toml", str(real), "inner.sim.toml"):
        assert admit(Path(path), (Path("/nowhere"), folder), "hailo8", digest) == real


@pytest.mark.parametrize(
    "path",
    ["../secret.sim.toml", "link.sim.toml", "/etc/passwd", "/etc/shadow", ".", "", "none.hef", "a\0b", "x" * 5000],
)
def test_nothing_outside_is_looked_at(folder: Path, path: str) -> None:
    """Whatever lies elsewhere, is linked to from here or is not there gets one and the same answer."""
    assert code_of(path, folder) == "model_not_found"


@pytest.mark.parametrize("path", ["broken.hef", "words.txt"])
def test_what_is_no_model_is_refused(folder: Path, path: str) -> None:
    """A damaged HEF and a file of another kind are no models."""
    assert code_of(path, folder) == "model_incompatible"


def test_other_hash_is_refused(folder: Path) -> None:
    """A file that is not the one that was meant is not taken."""
    assert code_of("two.sim.toml", folder, "0" * 64) == "model_incompatible"


def test_download_is_verified_like_any_file(folder: Path) -> None:
    """What was downloaded is read as if it had always been there: the right hash alone makes no model of it."""
    digest = hashlib.sha256((folder / "broken.hef").read_bytes()).hexdigest()
    wish = ModelAdd(name="two", url="https://models.example/broken.hef", sha256=digest)
    settings = Settings(state_dir=folder.parent, models_hosts=["models.example"])
    with pytest.raises(ModelError, match="truncated or damaged"):
        app.find_added(settings, wish, None)


@pytest.mark.parametrize("hosts", [[], ["elsewhere.example"]])
def test_download_needs_a_host_that_is_allowed(folder: Path, hosts: list[str]) -> None:
    """Without a list of hosts nothing is downloaded, and with one only from those."""
    wish = ModelAdd(name="two", url="https://models.example/two.hef", sha256="0" * 64)
    with pytest.raises(HailodError) as refused:
        app.find_added(Settings(state_dir=folder.parent, models_hosts=hosts), wish, None)
    assert getattr(refused.value, "code", None) == "forbidden"
    assert not (folder / "two.hef").exists()


def test_download_needs_its_hash(folder: Path) -> None:
    """What could be anything is not downloaded."""
    wish = ModelAdd(name="two", url="https://models.example/two.hef")
    with pytest.raises(CommandError, match="sha256"):
        app.find_added(Settings(state_dir=folder.parent, models_hosts=["models.example"]), wish, None)

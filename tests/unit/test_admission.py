"""Which files may become models: those that lie where models lie, and are what they say they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hailod import app
from hailod.errors import CommandError, ModelError
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
    """What was downloaded is read as if it had always been there; without a way to download there is a refusal."""
    wish = ModelAdd(name="two", url="https://h/two.sim.toml", sha256=hashlib.sha256(SEES_TWO.encode()).hexdigest())
    asked: list[tuple[str, str, Path]] = []

    def fetch(url: str, sha256: str, directory: Path) -> Path:
        asked.append((url, sha256, directory))
        return directory / "two.sim.toml"

    state = folder.parent
    assert app.find_added(state, fetch, wish, None) == (folder / "two.sim.toml").resolve()
    assert asked == [("https://h/two.sim.toml", wish.sha256, folder)]
    with pytest.raises(CommandError) as caught:
        app.find_added(state, None, wish, None)
    assert caught.value.code == "forbidden"

"""The broker's password from a file, and what is said of files that others can read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hailod.cli import main
from hailod.config import files
from hailod.config.load import load
from hailod.errors import ConfigError

SECRET = "p%w!#@ ü:/?"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "hailod.toml"
    file.write_text('[mqtt]\npassword_file = "broker.password"\n')
    file.chmod(0o600)
    return file


def write(config: Path, content: str | bytes, mode: int = 0o600) -> Path:
    file = config.parent / "broker.password"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    file.chmod(mode)
    return file


def refusal(config: Path, env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(config, env or {})
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_password_comes_from_its_file(config: Path, end: str) -> None:
    """The one line of the file is the password, whatever it is made of, and `config show` can say where it is from."""
    file = write(config, SECRET + end)
    loaded = load(config, {})
    assert loaded.settings.mqtt.password is not None
    assert loaded.settings.mqtt.password.get_secret_value() == SECRET
    assert str(loaded.provenance["mqtt.password"]) == f"password file {file}"
    assert SECRET not in repr(loaded)


@pytest.mark.parametrize("mode", [0o604, 0o660, 0o644, 0o610, 0o601, 0o602])
def test_file_of_others_is_refused(config: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that others can read or change is not used, and the message holds the command that mends it."""
    monkeypatch.setattr(files, "_own_groups", set)
    file = write(config, SECRET, mode)
    assert f"run: chmod 600 {file}" in refusal(config)
    assert "mqtt.password_file" in refusal(config)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root owns files of root")
def test_file_of_root_and_our_group(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """root:hailod with mode 640 is as good as a file of one's own; in another group, or of another owner, it is not."""
    monkeypatch.setattr(files, "_own_groups", lambda: {4711})
    file = write(config, SECRET, 0o640)
    os.chown(file, 0, 4711)
    assert load(config, {}).settings.mqtt.password is not None
    for owner, group in ((0, 4712), (4711, 4711)):
        os.chown(file, owner, group)
        assert "chmod 600" in refusal(config)


def test_what_is_no_password_file(config: Path) -> None:
    """What is missing, a link, a folder, a FIFO, empty, too large, of several lines or binary is told as such."""
    file = config.parent / "broker.password"
    assert "no such file" in refusal(config)
    real = write(config, SECRET).rename(config.parent / "real")
    file.symlink_to(real)
    assert "symbolic link" in refusal(config)
    file.unlink()
    os.mkfifo(file)
    assert "regular file" in refusal(config)
    file.unlink()
    file.mkdir()
    assert "regular file" in refusal(config)
    file.rmdir()
    for content, word in (
        ("", "empty"),
        ("\n", "empty"),
        (f"{SECRET}\n{SECRET}\n", "more than the one line"),
        ("x" * 5000, "larger than"),
        (b"\xff\xfe", "UTF-8"),
    ):
        write(config, content)
        assert word in refusal(config), content


def test_password_has_one_place(config: Path) -> None:
    """A password beside a file of one is refused: which of them is meant?"""
    write(config, SECRET)
    message = refusal(config, {"HAILOD_MQTT__PASSWORD": SECRET})
    assert "HAILOD_MQTT__PASSWORD" in message
    assert "remove one of the two" in message


def test_readable_file_with_a_password_is_noted(config: Path) -> None:
    """A configuration that holds a password and that everybody can read gives a note for the log, with the remedy."""
    for text in ('[mqtt]\npassword = "geheim"\n', '[cameras.a]\nsource = "rtsp://a:geheim@192.0.2.1/"\n'):
        config.write_text(text)
        config.chmod(0o644)
        (note,) = load(config, {}).notes
        assert f"chmod 640 {config}" in note
        assert "geheim" not in note
        config.chmod(0o640)
        assert load(config, {}).notes == ()


def test_check_tells_the_remedy(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`hailod check` fails for a password file that others can read, with the command that mends it."""
    file = write(config, SECRET, 0o604)
    assert main(["check", "--config", str(config)]) == 78
    said = capsys.readouterr().out
    assert said.startswith("FAIL  config:")
    assert f"chmod 600 {file}" in said
    assert SECRET not in said

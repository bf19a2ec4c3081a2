"""The commented default file: what a new user reads first must be complete and true."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from hailod.config.diff import ANY_NAME, flatten, leaves
from hailod.config.load import load
from hailod.config.model import CameraSettings, ModelSettings, Settings, TlsSettings

DEFAULT_FILE = Path(__file__).parents[2] / "etc" / "hailod.toml"

# Settings without a default, and those whose default depends on the machine: the file shows an example.
EXAMPLES = {("node",), ("models", ANY_NAME, "path"), ("cameras", ANY_NAME, "source")}


@pytest.fixture
def uncommented() -> str:
    return re.sub(r"^#(?=[a-z\[])", "", DEFAULT_FILE.read_text(), flags=re.MULTILINE)


def general(path: tuple[str, ...]) -> tuple[str, ...]:
    return (path[0], ANY_NAME, *path[2:]) if path[0] in {"models", "cameras"} else path


def defaults() -> dict[tuple[str, ...], Any]:
    found = dict(flatten(Settings()))
    found |= dict(flatten(TlsSettings(), ("mqtt", "tls")))
    found |= dict(flatten(ModelSettings(path=Path("x")), ("models", ANY_NAME)))
    found |= dict(flatten(CameraSettings(source=SecretStr("x")), ("cameras", ANY_NAME)))
    return found


def written(table: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from written(value, (*path, key))
        else:
            yield general((*path, key))


def test_default_file_is_all_defaults() -> None:
    """The file as shipped changes nothing and is accepted."""
    assert load(DEFAULT_FILE, {}).settings == Settings()


def test_default_file_names_every_setting(uncommented: str) -> None:
    """Every setting there is stands in the file, and no other."""
    assert set(written(tomllib.loads(uncommented))) == set(leaves(Settings))


def test_default_file_tells_the_defaults(uncommented: str, tmp_path: Path) -> None:
    """A commented-out value is the default that is in effect, and every example is valid."""
    file = tmp_path / "hailod.toml"
    # A password and a file that holds one exclude each other.
    file.write_text(re.sub(r"^password_file = .*$", "", uncommented, flags=re.MULTILINE))
    expected = defaults()
    for path, value in flatten(load(file, {}).settings):
        key = general(path)
        if key not in EXAMPLES and expected[key] is not None:
            assert value == expected[key], ".".join(path)

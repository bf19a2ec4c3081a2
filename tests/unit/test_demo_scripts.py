"""`hailod demo NAME`: the demos that are offered."""

from __future__ import annotations

from pathlib import Path

import pytest

from hailod import cli
from hailod.demo import scripts
from tests.conftest import REPOSITORY

SCRIPT = '''
"""Waves."""

ABOUT = "waves at everybody"


def run(stage):
    stage.say("hello")
'''


def test_a_file_is_a_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A file put beside the others is offered under its name, with nothing else to change."""
    (tmp_path / "wave.py").write_text(SCRIPT)
    monkeypatch.setattr(scripts, "__path__", [*scripts.__path__, str(tmp_path)])
    assert cli.main(["demo", "--list"]) == 0
    assert "  wave    waves at everybody" in capsys.readouterr().out


def test_an_unknown_demo_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none gets exit code 2 and the names to choose from."""
    assert cli.main(["demo", "sawp"]) == 2
    error = capsys.readouterr().err
    assert "sawp" in error
    assert all(name in error for name in scripts.scripts())


@pytest.mark.parametrize("name", scripts.scripts())
def test_each_is_documented(name: str) -> None:
    """Every demo says what it shows, and the page about the demos names it."""
    assert len(scripts.scripts()[name].ABOUT) > 20
    page = (REPOSITORY / "docs" / "demo.md").read_text()
    assert name == scripts.DEFAULT or f"NAME={name}" in page

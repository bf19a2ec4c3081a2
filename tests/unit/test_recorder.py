"""The thread that keeps a small file of the state directory up to date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hailod.clock import SystemClock
from hailod.config.store import StateFile
from hailod.control.recorder import Recorder


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def recorder(directory: Path) -> Iterator[Recorder]:
    recorder = Recorder(StateFile(directory, "record.json"), SystemClock())
    assert recorder.read(100) is None
    recorder.start(None)
    yield recorder
    recorder.stop(10.0)


def test_newest_content_gets_to_the_disk(recorder: Recorder, directory: Path) -> None:
    """What was put last is in the file when the recorder has settled, and nothing else is in the folder."""
    for number in range(50):
        recorder.put(f"content {number}".encode())
    assert recorder.settle(10.0)
    assert recorder.settled
    assert recorder.read(100) == "content 49"
    assert [file.name for file in directory.iterdir()] == ["record.json"]


def test_end_waits_for_the_last_content(recorder: Recorder, directory: Path) -> None:
    """What was put before the end is written."""
    recorder.put(b"the last word")
    assert recorder.stop(10.0)
    assert (directory / "record.json").read_bytes() == b"the last word"


def test_disk_that_refuses_is_told_once_and_tried_again(tmp_path: Path) -> None:
    """A folder that cannot be used is said in the log once; with the next content it is tried again."""
    directory = tmp_path / "gone" / "state"
    recorder = Recorder(StateFile(directory, "record.json"), SystemClock())
    with capture_logs() as logs:
        recorder.start(None)
        for content in (b"one", b"two"):
            recorder.put(content)
            assert recorder.settle(10.0)
        assert [(entry["event"], entry["log_level"]) for entry in logs] == [("record not written", "warning")]
        directory.parent.mkdir()
        recorder.put(b"two")
        assert recorder.settle(10.0)
        assert recorder.read(100) == "two"
        assert recorder.stop(10.0)


def test_known_content_is_not_written(tmp_path: Path) -> None:
    """A start that finds everything as it was leaves the disk alone."""
    recorder = Recorder(StateFile(tmp_path / "state", "record.json"), SystemClock())
    recorder.start(b"as it was")
    recorder.put(b"as it was")
    assert recorder.stop(10.0)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("kind", ["link", "folder", "large", "binary"])
def test_file_of_another_kind_is_left_out(directory: Path, recorder: Recorder, kind: str) -> None:
    """A link, a folder, or what is too large or no text is not read; the log says so."""
    directory.mkdir()
    place = directory / "record.json"
    if kind == "link":
        (directory / "other").write_text("{}")
        place.symlink_to(directory / "other")
    elif kind == "folder":
        place.mkdir()
    else:
        place.write_bytes(b"x" * 1000 if kind == "large" else b"\xff\xfe")
    with capture_logs() as logs:
        assert recorder.read(100) is None
    assert [entry["event"] for entry in logs] == ["record left out"]

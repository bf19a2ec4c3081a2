"""Which chips run a HEF, which HailoRT it takes, and what is said about it."""

from __future__ import annotations

import pytest

from hailod.models.hef import Hef, read_hef
from tests.support.hef_encoder import File, describe, detector, encode_hef, message, number, sign


def hef(hw_arch: int = 1, compiler: str = "3.33.0", version: int = 3, extensions: tuple[int, ...] = ()) -> Hef:
    file = File(hw_arch=hw_arch, compiler=compiler, version=version, extensions=extensions)
    return read_hef(encode_hef(detector(size=64), file=file))


@pytest.mark.parametrize(
    ("hw_arch", "name", "runs", "reduced", "major"),
    [
        (1, "hailo8", {"hailo8", "hailo8r"}, {"hailo8r"}, 4),
        (2, "hailo8r", {"hailo8r", "hailo8"}, {"hailo8"}, 4),
        (3, "hailo8l", {"hailo8l", "hailo8", "hailo8r"}, {"hailo8", "hailo8r"}, 4),
        (4, "hailo15m", {"hailo15m", "hailo15h", "hailo10h"}, {"hailo15h", "hailo10h"}, 5),
        (6, "hailo15l", {"hailo15l"}, set(), 5),
        (103, "hailo15h", {"hailo15h", "hailo10h"}, set(), 5),
        (0, "hailo8-a0", set(), set(), 4),
        (5, "hailo10h-early", set(), set(), 5),
        (77, "unknown-77", set(), set(), 0),
    ],
)
def test_chips_that_run_a_file(hw_arch: int, name: str, runs: set[str], reduced: set[str], major: int) -> None:
    """Each architecture is named with all chips that HailoRT runs it on, and those on which it warns."""
    read = hef(hw_arch)
    assert (read.architecture.name, read.architecture.hailort) == (name, major)
    assert {chip.name for chip in read.chips} == runs
    assert {chip.name for chip in read.chips if chip.reduced} == reduced
    everything = ("hailo8", "hailo8r", "hailo8l", "hailo10h", "hailo15h", "hailo15m", "hailo15l")
    assert {chip for chip in everything if read.runs_on(chip)} == runs


def test_files_for_the_small_chip_run_on_the_large_one_and_never_the_reverse() -> None:
    """Hailo-8L files run on a Hailo-8 with a warning; Hailo-8 files do not run on a Hailo-8L."""
    small, large = hef(3), hef(1)
    assert small.runs_on("hailo8")
    assert [w for w in small.warnings if w.startswith("on hailo8: ")]
    assert not large.runs_on("hailo8l")


@pytest.mark.parametrize(
    ("parts", "oldest"),
    [
        ({"version": 0, "compiler": "3.27.0"}, "4.16"),
        ({"version": 1, "compiler": "3.29.0"}, "4.18"),
        ({"version": 2, "compiler": "3.30.0"}, "4.20"),
        ({"version": 3, "compiler": "3.31.0"}, "4.21"),
        ({"version": 1, "compiler": "3.31.0"}, "4.21"),
        ({"version": 1, "compiler": "3.29.0", "extensions": (29, 32)}, "4.21"),
        ({"hw_arch": 103, "compiler": "sdk-version: 5.0.1, git-branch: HEAD"}, "5.0"),
        ({"hw_arch": 6, "compiler": "5.1.0", "extensions": (33,)}, "5.1"),
        ({"version": 1, "compiler": "unknown"}, "4.18"),
    ],
)
def test_oldest_hailort_that_takes_a_file(parts: dict[str, object], oldest: str) -> None:
    """Format, compiler, extensions and chip each ask for a HailoRT; the newest of these is the oldest that will do."""
    base = {"extensions": (27,)}
    assert hef(**{**base, **parts}).hailort == oldest


def test_compiler_version_is_the_number_alone() -> None:
    """Where the compiler writes more than its version, the version is found in it."""
    assert hef(compiler="sdk-version: 5.4.0, git-branch: HEAD, git-commit: 8d6e89d").compiler == "5.4.0"
    assert hef(compiler="master").compiler == "master"
    numbers = message(1, message(5, number(1, 5) + number(2, 4) + number(3, 1)))
    assert read_hef(sign(describe(detector(size=64)) + numbers)).compiler == "5.4.1"


def test_warnings_say_what_to_mind() -> None:
    """A chip that nobody runs, the wrong branch of HailoRT and strict versions are told in words."""
    assert any("compiled again" in warning for warning in hef(0).warnings)
    assert any("HailoRT 5 does not" in warning for warning in hef(1).warnings)
    assert any("HailoRT 5.1 only" in warning for warning in hef(103, "5.1.2", extensions=(35,)).warnings)
    assert hef(103, "5.1.2").warnings == ()


def test_extensions_that_a_hailort_lacks_are_named() -> None:
    """Of a file that uses newer extensions it can be told which of them a given HailoRT does not know."""
    read = hef(103, "5.1.2", extensions=(32, 33, 34))
    assert read.unknown_to((4, 20)) == ("SHARED_CONFIG", "CSM_CRC", "ENABLE_CONFIG_CHANNELS")
    assert read.unknown_to((4, 23)) == ("CSM_CRC", "ENABLE_CONFIG_CHANNELS")
    assert read.unknown_to((5, 2)) == ()

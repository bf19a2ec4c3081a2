"""What is looked at instead of trying again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hailod.device.installation import Installation


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("sys/module/hailo_pci", "dev", "usr/lib/aarch64-linux-gnu", "lib/firmware/hailo", "py/hailo_platform"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "sys/module/hailo_pci/version").write_text("4.22.0\n")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "sys/module/hailo_pci/version",
        "sys/module/hailo_pci/../hailo1x_pci/version",
        "dev/hailo0",
        "usr/lib/libhailort.so.4.23.0",
        "usr/lib/aarch64-linux-gnu/libhailort.so.4.23.0",
        "lib/firmware/hailo/hailo8_fw.bin",
        "py/hailo_platform/__init__.py",
        "model.hef",
    ],
)
def test_each_part_changes_the_stamp(root: Path, name: str) -> None:
    """Whatever an administrator may mend shows, and what stays as it was does not."""
    installation = Installation(root, [str(root / "py")])
    model = root / "model.hef"
    before = installation.stamp([model])
    assert installation.stamp([model]) == before
    path = root / name
    path.parent.resolve().mkdir(exist_ok=True)
    path.resolve().write_text("4.23.0 and more\n")
    assert installation.stamp([model]) != before


def test_a_file_replaced_by_one_of_the_same_size_shows(root: Path) -> None:
    """An atomic replacement is another file, whatever its time and size."""
    model = root / "model.hef"
    model.write_bytes(b"wrong")
    os.utime(model, ns=(1, 1))
    before = Installation(root, []).stamp([model])
    other = root / "other"
    other.write_bytes(b"right")
    os.utime(other, ns=(1, 1))
    other.replace(model)
    assert Installation(root, []).stamp([model]) != before

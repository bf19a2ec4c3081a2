"""Published speeds of compiled models: batch 1 and batch 8 frames per second give what a batch and a frame cost."""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from hailod.errors import ModelError


@dataclass(frozen=True, slots=True)
class Preset:
    """One model on one chip. `b1` and `b8` in frames per second, `input` (height, width), costs in milliseconds."""

    name: str
    b1: float
    b8: float
    input: tuple[int, int]
    switch_ms: float
    frame_ms: float

    @property
    def chip(self) -> str:
        return self.name.partition("@")[2]

    @property
    def multi_context(self) -> bool:
        """Whether the model is too large for the chip at once, so that batching gains."""
        return self.switch_ms > 0.05 * self.frame_ms


def preset(name: str) -> Preset:
    """The preset of a name such as `yolov8s@hailo8`; ModelError with near matches when there is none."""
    known = _presets()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.4)
        raise ModelError(f"there is no timing preset {name!r}; near matches: {', '.join(near) or 'none'}")
    return known[name]


def find(model: str, chip: str) -> Preset | None:
    """The preset of a model on a chip when there is one."""
    return _presets().get(f"{model}@{chip}")


@cache
def _presets() -> dict[str, Preset]:
    text = resources.files(__package__).joinpath("data/presets.csv").read_text("ascii")
    rows = (_solve(row) for row in csv.DictReader(text.splitlines()))
    return {found.name: found for found in rows}


def _solve(row: dict[str, str]) -> Preset:
    """switch + frame = 1000 / b1, switch + 8 frame = 8000 / b8; where batching was seen to lose, switch is negative."""
    b1, b8 = float(row["b1"]), float(row["b8"])
    frame = (8000 / b8 - 1000 / b1) / 7
    return Preset(
        f"{row['model']}@{row['chip']}", b1, b8, (int(row["height"]), int(row["width"])), 1000 / b1 - frame, frame
    )

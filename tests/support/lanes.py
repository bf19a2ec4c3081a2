"""Lanes for tests of what runs around them: a real decoder and preparer, and slots of their own."""

from __future__ import annotations

from collections.abc import Sequence

from hailod.decode import make_decoder
from hailod.device.flight import Session
from hailod.geometry import View
from hailod.models.manifest import Manifest
from hailod.pipeline.service import CameraRules, Lane, Service
from hailod.prepare import Preparer
from tests.support.device import MAX_PER_CLASS, TENSORS, session

MANIFEST = Manifest(labels=("person", "car"))
RULES = CameraRules(View(), 0.3)

Box = tuple[float, float, float, float]


def lane(name: str = "two", *, of: Session | None = None, manifest: Manifest = MANIFEST, workers: int = 1) -> Lane:
    preparers = tuple(Preparer(TENSORS.inputs[0]) for _ in range(workers))
    return Lane(name, of or session(name), manifest, make_decoder(manifest, TENSORS), preparers, per_camera=8)


def service(*lanes: Lane, cameras: Sequence[str] = ("front",), rules: CameraRules = RULES) -> Service:
    return Service({lane.name: lane for lane in lanes}, dict.fromkeys(cameras, rules), max_frame_age=1.0)


def see(of: Session, slot: int, *found: tuple[int, float, Box]) -> None:
    """Have the device see these in a slot: class, score and box x1, y1, x2, y2 of the model's input."""
    output = of.pool.outputs[slot]["out"]
    output[:] = 0.0
    position = 0
    for class_id in range(len(MANIFEST.labels)):
        mine = [(score, box) for known, score, box in found if known == class_id]
        assert len(mine) <= MAX_PER_CLASS
        output[position] = len(mine)
        position += 1
        for score, (x1, y1, x2, y2) in mine:
            output[position : position + 5] = (y1, x1, y2, x2, score)
            position += 5


def garble(of: Session, slot: int) -> None:
    """Outputs that no such model can have."""
    of.pool.outputs[slot]["out"][:] = 1e9

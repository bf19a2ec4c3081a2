"""What every figure of a scene is, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hailod.scenes.shapes import Shape
from hailod.scenes.view import Camera, Colour, Tone

LABELS: Final = ("person", "car", "cat", "parcel")


@dataclass(frozen=True, slots=True)
class Pose:
    """A figure's place on the ground, heading and attitude.

    `yaw` 0 looks to the right, pi/2 to the camera. `stride` is the phase of its gait in radians, `pace` how far it
    steps (0 stands, 1 walks). `stoop` 0..1 bends down (a person) or sits (a cat). `lift` is the height above ground.
    """

    x: float
    z: float
    yaw: float = 0.0
    stride: float = 0.0
    pace: float = 0.0
    stoop: float = 0.0
    carrying: bool = False
    lift: float = 0.0
    glow: float = 0.0


class Figure(Protocol):
    """Something that can be drawn anywhere. `label` is an index into `LABELS`."""

    label: int

    def shapes(self, pose: Pose, camera: Camera, tone: Tone) -> list[Shape]:
        """What to paint, in order."""

    def shadow(self, pose: Pose, camera: Camera, towards: tuple[float, float, float]) -> Sequence[Shape]:
        """The outlines of its shadow on the ground; their colour does not count."""


def palette(*codes: str) -> tuple[Colour, ...]:
    """Colours written as rrggbb."""
    return tuple((float(int(c[4:], 16)), float(int(c[2:4], 16)), float(int(c[:2], 16))) for c in codes)

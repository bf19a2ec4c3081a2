"""Parcels."""

from __future__ import annotations

import numpy as np

from hailod.scenes.figure import Pose, palette
from hailod.scenes.shapes import Shape
from hailod.scenes.solid import Face, Solid, box
from hailod.scenes.view import Camera, Tone, darker

_CARDBOARD = palette("c19a6b", "b58b5a", "d0ab7c", "a97f50", "e6dfd3", "caa57a")
_TAPES = palette("8a6a3f", "2f6f9f", "e2d6b5", "24262b", "b23b3b")
_LABEL = palette("f4f4f0")[0]

STYLES = 20
"""How many different parcels there are."""


class Parcel:
    """One parcel; a style below `STYLES` decides measures, cardboard and tape."""

    label = 3

    def __init__(self, style: int) -> None:
        rng = np.random.default_rng([style, 44])
        length, height, width = (float(rng.uniform(*span)) for span in ((0.38, 0.62), (0.24, 0.44), (0.3, 0.46)))
        self.height = height
        colour = _CARDBOARD[int(rng.integers(len(_CARDBOARD)))]
        tape = _TAPES[int(rng.integers(len(_TAPES)))]
        faces: list[Face] = []
        for face in box(length, height, width, colour):
            faces.append(face)
            faces.append(_strip(face, tape))
            if abs(face.normal[2]) > 0.5:
                faces.append(_sticker(face))
        self._solid = Solid(faces)

    def shapes(self, pose: Pose, camera: Camera, tone: Tone) -> list[Shape]:
        return self._solid.shapes(camera, tone, (pose.x, pose.lift, pose.z), pose.yaw)

    def shadow(self, pose: Pose, camera: Camera, towards: tuple[float, float, float]) -> list[Shape]:
        return self._solid.shadow(camera, towards, (pose.x, pose.lift, pose.z), pose.yaw)


def _strip(face: Face, colour: tuple[float, float, float]) -> Face:
    """Tape along the middle of a face; on the ends of the box only its upper part is covered."""
    if abs(face.normal[0]) > 0.5:
        return _part(face, (0.42, 0.58), (0.6, 1.0), colour)
    if abs(face.normal[1]) > 0.5:
        return _part(face, (0.0, 1.0), (0.42, 0.58), colour)
    return _part(face, (0.0, 1.0), (0.94, 1.0), darker(colour, 0.9))


def _sticker(face: Face) -> Face:
    return _part(face, (0.55, 0.9), (0.4, 0.85), _LABEL)


def _part(face: Face, across: tuple[float, float], up: tuple[float, float], colour: tuple[float, float, float]) -> Face:
    a, b, _, d = (np.array(corner) for corner in face.corners)

    def at(u: float, v: float) -> tuple[float, float, float]:
        x, y, z = a + (b - a) * u + (d - a) * v
        return (float(x), float(y), float(z))

    corners = (at(across[0], up[0]), at(across[1], up[0]), at(across[1], up[1]), at(across[0], up[1]))
    return Face(corners, face.normal, colour)

"""Cars: a body, a cabin, glass, lamps and wheels, seen from any side."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from hailod.scenes.figure import Pose, palette
from hailod.scenes.shapes import Shape
from hailod.scenes.solid import Corner, Face, Solid, quad
from hailod.scenes.view import Camera, Colour, Tone, darker

_PAINTS = palette(
    "b02a2a", "e9e9e6", "22252b", "9aa1a8", "2f4f7f", "4e6b57", "d8c7a0", "6d7680", "7a2f3f", "2a6f86", "c9772e"
)
_GLASS = palette("3c4c58")[0]
_TYRE, _HUB = palette("18181a", "b4b8bc")
_HEAD, _TAIL, _PLATE = palette("fff4d6", "d01818", "e8e8e0")

STYLES = 30
"""How many different cars there are."""


class _Body(NamedTuple):
    """Measures in metres: the bonnet and the boot are as long as the cabin leaves them."""

    length: float
    width: float
    height: float
    belt: float
    rear: float
    """Where the cabin's rear begins, as a fraction of the length from the tail."""
    front: float
    """Where the windscreen ends, the same way."""
    rake: tuple[float, float]
    """How far rear and front window lean, in metres."""


_BODIES = (
    _Body(4.4, 1.8, 1.45, 0.88, 0.12, 0.68, (0.55, 0.85)),  # saloon
    _Body(3.9, 1.72, 1.5, 0.9, 0.01, 0.68, (0.3, 0.75)),  # hatchback
    _Body(4.5, 1.9, 1.72, 1.05, 0.01, 0.7, (0.35, 0.7)),  # SUV
    _Body(4.9, 1.95, 2.15, 1.15, 0.0, 0.84, (0.08, 0.7)),  # van
    _Body(4.6, 1.8, 1.5, 0.9, 0.01, 0.66, (0.45, 0.8)),  # estate
    _Body(3.6, 1.65, 1.52, 0.92, 0.02, 0.74, (0.25, 0.65)),  # small car
)


class Car:
    """One car; a style below `STYLES` decides body and paint."""

    label = 1

    def __init__(self, style: int) -> None:
        rng = np.random.default_rng([style, 22])
        body = _BODIES[int(rng.integers(len(_BODIES)))]
        paint = darker(_PAINTS[int(rng.integers(len(_PAINTS)))], float(rng.uniform(0.85, 1.1)))
        panelled = body.height > 2 and rng.random() < 0.6
        self._solid = Solid(_faces(body, paint, panelled=panelled))
        self._half = body.length / 2

    def shapes(self, pose: Pose, camera: Camera, tone: Tone) -> list[Shape]:
        return self._solid.shapes(camera, tone, (pose.x, pose.lift, pose.z), pose.yaw, pose.glow)

    def shadow(self, pose: Pose, camera: Camera, towards: tuple[float, float, float]) -> list[Shape]:
        return self._solid.shadow(camera, towards, (pose.x, pose.lift, pose.z), pose.yaw)

    def headlights(self, pose: Pose) -> tuple[Corner, Corner]:
        """Where its two headlights are in the world."""
        cos, sin = math.cos(pose.yaw), math.sin(pose.yaw)
        at = [(self._half * cos + side * sin, 0.66, side * cos - self._half * sin) for side in (0.62, -0.62)]
        return tuple((pose.x + x, y, pose.z + z) for x, y, z in at)  # type: ignore[return-value]


def _faces(body: _Body, paint: Colour, *, panelled: bool) -> list[Face]:
    half, side = body.length / 2, body.width / 2
    belt, nose = body.belt, body.belt - 0.14
    floor, inside = 0.24, (0.0, 0.6, 0.0)
    faces: list[Face] = []
    # The tub, from the tail over the deck and the bonnet down to the bumper.
    outline = [(-half, floor), (-half, belt), (half * 0.45, belt), (half, nose), (half, floor)]
    for (x1, y1), (x2, y2) in pairwise(outline):
        corners = ((x1, y1, side), (x2, y2, side), (x2, y2, -side), (x1, y1, -side))
        faces.append(quad(corners, paint, inside))
    faces += _lamps(half, side, belt)
    for sign in (1.0, -1.0):
        normal = (0.0, 0.0, sign)
        faces.append(Face(tuple((x, y, sign * side) for x, y in outline), normal, paint))
        sill = ((-half, floor), (half, floor), (half, floor + 0.13), (-half, floor + 0.13))
        faces.append(Face(tuple((x, y, sign * side) for x, y in sill), normal, darker(paint, 0.6)))
        for door in (-0.12, 0.26):
            x = door * body.length
            line = ((x, 0.4), (x + 0.025, 0.4), (x + 0.025, belt), (x, belt))
            faces.append(Face(tuple((a, b, sign * side) for a, b in line), normal, darker(paint, 0.55)))
        for wheel in (-0.31, 0.31):
            faces += _wheel(wheel * body.length, sign * (side + 0.01), normal)
    return faces + _cabin(body, paint, panelled=panelled)


def _cabin(body: _Body, paint: Colour, *, panelled: bool) -> list[Face]:
    half, top, belt = body.length / 2, body.height, body.belt
    low, high = body.width / 2 * 0.96, body.width / 2 * 0.8
    rear, front = -half + body.rear * body.length, -half + body.front * body.length
    roof_rear, roof_front = rear + body.rake[0], front - body.rake[1]
    inside = ((rear + front) / 2, (belt + top) / 2, 0.0)
    glass = _GLASS

    def side_faces(sign: float) -> list[Face]:
        def at(x: float, y: float) -> Corner:
            share = (y - belt) / (top - belt)
            return (x, y, sign * (low + (high - low) * share))

        corners = (at(rear, belt), at(front, belt), at(roof_front, top), at(roof_rear, top))
        wall = quad(corners, paint, inside)
        sill, lintel = belt + 0.06 * (top - belt), top - 0.14 * (top - belt)

        def edge(x: float, roof: float, y: float) -> float:
            return x + (roof - x) * (y - belt) / (top - belt)

        pillar = (edge(rear, roof_rear, sill) + edge(front, roof_front, sill)) / 2 - 0.05
        windows = []
        spans = [(None, pillar), (pillar + 0.1, None)]
        for left, right in spans[1:] if panelled else spans:
            x1 = left if left is not None else edge(rear, roof_rear, sill) + 0.14
            x2 = right if right is not None else edge(front, roof_front, sill) - 0.1
            x3 = right if right is not None else edge(front, roof_front, lintel) - 0.08
            x4 = left if left is not None else edge(rear, roof_rear, lintel) + 0.12
            corners = (at(x1, sill), at(x2, sill), at(x3, lintel), at(x4, lintel))
            windows.append(Face(corners, wall.normal, glass))
        return [wall, *windows]

    def across(start: Corner, end: Corner, colour: Colour) -> Face:
        (x1, y1, w1), (x2, y2, w2) = start, end
        return quad(((x1, y1, w1), (x1, y1, -w1), (x2, y2, -w2), (x2, y2, w2)), colour, inside)

    tail = across((rear, belt, low), (roof_rear, top, high), paint)
    screen = across((front, belt, low), (roof_front, top, high), paint)
    faces = [tail, screen, *side_faces(1.0), *side_faces(-1.0)]
    for pane, x, roof in ((tail, rear, roof_rear), (screen, front, roof_front)):
        out = 0.01 if x > 0 else -0.01
        y1, y2 = belt + 0.08 * (top - belt), top - 0.1 * (top - belt)
        x1, x2 = x + (roof - x) * 0.08 + out, x + (roof - x) * 0.9 + out
        corners = ((x1, y1, low * 0.9), (x1, y1, -low * 0.9), (x2, y2, -high * 0.9), (x2, y2, high * 0.9))
        faces.append(Face(corners, pane.normal, glass))
    faces.append(across((roof_rear, top, high), (roof_front, top, high), darker(paint, 1.04)))
    return faces


def _lamps(half: float, side: float, belt: float) -> list[Face]:
    faces = []
    for end, colour in ((1.0, _HEAD), (-1.0, _TAIL)):
        x, normal = end * (half + 0.01), (end, 0.0, 0.0)

        def plate(z1: float, z2: float, y1: float, y2: float, x: float = x) -> tuple[Corner, ...]:
            return ((x, y1, z1), (x, y1, z2), (x, y2, z2), (x, y2, z1))

        faces.append(Face(plate(-side, side, 0.24, 0.4), normal, palette("303236")[0]))
        faces.append(Face(plate(-0.27, 0.27, 0.44, 0.55), normal, _PLATE))
        if end > 0:
            faces.append(Face(plate(-side * 0.5, side * 0.5, 0.57, belt - 0.22), normal, palette("25282c")[0]))
        for sign in (1.0, -1.0):
            face = plate(sign * side * 0.97, sign * side * 0.58, belt - 0.34, belt - 0.17)
            faces.append(Face(face, normal, colour, glow=1.0))
    return faces


def _wheel(x: float, z: float, normal: Corner) -> list[Face]:
    def ring(radius: float) -> tuple[Corner, ...]:
        return tuple(
            (x + radius * math.cos(a), 0.32 + radius * math.sin(a), z)
            for a in np.linspace(0, 2 * math.pi, 12, endpoint=False)
        )

    rings = ((0.39, darker(_TYRE, 0.5)), (0.32, _TYRE), (0.19, _HUB))
    return [Face(ring(radius), normal, colour) for radius, colour in rings]

"""Solids with flat faces: cars and parcels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hailod.scenes.shapes import Shape, hull
from hailod.scenes.view import Camera, Colour, Tone, darker
from hailod.types import F32

Corner = tuple[float, float, float]
"""Forward, up, left of a thing's place on the ground, in metres."""


@dataclass(frozen=True, slots=True)
class Face:
    """One flat convex face and its outward normal. `glow` is how much of its colour shines by itself."""

    corners: tuple[Corner, ...]
    normal: Corner
    colour: Colour
    glow: float = 0.0


class Solid:
    """Faces in the order in which they are painted; those that look away from the camera are left out."""

    def __init__(self, faces: Sequence[Face]) -> None:
        self._faces = tuple(faces)
        self._corners = np.array([corner for face in faces for corner in face.corners], np.float32)
        self._normals = np.array([face.normal for face in faces], np.float32)
        self._starts = np.cumsum([0, *(len(face.corners) for face in faces)])

    def shapes(self, camera: Camera, tone: Tone, place: Corner, yaw: float, glowing: float = 0.0) -> list[Shape]:
        """The visible faces of the solid at world `place`, turned by `yaw` from the x axis towards the camera."""
        corners = turned(self._corners, yaw) + np.array(place, np.float32)
        normals = turned(self._normals, yaw)
        firsts = corners[self._starts[:-1]]
        eye = np.array([0.0, camera.above, 0.0], np.float32)
        seen = ((eye - firsts) * normals).sum(1) > 0
        pixels = camera.project(corners)
        shapes = []
        for index in seen.nonzero()[0]:
            face, normal = self._faces[index], normals[index]
            share = tone.facing(float(normal[0]), float(normal[1]), float(normal[2]))
            colour = tone.lit(face.colour, 0.25 + 0.75 * share)
            if face.glow and glowing:
                own = darker(face.colour, face.glow * glowing)
                colour = (max(colour[0], own[0]), max(colour[1], own[1]), max(colour[2], own[2]))
            shapes.append(Shape(pixels[self._starts[index] : self._starts[index + 1]], colour))
        return shapes

    def shadow(self, camera: Camera, towards: Corner, place: Corner, yaw: float) -> list[Shape]:
        """Its shadow on the ground."""
        corners = turned(self._corners, yaw) + np.array(place, np.float32)
        pixels = camera.project(on_ground(corners, towards))
        return [Shape(hull(pixels, np.zeros(len(pixels), np.float32)), (0.0, 0.0, 0.0))]


def turned(points: F32, yaw: float) -> F32:
    """Local forward, up, left as world x, y, z after turning by `yaw`: 0 looks to the right, pi/2 to the camera."""
    cos, sin = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
    forward, up, left = points[:, 0], points[:, 1], points[:, 2]
    return np.stack((forward * cos + left * sin, up, left * cos - forward * sin), axis=1)


def on_ground(points: F32, towards: Corner) -> F32:
    """Where light from `towards` throws the shadow of world points."""
    reach = points[:, 1:2] / np.float32(max(towards[1], 0.2))
    return (
        points
        - reach * np.array(towards, np.float32) * np.array([1, 0, 1], np.float32)
        - points * np.array([0, 1, 0], np.float32)
    )


def quad(corners: tuple[Corner, Corner, Corner, Corner], colour: Colour, inside: Corner) -> Face:
    """A face through four corners whose normal looks away from the point `inside` the solid."""
    a, b, c = (np.array(corner) for corner in corners[:3])
    normal = np.cross(b - a, c - a)
    normal /= max(float(np.linalg.norm(normal)), 1e-9)
    if float(normal @ (a - np.array(inside))) < 0:
        normal = -normal
    return Face(corners, (float(normal[0]), float(normal[1]), float(normal[2])), colour)


def box(length: float, height: float, width: float, colour: Colour) -> list[Face]:
    """The five faces of a box that stands on the ground."""
    x, z, inside = length / 2, width / 2, (0.0, height / 2, 0.0)
    return [
        quad(((-x, 0, z), (x, 0, z), (x, height, z), (-x, height, z)), colour, inside),
        quad(((-x, 0, -z), (x, 0, -z), (x, height, -z), (-x, height, -z)), colour, inside),
        quad(((x, 0, -z), (x, 0, z), (x, height, z), (x, height, -z)), colour, inside),
        quad(((-x, 0, -z), (-x, 0, z), (-x, height, z), (-x, height, -z)), colour, inside),
        quad(((-x, height, -z), (x, height, -z), (x, height, z), (-x, height, z)), colour, inside),
    ]

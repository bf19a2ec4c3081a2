"""Trees, bushes, posts and other things that stand about and hide what is behind them."""

from __future__ import annotations

import numpy as np

from hailod.scenes.figure import palette
from hailod.scenes.shapes import Shape, disc
from hailod.scenes.solid import Solid, box
from hailod.scenes.view import Camera, Colour, Tone, darker

_LEAVES = palette("4d7a3a", "5f8f3f", "3f6b45", "7a8f3f", "6b7f4f")
_BARK = palette("5a4636")[0]


def leaves(rng: np.random.Generator) -> Colour:
    """A green."""
    return _LEAVES[int(rng.integers(len(_LEAVES)))]


def bush(
    rng: np.random.Generator, camera: Camera, tone: Tone, at: tuple[float, float], size: tuple[float, float]
) -> list[Shape]:
    """A round bush at x, z, of that width and height in metres."""
    (x, z), (width, height) = at, size
    middle, radii = (x, height / 2, z), (width / 2, height / 2)
    return _foliage(rng, camera, tone, middle, radii, colour=leaves(rng), count=46)


def tree(rng: np.random.Generator, camera: Camera, tone: Tone, at: tuple[float, float], height: float) -> list[Shape]:
    """A tree with a round crown."""
    x, z = at
    crown = height * 0.34
    trunk = post(camera, tone, at, (0.045 * height, height * 0.5), _BARK)
    middle, radii = (x, height - crown, z), (crown, crown * 0.95)
    return [*trunk, *_foliage(rng, camera, tone, middle, radii, colour=leaves(rng), count=70)]


def post(camera: Camera, tone: Tone, at: tuple[float, float], size: tuple[float, float], colour: Colour) -> list[Shape]:
    """An upright post of that width and height, lit from one side."""
    (x, z), (width, height) = at, size
    half = width / 2
    corners = [(x - half, 0.0, z), (x + half, 0.0, z), (x + half, height, z), (x - half, height, z)]
    outline = camera.project(np.array(corners, np.float32))
    light = outline.copy()
    keep = 0.55
    if tone.towards[0] > 0:
        light[[0, 3], 0] += (outline[1, 0] - outline[0, 0]) * np.float32(1 - keep)
    else:
        light[[1, 2], 0] -= (outline[1, 0] - outline[0, 0]) * np.float32(1 - keep)
    return [Shape(outline, tone.lit(darker(colour, 0.75), 0.3)), Shape(light, tone.lit(colour, 0.7))]


def railing(camera: Camera, tone: Tone, span: tuple[float, float], z: float, colour: Colour) -> list[Shape]:
    """A porch railing with balusters, from one x to another."""
    (x1, x2), height = span, 0.95
    shapes: list[Shape] = []
    for x in np.arange(x1, x2, 0.16):
        shapes += post(camera, tone, (float(x), z), (0.035, height), colour)
    for low, high in ((0.06, 0.11), (height - 0.06, height)):
        corners = [(x1, low, z), (x2, low, z), (x2, high, z), (x1, high, z)]
        shapes.append(Shape(camera.project(np.array(corners, np.float32)), tone.lit(colour, 0.7)))
    return shapes


def wheeled_bin(camera: Camera, tone: Tone, at: tuple[float, float], colour: Colour) -> list[Shape]:
    """A wheeled bin."""
    return Solid(box(0.6, 1.05, 0.55, colour)).shapes(camera, tone, (at[0], 0.0, at[1]), 0.3)


def lamp_post(camera: Camera, tone: Tone, at: tuple[float, float], height: float, *, lit: bool) -> list[Shape]:
    """A street lamp."""
    x, z = at
    shapes = post(camera, tone, at, (0.12, height), (92.0, 92.0, 88.0))
    head = camera.project(np.array([(x, height, z)], np.float32))[0]
    size = camera.scale(z) * 0.22
    glow: Colour = (170.0, 225.0, 255.0) if lit else tone.lit((210.0, 215.0, 215.0), 0.6)
    return [*shapes, Shape(disc(head, size, 0.45), glow)]


def _foliage(
    rng: np.random.Generator,
    camera: Camera,
    tone: Tone,
    centre: tuple[float, float, float],
    radii: tuple[float, float],
    *,
    colour: Colour,
    count: int,
) -> list[Shape]:
    """Discs of leaves, the dark ones first and the lit ones on the sun's side last."""
    middle = camera.project(np.array([centre], np.float32))[0]
    scale = camera.scale(centre[2])
    shapes = [Shape(disc(middle, radii[0] * scale * 0.86, radii[1] / radii[0]), tone.lit(darker(colour, 0.6), 0.25))]
    sun = 1.0 if tone.towards[0] >= 0 else -1.0
    for step in range(count):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        dx, dy = reach * np.cos(angle), reach * np.sin(angle)
        at = middle + np.array([dx * radii[0], dy * radii[1]], np.float32) * np.float32(scale * 0.86)
        bright = 0.62 + 0.3 * step / count + 0.12 * (0.5 * sun * dx - dy) + rng.uniform(-0.05, 0.05)
        size = scale * radii[0] * rng.uniform(0.1, 0.22)
        shapes.append(Shape(disc(at, size, 0.8), tone.lit(darker(colour, bright), 0.3 + 0.5 * step / count)))
    return shapes

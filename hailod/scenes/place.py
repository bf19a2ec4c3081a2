"""What all places share: their plan, their materials, and the things that stand about in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

import numpy as np

from hailod.scenes.backdrop import Backdrop, Ground
from hailod.scenes.figure import palette
from hailod.scenes.materials import Material, grass, plain, tiles
from hailod.scenes.plants import bush, lamp_post, post, tree, wheeled_bin
from hailod.scenes.shapes import Shape
from hailod.scenes.view import Camera, Colour, Lamp, Light, darker

Way = tuple[Ground, ...]

VARIANTS: Final = 24
"""How many of each kind of place there are."""

_WALLS = palette("c9b79c", "a8563c", "d8d5cb", "8fa3ad", "b9a06a", "7d5a48", "cfc3b5", "9c4a3c", "e3ddd0")
_ASPHALTS = palette("6a6a6c", "5a5c60", "77746f", "808084")
_PAVINGS = palette("b3aca0", "9d9a96", "b89d86", "a5a9a8", "8f857a")
_LAWNS = palette("5f8a45", "6f9350", "557d46", "82934f")
_WOODS = palette("9a7350", "80654c", "b08f69", "6f5f52", "8f8f8c")
_GLASS = palette("52626e")[0]
_LIT = palette("ffd890")[0]
_DOORS = palette("7a2a26", "2b4a66", "3f5a3d", "d9d4c8", "4a3426")


@dataclass(frozen=True, slots=True)
class Standing:
    """Shapes that stand at depth `z` and, where `height` is above 0, throw a shadow as an upright of that size."""

    z: float
    shapes: tuple[Shape, ...]
    x: float = 0.0
    width: float = 0.0
    height: float = 0.0


@dataclass(frozen=True, slots=True)
class Drop:
    """The ways of a parcel: to its place, from it, and the same for whoever fetches it."""

    bring: Way
    leave: Way
    fetch: Way
    take: Way


@dataclass(frozen=True, slots=True)
class Plan:
    """The ways through a place. Cars of `parked` are x, z and yaw; `park` is a way and where on it a car stands for a
    while: at its end, from which it backs out, or before, from where it goes on."""

    walks: tuple[Way, ...]
    cats: tuple[Way, ...]
    drives: tuple[Way, ...]
    drops: tuple[Drop, ...]
    parked: tuple[tuple[float, float, float], ...] = ()
    park: tuple[Way, Ground] | None = None


class Place(ABC):
    """A place for pictures of `size` (width, height). `looks` decides the variant, `jitter` where the camera hangs."""

    camera: Camera
    plan: Plan
    lamps: tuple[Lamp, ...]

    def __init__(self, size: tuple[int, int], looks: np.random.Generator, jitter: np.random.Generator) -> None:
        self._size = size
        self._rng = looks
        self._plants = int(looks.integers(1 << 30))
        self._wall = self._pick(_WALLS)
        self._other_wall = self._pick(_WALLS)
        self._road = plain(self._pick(_ASPHALTS), 0.2, 0.06)
        self._lawn = grass(self._pick(_LAWNS))
        paving = self._pick(_PAVINGS)
        slab = float(looks.choice([0.4, 0.6, 1.0]))
        self._pavement = tiles(paving, slab, slab, 0.012, staggered=bool(looks.random() < 0.5))
        self._drive = (
            tiles(self._pick(_PAVINGS), 0.22, 0.11, 0.008, staggered=True)
            if looks.random() < 0.5
            else plain(self._pick(_PAVINGS), 0.16, 0.08)
        )
        self._wood = self._pick(_WOODS)
        self._door = self._pick(_DOORS)
        self._jitter = jitter

    @abstractmethod
    def paint(self, backdrop: Backdrop, light: Light) -> list[Standing]:
        """Paint sky, grounds and walls, and give what stands in front of them."""

    def _pick(self, colours: tuple[Colour, ...]) -> Colour:
        colour = colours[int(self._rng.integers(len(colours)))]
        return darker(colour, float(self._rng.uniform(0.85, 1.1)))

    def _camera(self, *, above: float, horizon: float, focal: float) -> Camera:
        j = self._jitter
        return Camera(
            *self._size,
            above * float(j.uniform(0.92, 1.1)),
            horizon + float(j.uniform(-0.03, 0.03)),
            focal * float(j.uniform(0.92, 1.12)),
        )

    def _masonry(self, colour: Colour) -> Material:
        kind = sum(colour) % 3
        if kind < 1:
            return tiles(colour, 0.24, 0.08, 0.007, staggered=True)
        if kind < 2:
            return tiles(colour, 6.0, 0.18, 0.012)
        return plain(colour, 0.08, 0.1)

    def _house(
        self, backdrop: Backdrop, light: Light, start: Ground, end: Ground, *, height: float, colour: Colour
    ) -> None:
        """A front between two points of the same z, with a door and rows of windows, some lit at night."""
        (x1, z), (x2, _) = start, end
        rng = np.random.default_rng([self._plants, round(10 * x1 + 7 * z) & 0xFFFF])
        backdrop.wall((x1, z), (x2, z), (0.0, height), self._masonry(colour))
        backdrop.wall((x1, z), (x2, z), (0.0, 0.35), plain(darker(colour, 0.7)))
        trim = plain(darker((225.0, 228.0, 230.0), 0.95), 0.03)
        count = max(2, round((x2 - x1) / 2.6))
        step = (x2 - x1) / count
        door = int(rng.integers(count))
        for row, bottom in enumerate(np.arange(0.95, height - 1.6, 2.7)):
            for column in range(count):
                middle = x1 + (column + 0.5) * step
                if row == 0 and column == door:
                    backdrop.wall((middle - 0.62, z), (middle + 0.62, z), (0.0, 2.25), trim)
                    backdrop.wall((middle - 0.5, z), (middle + 0.5, z), (0.0, 2.12), plain(self._door, 0.05))
                    continue
                lit = light.night and not light.infrared and rng.random() < 0.45
                pane = plain(_LIT if lit else _GLASS, 0.25, 0.8)
                low, high = float(bottom), float(bottom) + 1.3
                backdrop.wall((middle - 0.66, z), (middle + 0.66, z), (low - 0.08, high + 0.08), trim)
                glow = 0.85 if lit else 0.0
                backdrop.wall((middle - 0.58, z), (middle - 0.03, z), (low, high), pane, glow=glow)
                backdrop.wall((middle + 0.03, z), (middle + 0.58, z), (low, high), pane, glow=glow)

    def _row(self, backdrop: Backdrop, light: Light, z: float, *, gaps: float = 0.0) -> None:
        """Houses side by side, as far as the picture reaches."""
        rng = np.random.default_rng([self._plants, 3])
        reach = self.camera.reach(z) + 2
        x = -reach - float(rng.uniform(0, 6))
        while x < reach:
            width = float(rng.uniform(7, 12))
            colour = darker(_WALLS[int(rng.integers(len(_WALLS)))], float(rng.uniform(0.85, 1.1)))
            height = float(rng.choice([5.6, 8.3, 6.2]))
            self._house(backdrop, light, (x, z), (x + width, z), height=height, colour=colour)
            x += width + (float(rng.uniform(0.5, 1.5)) * gaps)

    def _bush(self, light: Light, at: Ground, width: float, height: float) -> Standing:
        rng, (x, z) = self._planting(at), at
        shapes = bush(rng, self.camera, light.at(x, 0.5, z), at, (width, height))
        return Standing(z, tuple(shapes), x, width * 0.8, height * 0.8)

    def _tree(self, light: Light, at: Ground, height: float) -> Standing:
        rng, (x, z) = self._planting(at), at
        shapes = tree(rng, self.camera, light.at(x, height / 2, z), at, height)
        return Standing(z, tuple(shapes), x, height * 0.4, height)

    def _post(self, light: Light, at: Ground, size: tuple[float, float], colour: Colour) -> Standing:
        x, z = at
        shapes = post(self.camera, light.at(x, 1.0, z), at, size, colour)
        return Standing(z, tuple(shapes), x, *size)

    def _lamp(self, light: Light, at: Ground, height: float) -> Standing:
        x, z = at
        lit = light.night and not light.infrared
        shapes = lamp_post(self.camera, light.at(x, height, z), at, height, lit=lit)
        return Standing(z, tuple(shapes), x, 0.14, height)

    def _bin(self, light: Light, at: Ground, colour: Colour) -> Standing:
        x, z = at
        return Standing(z, tuple(wheeled_bin(self.camera, light.at(x, 0.5, z), at, colour)), x, 0.6, 1.0)

    def _planting(self, at: Ground) -> np.random.Generator:
        return np.random.default_rng([self._plants, round(abs(at[0]) * 10), round(at[1] * 10)])

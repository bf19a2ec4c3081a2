"""Where things of the world appear in the picture, and how bright.

The world is in metres: x to the right, y up, z away from the camera, which stands at (0, height, 0). It looks along z
with a shifted lens, so that verticals stay vertical.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hailod.types import F32

Colour = tuple[float, float, float]
"""Blue, green, red, 0..255."""

# Nothing nearer is drawn.
NEAR = 0.5


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera of `width` x `height` pixels. `horizon` and `focal` are fractions of the picture's height."""

    width: int
    height: int
    above: float
    horizon: float
    focal: float

    @property
    def focal_px(self) -> float:
        return self.focal * self.height

    def project(self, points: F32) -> F32:
        """Pixels (n, 2) of world points (n, 3)."""
        scale = self.focal_px / np.maximum(points[:, 2], NEAR)
        return np.stack(
            (
                self.width / 2 + points[:, 0] * scale,
                self.horizon * self.height + (self.above - points[:, 1]) * scale,
            ),
            axis=1,
        )

    def scale(self, z: float) -> float:
        """Pixels per metre at depth `z`."""
        return self.focal_px / max(z, NEAR)

    def reach(self, z: float) -> float:
        """How far to either side the picture shows at depth `z`, in metres."""
        return self.width / 2 / self.scale(z)


@dataclass(frozen=True, slots=True)
class Lamp:
    """A light at a place; `colour` is what it adds, as a factor, at a distance of `radius` halved."""

    x: float
    y: float
    z: float
    radius: float
    colour: Colour


@dataclass(frozen=True, slots=True)
class Light:
    """What shines on a scene. `ambient`, `sun` and lamps are factors of a surface's own colour (blue, green, red).

    `towards` points to the sun (unit length, y > 0); `shadow` is how dark shadows are, 0..1; `haze` what share of the
    horizon's colour covers things 60 m away; `noise` the standard deviation of the sensor's noise in luma steps.
    """

    ambient: Colour
    sun: Colour
    towards: tuple[float, float, float]
    sky: tuple[Colour, Colour]
    shadow: float = 0.0
    haze: float = 0.0
    noise: float = 1.5
    lamps: tuple[Lamp, ...] = ()
    infrared: bool = False
    night: bool = False

    def at(self, x: float, y: float, z: float) -> Tone:
        """The light that falls on something there."""
        ambient = list(self.ambient)
        for lamp in self.lamps:
            square = (x - lamp.x) ** 2 + (y - lamp.y) ** 2 + (z - lamp.z) ** 2
            strength = 1.0 / (1.0 + square / lamp.radius**2)
            ambient = [a + strength * c for a, c in zip(ambient, lamp.colour, strict=True)]
        haze = 1.0 - math.exp(-self.haze * max(z, 0.0) / 60.0)
        return Tone((ambient[0], ambient[1], ambient[2]), self.sun, self.towards, self.sky[1], haze)


@dataclass(frozen=True, slots=True)
class Tone:
    """The light on one thing, and the air in front of it."""

    ambient: Colour
    sun: Colour
    towards: tuple[float, float, float]
    air: Colour
    haze: float

    def lit(self, colour: Colour, share: float = 0.5) -> Colour:
        """`colour` as it appears with that share of the sun on it."""
        clear, haze = 1.0 - self.haze, self.haze
        (b, g, r), (ab, ag, ar), (sb, sg, sr), air = colour, self.ambient, self.sun, self.air
        return (
            min(255.0, b * (ab + sb * share) * clear + air[0] * haze),
            min(255.0, g * (ag + sg * share) * clear + air[1] * haze),
            min(255.0, r * (ar + sr * share) * clear + air[2] * haze),
        )

    def facing(self, nx: float, ny: float, nz: float) -> float:
        """The share of the sun on a surface with that normal."""
        x, y, z = self.towards
        return max(0.0, nx * x + ny * y + nz * z)


def darker(colour: Colour, factor: float) -> Colour:
    """`colour` times `factor`, up to white."""
    return (min(255.0, colour[0] * factor), min(255.0, colour[1] * factor), min(255.0, colour[2] * factor))

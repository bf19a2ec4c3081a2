"""The still part of a scene: sky, grounds and walls, computed once; and the things that stand in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from hailod.scenes.materials import Field, Material, noise
from hailod.scenes.shapes import Bounds, Shape, bounds, paint, stamp
from hailod.scenes.view import NEAR, Camera, Light
from hailod.types import F32, U8

Ground = tuple[float, float]
"""x and z of a point of the ground, in metres."""


@dataclass(frozen=True, slots=True, eq=False)
class Prop:
    """Something that never moves. Its pixels are in the backdrop; `mask` (of `bounds`) says which, 255 or 0.

    `figure` is its label where it is one of the things to be detected.
    """

    z: float
    bounds: Bounds
    mask: U8
    figure: int | None = None
    area: int = 0


class Backdrop:
    """A picture being built from the far end to the near one."""

    def __init__(self, camera: Camera, light: Light) -> None:
        self._camera = camera
        self._light = light
        self._u = (np.arange(camera.width, dtype=np.float32) + 0.5 - camera.width / 2) / camera.focal_px
        self._v = (np.arange(camera.height, dtype=np.float32) + 0.5 - camera.horizon * camera.height) / camera.focal_px
        self._picture = np.zeros((camera.height, camera.width, 3), np.float32)

    def sky(self, seed: int) -> None:
        """Fill everything with sky."""
        high, low = (np.array(colour, np.float32) for colour in self._light.sky)
        share = np.clip(1 + self._v / max(self._camera.horizon / self._camera.focal, 0.05), 0, 1)[:, None, None]
        self._picture[:] = high * (1 - share) + low * share
        u, v = np.meshgrid(self._u, self._v)
        flat = np.zeros_like(u)
        shifted = u + np.float32(seed % 97)
        clouds = noise(shifted, v * 2.2, 0.55, flat) + 0.5 * noise(shifted, v * 2.2, 0.2, flat)
        cover = np.clip(clouds * 2.4 - 0.1, 0, 0.75)[..., None]
        bright = np.minimum(low * np.float32(1.12) + np.float32(4), 255)
        self._picture[:] = self._picture * (1 - cover) + bright * cover

    def ground(self, material: Material, outline: Sequence[Ground] | None = None) -> None:
        """Cover the ground, or the part of it inside a convex outline."""
        first = int(np.searchsorted(self._v, 1e-3))
        z = np.float32(self._camera.above) / self._v[first:, None]
        x = self._u[None, :] * z
        z = np.broadcast_to(z, x.shape)
        # Distances grow without bound towards the horizon, where only the air is seen.
        x, z = np.clip(x, -400, 400), np.clip(z, 0, 400)
        footprint = z / self._camera.focal_px * np.clip(z / self._camera.above, 1, 8) * 0.6
        share = 0.25 + 0.75 * self._light.towards[1]
        colour = self._lit(material(x, z, footprint), (x, np.zeros_like(x), z), share)
        region = self._picture[first:]
        if outline is None:
            region[:] = colour
            return
        mask = self._mask(self._project_ground(outline), (0, first, self._camera.width, self._camera.height))
        region[:] = region * (1 - mask) + colour * mask

    def wall(
        self, start: Ground, end: Ground, heights: tuple[float, float], material: Material, *, glow: float = 0.0
    ) -> None:
        """A vertical wall between two points of the ground, from one height to another.

        With `glow` it shines by itself, as a lit window does.
        """
        (x1, z1), (x2, z2), (bottom, top) = start, end, heights
        corners = np.array([(x1, bottom, z1), (x2, bottom, z2), (x2, top, z2), (x1, top, z1)], np.float32)
        outline = self._camera.project(corners)
        left, upper, right, lower = bounds([Shape(outline, (0, 0, 0))], self._camera.width, self._camera.height)
        if right <= left or lower <= upper:
            return
        length = float(np.hypot(x2 - x1, z2 - z1))
        ux, uz = (x2 - x1) / length, (z2 - z1) / length
        nx, nz = (uz, -ux) if uz * x1 - ux * z1 < 0 else (-uz, ux)
        u = self._u[None, left:right]
        z = np.clip((nx * x1 + nz * z1) / (nx * u + nz - 1e-9), NEAR, 400)
        z = np.broadcast_to(z, (lower - upper, right - left)).astype(np.float32)
        x = u * z
        y = np.float32(self._camera.above) - self._v[upper:lower, None] * z
        along = (x - x1) * np.float32(ux) + (z - z1) * np.float32(uz)
        towards = self._light.towards
        share = max(0.0, nx * towards[0] + nz * towards[2])
        albedo = material(along, y, z / self._camera.focal_px)
        colour = self._lit(albedo, (x, y, z), 0.15 + 0.85 * share)
        if glow:
            colour = np.maximum(colour, albedo * np.float32(glow))
        mask = self._mask(outline, (left, upper, right, lower))
        region = self._picture[upper:lower, left:right]
        region[:] = region * (1 - mask) + colour * mask

    def finished(self) -> U8:
        """The picture (h, w, 3) in blue, green, red, to stand things in."""
        return np.clip(self._picture, 0, 255).astype(np.uint8)

    def _lit(self, albedo: Field, place: tuple[Field, Field, Field], share: float) -> Field:
        (x, y, z), light = place, self._light
        gain = np.array(light.ambient, np.float32) + np.float32(share) * np.array(light.sun, np.float32)
        factor: Field = np.broadcast_to(gain, albedo.shape)
        for lamp in light.lamps:
            square = (x - lamp.x) ** 2 + (y - lamp.y) ** 2 + (z - lamp.z) ** 2
            strength = 1 / (1 + square / np.float32(lamp.radius**2))
            factor = factor + strength[..., None] * np.array(lamp.colour, np.float32)
        air = 1 - np.exp(-light.haze * z / 60)[..., None]
        lit: Field = np.minimum(albedo * factor, 255) * (1 - air) + np.array(light.sky[1], np.float32) * air
        return lit

    def _project_ground(self, outline: Sequence[Ground]) -> F32:
        points = [(max(-300.0, min(300.0, x)), max(z, NEAR)) for x, z in outline]
        return self._camera.project(np.array([(x, 0.0, z) for x, z in points], np.float32))

    def _mask(self, outline: F32, area: Bounds) -> F32:
        """How much of each pixel of `area` the outline covers, 0..1: (h, w, 1)."""
        x1, y1, x2, y2 = area
        canvas = np.zeros((y2 - y1, x2 - x1), np.uint8)
        paint(canvas, [Shape(outline - np.array([x1, y1], np.float32), (255.0, 255.0, 255.0))])
        return canvas.astype(np.float32)[..., None] / np.float32(255)


def stand(canvas: U8, shapes: Sequence[Shape], z: float, figure: int | None = None) -> Prop | None:
    """Paint something that stays, and tell where it is; None where that is outside the picture."""
    area = bounds(shapes, canvas.shape[1], canvas.shape[0])
    x1, y1, x2, y2 = area
    if x2 <= x1 or y2 <= y1:
        return None
    paint(canvas, shapes)
    mask = np.zeros(canvas.shape[:2], np.uint8)
    stamp(mask, shapes, 255)
    covered = covered_area(shapes) if figure is not None else 0
    return Prop(z, area, np.ascontiguousarray(mask[y1:y2, x1:x2]), figure, covered)


def covered_area(shapes: Sequence[Shape]) -> int:
    """How many pixels the shapes cover, those outside the picture included."""
    points = np.concatenate([shape.outline for shape in shapes])
    low = np.floor(np.clip(points.min(0), -3000, 6000))
    size = np.ceil(np.clip(points.max(0), -3000, 6000) - low).astype(int) + 2
    canvas = np.zeros((int(size[1]), int(size[0])), np.uint8)
    stamp(canvas, [Shape(shape.outline - low.astype(np.float32), shape.colour) for shape in shapes], 255)
    return int(cv2.countNonZero(canvas))


def cast(canvas: U8, outlines: Sequence[Shape], strength: float) -> Bounds | None:
    """Darken the ground under a shadow; returns what was touched, or None."""
    area = bounds(outlines, canvas.shape[1], canvas.shape[0], 4)
    x1, y1, x2, y2 = area
    if strength <= 0.0 or x2 <= x1 or y2 <= y1:
        return None
    mask = np.full((y2 - y1, x2 - x1), 255, np.uint8)
    level = round(255 * (1 - strength))
    offset = np.array([x1, y1], np.float32)
    paint(mask, [Shape(outline - offset, (level, level, level)) for outline, _ in outlines])
    soft = cv2.blur(mask, (3, 3))
    region = canvas[y1:y2, x1:x2]
    cv2.multiply(region, cv2.merge((soft, soft, soft)), dst=region, scale=1 / 255)
    return area

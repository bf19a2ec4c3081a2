"""Cats, which walk or sit."""

from __future__ import annotations

import math

import numpy as np

from hailod.scenes.figure import Pose, palette
from hailod.scenes.shapes import Shape, capsules, disc, hull
from hailod.scenes.solid import on_ground, turned
from hailod.scenes.view import Camera, Colour, Tone, darker
from hailod.types import F32

_FURS = palette("1c1a1a", "8d8a86", "c97b34", "e9e4da", "5d5148", "b79a72", "3c3a3a")
_PINK = palette("d99a94")[0]

STYLES = 20
"""How many different cats there are."""

_CHEST, _RUMP, _HEAD, _NOSE = 0, 1, 2, 3
_LEGS = slice(4, 16)
_TAIL = slice(16, 20)


class Cat:
    """One cat; a style below `STYLES` decides size and fur."""

    label = 2

    def __init__(self, style: int) -> None:
        rng = np.random.default_rng([style, 33])
        self._size = float(rng.uniform(1.05, 1.35))
        self._fur = darker(_FURS[int(rng.integers(len(_FURS)))], float(rng.uniform(0.9, 1.1)))
        self._patch = _FURS[int(rng.integers(len(_FURS)))]
        self._pattern = str(rng.choice(["plain", "striped", "socks", "patched"]))

    def shapes(self, pose: Pose, camera: Camera, tone: Tone) -> list[Shape]:
        local = self._skeleton(pose)
        world = turned(local, pose.yaw) + np.array([pose.x, pose.lift, pose.z], np.float32)
        at = camera.project(world)
        unit = camera.scale(pose.z) * self._size
        to_camera = math.sin(pose.yaw)
        near = 0 if turned(local[4:8], pose.yaw)[0, 2] < turned(local[4:8], pose.yaw)[3, 2] else 1
        body = [*self._legs(at, unit, tone, 1 - near, 0.72)]
        tail = self._tail(at, unit, tone)
        head = self._head(at, pose, unit, tone, to_camera)
        trunk = self._trunk(at, unit, tone)
        legs = self._legs(at, unit, tone, near, 1.0)
        if to_camera > 0.3:
            return [*tail, *body, *trunk, *legs, *head]
        if to_camera < -0.3:
            return [*head, *body, *trunk, *legs, *tail]
        return [*tail, *body, *trunk, *legs, *head]

    def shadow(self, pose: Pose, camera: Camera, towards: tuple[float, float, float]) -> list[Shape]:
        world = turned(self._skeleton(pose), pose.yaw) + np.array([pose.x, pose.lift, pose.z], np.float32)
        at = camera.project(on_ground(world, towards))
        unit = camera.scale(pose.z) * self._size
        return [Shape(hull(at[:4], np.array([0.05, 0.05, 0.04, 0.01], np.float32) * unit), (0.0, 0.0, 0.0))]

    def _skeleton(self, pose: Pose) -> F32:
        """Chest, rump, head, nose, the legs from top over knee to paw, the tail: (20, 3), in metres."""
        sit, points = pose.stoop, np.zeros((20, 3), np.float32)
        points[_CHEST] = (0.14 - 0.03 * sit, 0.2 + 0.05 * sit, 0.0)
        points[_RUMP] = (-0.13 + 0.06 * sit, 0.205 - 0.11 * sit, 0.0)
        points[_HEAD] = np.add(points[_CHEST], (0.1 - 0.06 * sit, 0.085 + 0.035 * sit, 0.0))
        points[_NOSE] = np.add(points[_HEAD], (0.052, -0.012, 0.0))
        for leg in range(4):
            front, side = leg < 2, 1.0 if leg % 2 == 0 else -1.0
            phase = pose.stride + (0.0 if leg in (0, 3) else math.pi) + (0.0 if front else 0.6)
            swing = 0.5 * pose.pace * math.sin(phase)
            rise = 0.03 * pose.pace * max(0.0, math.cos(phase))
            top = np.add(points[_CHEST if front else _RUMP], (0.0, -0.03, 0.045 * side))
            drop = top[1] - 0.012
            folded = (1.0 - front) * sit
            paw = np.add(top, (0.16 * swing + 0.1 * folded, -drop + rise, 0.0))
            knee = (top + paw) / 2 + ((-0.02 if front else 0.03) * (1.0 - folded), rise, 0.0)
            points[4 + 3 * leg : 7 + 3 * leg] = (top, knee, paw)
        sway = 0.03 * math.sin(0.5 * pose.stride)
        root = points[_RUMP]
        points[16] = np.add(root, (-0.06, 0.03 * (1 - sit), 0.0))
        points[17] = np.add(root, (-0.14, 0.05 - 0.1 * sit, sway))
        points[18] = np.add(root, (-0.19, 0.11 - 0.17 * sit, 1.5 * sway))
        points[19] = np.add(root, (-0.2, 0.19 - 0.26 * sit, 2 * sway))
        points[:, 1] = np.maximum(points[:, 1], 0.01)
        return points * np.float32(self._size)

    def _trunk(self, at: F32, unit: float, tone: Tone) -> list[Shape]:
        trunk = at[[_CHEST, _RUMP]]
        outline = hull(trunk, np.array([0.072, 0.08], np.float32) * unit)
        shapes = [Shape(outline, tone.lit(darker(self._fur, 0.85), 0.45))]
        back = hull(trunk + np.array([0.0, -0.02 * unit], np.float32), np.array([0.05, 0.056], np.float32) * unit)
        shapes.append(Shape(back, tone.lit(self._fur, 0.8)))
        if self._pattern == "striped":
            radius = np.full(1, 0.008 * unit, np.float32)
            for share in (0.1, 0.4, 0.7):
                top = trunk[:1] * np.float32(1 - share) + trunk[1:] * np.float32(share)
                high, low = (top + np.array([[0.0, dy * unit]], np.float32) for dy in (-0.06, 0.02))
                shapes.append(Shape(capsules(high, low, radius, radius)[0], tone.lit(darker(self._fur, 0.5), 0.6)))
        elif self._pattern == "patched":
            shapes.append(Shape(disc(trunk[1] * 0.6 + trunk[0] * 0.4, 0.05 * unit, 0.8), tone.lit(self._patch, 0.6)))
        return shapes

    def _legs(self, at: F32, unit: float, tone: Tone, side: int, shade: float) -> list[Shape]:
        legs = at[_LEGS].reshape(4, 3, 2)[[side, side + 2]]
        starts, ends = legs[:, :2].reshape(-1, 2), legs[:, 1:].reshape(-1, 2)
        radii = np.array([0.032, 0.022, 0.04, 0.022], np.float32) * unit
        tips = np.array([0.022, 0.018, 0.022, 0.018], np.float32) * unit
        upper = tone.lit(darker(self._fur, 0.85 * shade), 0.45)
        lower = tone.lit(darker((225.0, 228.0, 232.0), shade), 0.45) if self._pattern == "socks" else upper
        outlines = capsules(starts, ends, radii, tips)
        return [Shape(outline, lower if index % 2 else upper) for index, outline in enumerate(outlines)]

    def _tail(self, at: F32, unit: float, tone: Tone) -> list[Shape]:
        chain = at[_TAIL]
        radii = np.array([0.02, 0.018, 0.016], np.float32) * unit
        colour = tone.lit(darker(self._fur, 0.8), 0.5)
        return [Shape(outline, colour) for outline in capsules(chain[:-1], chain[1:], radii, radii * np.float32(0.9))]

    def _head(self, at: F32, pose: Pose, unit: float, tone: Tone, to_camera: float) -> list[Shape]:
        head, radius, ahead = at[_HEAD], 0.058 * unit, math.cos(pose.yaw)
        fur: Colour = tone.lit(self._fur, 0.7)
        neck = hull(at[[_CHEST, _HEAD]], np.array([0.05, 0.042], np.float32) * unit)
        shapes = [Shape(neck, tone.lit(darker(self._fur, 0.9), 0.55))]
        for side in (-1.0, 1.0):
            base = head + np.array([side * 0.55 * max(0.45, abs(to_camera)) - 0.1 * ahead, -0.55]) * radius
            ear = np.array(
                [base + np.array(p) * radius for p in ((-0.42, 0.15), (0.0, -0.85), (0.42, 0.15))], np.float32
            )
            shapes.append(Shape(ear, tone.lit(darker(self._fur, 0.8), 0.5)))
        shapes.append(Shape(disc(head, radius, 0.92), fur))
        if to_camera > -0.4:
            muzzle = at[_NOSE] * 0.7 + head * 0.3 + np.array([0.0, 0.18], np.float32) * np.float32(radius)
            light = darker(self._fur, 1.25) if self._pattern != "socks" else (225.0, 228.0, 232.0)
            shapes.append(Shape(disc(muzzle, radius * 0.5, 0.75), tone.lit(light, 0.7)))
            if radius > 3.0:
                shapes.append(
                    Shape(disc(muzzle - np.array([0.0, 0.15 * radius], np.float32), radius * 0.13), tone.lit(_PINK))
                )
                for side in (-0.4, 0.4):
                    eye = head + np.array([side * max(0.35, to_camera) + 0.45 * ahead, -0.1]) * radius
                    shapes.append(
                        Shape(disc(eye.astype(np.float32), radius * 0.15), tone.lit((70.0, 190.0, 170.0), 0.9))
                    )
        return shapes

"""People: a skeleton that walks, and the clothes on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hailod.scenes.figure import Pose, palette
from hailod.scenes.shapes import Shape, capsules, disc, hull
from hailod.scenes.solid import on_ground, turned
from hailod.scenes.view import Camera, Colour, Tone, darker
from hailod.types import F32

_TOPS = palette("b5322b", "2e5c8a", "e8e2d2", "3a3f47", "d9a227", "4f7a4a", "7b4f8f", "c96f3b", "5fa3a8", "1f2a44")
_TROUSERS = palette("27364f", "3b3b3d", "6f6a5c", "8a7a5a", "1e1e22", "4a5d73", "7c7f86")
_SKINS = palette("f0c8a8", "d9a27c", "a86f4b", "7a4a2e", "e6b893")
_HAIRS = palette("2a1c14", "5b3a21", "a67c45", "15120f", "b8b2a8", "8a3d1e")
_SHOES = palette("f2f2f0", "2a2522", "5b3b28", "8c8c90")

STYLES = 40
"""How many different people there are."""

# The skeleton's joints.
_HIPS, _KNEES, _ANKLES, _TOES = (0, 1), (2, 3), (4, 5), (6, 7)
_SHOULDERS, _ELBOWS, _HANDS = (8, 9), (10, 11), (12, 13)
_NECK, _HEAD = 14, 15
_DETAIL_PX = 26.0


@dataclass(frozen=True, slots=True)
class Clothes:
    """How one person looks."""

    height: float
    girth: float
    top: Colour
    bottom: Colour
    skin: Colour
    hair: Colour
    shoe: Colour
    skirt: float
    sleeves: bool
    shorts: bool
    long_hair: bool
    hat: Colour | None
    pack: Colour | None
    vest: bool


class Person:
    """One person; a style below `STYLES` decides size, hair and clothes."""

    label = 0

    def __init__(self, style: int) -> None:
        rng = np.random.default_rng([style, 11])

        def any_of(colours: Sequence[Colour]) -> Colour:
            return darker(colours[int(rng.integers(len(colours)))], float(rng.uniform(0.85, 1.12)))

        child = rng.random() < 0.12
        self._is = Clothes(
            height=float(rng.uniform(1.15, 1.4) if child else rng.normal(1.73, 0.08)),
            girth=float(rng.uniform(0.88, 1.25)),
            top=any_of(_TOPS),
            bottom=any_of(_TROUSERS),
            skin=any_of(_SKINS),
            hair=any_of(_HAIRS),
            shoe=any_of(_SHOES),
            skirt=float(rng.choice([0.0, 0.0, 0.0, 0.34, 0.48])),
            sleeves=bool(rng.random() < 0.7),
            shorts=bool(rng.random() < 0.2),
            long_hair=bool(rng.random() < 0.4),
            hat=any_of(_TOPS) if rng.random() < 0.25 else None,
            pack=any_of(_TOPS) if rng.random() < 0.25 else None,
            vest=bool(rng.random() < 0.08),
        )

    @property
    def hands_height(self) -> float:
        """How high a parcel is carried, in metres."""
        return 0.55 * self._is.height

    def shapes(self, pose: Pose, camera: Camera, tone: Tone) -> list[Shape]:
        wears = self._is
        local = self._skeleton(pose)
        world = turned(local, pose.yaw) + np.array([pose.x, pose.lift, pose.z], np.float32)
        joints = camera.project(world)
        unit = camera.scale(pose.z) * wears.height
        to_camera = math.sin(pose.yaw)
        detailed = unit > _DETAIL_PX
        near = 0 if turned(local[8:10], pose.yaw)[0, 2] < turned(local[8:10], pose.yaw)[1, 2] else 1
        sides = (1 - near, near)

        shapes: list[Shape] = []
        for side in sides:
            shade = 1.0 if side == near else 0.8
            shapes += self._leg(joints, side, unit, tone, shade)
        if wears.pack is not None and to_camera > 0.2:
            shapes.append(self._backpack(joints, pose, unit, tone))
        shapes += self._arm(joints, sides[0], unit, tone, 0.8)
        shapes += self._torso(joints, unit, tone, detailed)
        if wears.pack is not None and to_camera <= 0.2:
            shapes.append(self._backpack(joints, pose, unit, tone))
        shapes += self._face(joints, pose, unit, tone)
        shapes += self._arm(joints, sides[1], unit, tone, 1.0)
        return shapes

    def shadow(self, pose: Pose, camera: Camera, towards: tuple[float, float, float]) -> list[Shape]:
        world = turned(self._skeleton(pose), pose.yaw) + np.array([pose.x, pose.lift, pose.z], np.float32)
        joints = camera.project(on_ground(world, towards))
        unit = camera.scale(pose.z) * self._is.height
        starts, ends = [*_HIPS, *_KNEES, *_SHOULDERS], [*_KNEES, *_ANKLES, *_HANDS]
        radii = np.full(len(starts), 0.03 * unit, np.float32)
        black = (0.0, 0.0, 0.0)
        limbs = [Shape(o, black) for o in capsules(joints[starts], joints[ends], radii, radii)]
        body = hull(joints[[*_HIPS, *_SHOULDERS, _HEAD]], np.full(5, 0.04 * unit, np.float32))
        return [*limbs, Shape(body, black)]

    def _skeleton(self, pose: Pose) -> F32:
        """The joints (16, 3): forward, up, left, in metres."""
        joints = np.zeros((16, 3), np.float32)
        crouch = 0.5 * pose.stoop
        for side, sign in ((0, 1.0), (1, -1.0)):
            phase = pose.stride + side * math.pi
            swing = pose.pace * 0.47 * math.sin(phase) + 0.9 * crouch
            knee = pose.pace * (0.12 + 0.75 * max(0.0, math.cos(phase))) + 2.0 * crouch
            joints[_HIPS[side]] = (0.0, 0.0, sign * 0.052)
            joints[_KNEES[side]] = np.add(joints[_HIPS[side]], (0.245 * math.sin(swing), -0.245 * math.cos(swing), 0.0))
            shin = swing - knee
            joints[_ANKLES[side]] = np.add(joints[_KNEES[side]], (0.235 * math.sin(shin), -0.235 * math.cos(shin), 0.0))
            lifted = 0.5 * pose.pace * max(0.0, math.cos(phase))
            joints[_TOES[side]] = joints[_ANKLES[side]] + (0.085, -0.012 - 0.05 * lifted, sign * 0.012)
        lean = 0.06 * pose.pace + 1.05 * pose.stoop
        up = np.array([math.sin(lean), math.cos(lean), 0.0], np.float32)
        reach = 0.9 + 0.5 * pose.stoop if pose.carrying or pose.stoop > 0.3 else None
        for side, sign in ((0, 1.0), (1, -1.0)):
            phase = pose.stride + side * math.pi
            shoulder = 0.3 * up + np.array([0.0, 0.0, sign * 0.1 * self._is.girth], np.float32)
            upper = -0.5 * pose.pace * math.sin(phase) + 0.5 * lean if reach is None else 0.35 * reach
            lower = upper + 0.25 + 0.3 * pose.pace if reach is None else 1.35 * reach
            joints[_SHOULDERS[side]] = shoulder
            joints[_ELBOWS[side]] = np.add(shoulder, (0.165 * math.sin(upper), -0.165 * math.cos(upper), sign * 0.02))
            joints[_HANDS[side]] = joints[_ELBOWS[side]] + (0.15 * math.sin(lower), -0.15 * math.cos(lower), 0.0)
        joints[_NECK] = 0.335 * up
        joints[_HEAD] = 0.335 * up + np.array([0.015 + 0.06 * math.sin(lean), 0.085, 0.0], np.float32)
        joints[:, 1] -= min(joints[4, 1], joints[5, 1]) - 0.03
        return joints * np.float32(self._is.height)

    def _leg(self, joints: F32, side: int, unit: float, tone: Tone, shade: float) -> list[Shape]:
        wears = self._is
        thick = unit * wears.girth
        hip, knee, ankle, toe = _HIPS[side], _KNEES[side], _ANKLES[side], _TOES[side]
        outlines = capsules(
            joints[[hip, knee, ankle]],
            joints[[knee, ankle, toe]],
            np.array([0.056 * thick, 0.042 * thick, 0.028 * unit], np.float32),
            np.array([0.042 * thick, 0.03 * thick, 0.02 * unit], np.float32),
        )
        bare = wears.skirt > 0 or wears.shorts
        thigh = darker(wears.bottom, shade)
        shin = darker(wears.skin if bare else wears.bottom, shade * 0.94)
        lit = tone.lit
        return [
            Shape(outlines[2], lit(darker(wears.shoe, shade), 0.5)),
            Shape(outlines[1], lit(shin, 0.45)),
            Shape(outlines[0], lit(thigh, 0.55)),
        ]

    def _arm(self, joints: F32, side: int, unit: float, tone: Tone, shade: float) -> list[Shape]:
        wears = self._is
        thick = unit * wears.girth
        shoulder, elbow, hand = _SHOULDERS[side], _ELBOWS[side], _HANDS[side]
        outlines = capsules(
            joints[[shoulder, elbow]],
            joints[[elbow, hand]],
            np.array([0.04 * thick, 0.031 * thick], np.float32),
            np.array([0.032 * thick, 0.023 * unit], np.float32),
        )
        lower = wears.top if wears.sleeves else wears.skin
        lit = tone.lit
        return [
            Shape(disc(joints[hand], 0.026 * unit), lit(darker(wears.skin, shade), 0.5)),
            Shape(outlines[1], lit(darker(lower, shade * 0.95), 0.55)),
            Shape(outlines[0], lit(darker(wears.top, shade * 0.92), 0.7)),
        ]

    def _torso(self, joints: F32, unit: float, tone: Tone, detailed: bool) -> list[Shape]:
        wears = self._is
        thick = unit * wears.girth
        trunk = joints[[*_HIPS, *_SHOULDERS]]
        outline = hull(trunk, np.array([0.062, 0.062, 0.05, 0.05], np.float32) * thick)
        shapes = [
            Shape(
                capsules(joints[[_NECK]], joints[[_HEAD]], *np.full((2, 1), 0.03 * unit, np.float32))[0],
                tone.lit(darker(wears.skin, 0.85), 0.4),
            )
        ]
        if wears.skirt:
            hem = trunk[:2] + (joints[list(_KNEES)] - trunk[:2]) * np.float32(wears.skirt / 0.34)
            cloth = hull(np.concatenate((trunk[:2], hem)), np.array([0.062, 0.062, 0.07, 0.07], np.float32) * thick)
            shapes.append(Shape(cloth, tone.lit(darker(wears.bottom if wears.skirt < 0.4 else wears.top, 0.95), 0.5)))
        shapes.append(Shape(outline, tone.lit(darker(wears.top, 0.86), 0.45)))
        if detailed:
            lit_side = np.array([0.02 * unit * (1 if tone.towards[0] >= 0 else -1), -0.006 * unit], np.float32)
            bright = hull(
                trunk * np.float32(0.9) + trunk.mean(0) * np.float32(0.1) + lit_side,
                np.array([0.042, 0.042, 0.032, 0.032], np.float32) * thick,
            )
            shapes.append(Shape(bright, tone.lit(wears.top, 0.85)))
            if wears.vest:
                for share in (0.35, 0.6):
                    band = trunk[:2] * np.float32(1 - share) + trunk[2:] * np.float32(share)
                    radius = np.full(1, 0.014 * unit, np.float32)
                    stripe = capsules(band[:1], band[1:], radius, radius)[0]
                    shapes.append(Shape(stripe, tone.lit((200.0, 250.0, 240.0), 1.0)))
        return shapes

    def _face(self, joints: F32, pose: Pose, unit: float, tone: Tone) -> list[Shape]:
        wears = self._is
        head, radius = joints[_HEAD], 0.062 * unit
        ahead, to_camera = math.cos(pose.yaw), math.sin(pose.yaw)
        skin = Shape(disc(head, radius, 1.22), tone.lit(wears.skin, 0.65))
        hair_at = head + np.array([-0.3 * ahead, -0.32 + 0.12 * min(to_camera, 0.0)], np.float32) * np.float32(radius)
        hair = Shape(disc(hair_at, radius * 1.06, 1.08), tone.lit(wears.hair, 0.6))
        shapes: list[Shape] = []
        if wears.long_hair and to_camera < 0.3:
            fall = head + np.array([-0.45 * ahead, 0.9], np.float32) * np.float32(radius)
            shapes.append(Shape(disc(fall, radius * 0.85, 1.4), tone.lit(darker(wears.hair, 0.85), 0.5)))
        if to_camera < -0.35:
            shapes = [skin, *shapes, hair]
        else:
            front = head + np.array([0.22 * ahead, 0.18], np.float32) * np.float32(radius)
            shapes += [skin, hair, Shape(disc(front, radius * 0.86, 1.12), tone.lit(wears.skin, 0.7))]
            if radius > 4.0:
                for eye in (-0.36, 0.36):
                    if abs(ahead) < 0.8 or eye * ahead > 0:
                        at = front + np.array([eye * max(0.3, to_camera) + 0.35 * ahead, -0.1]) * radius
                        shapes.append(Shape(disc(at.astype(np.float32), radius * 0.12), tone.lit((30.0, 30.0, 40.0))))
        if wears.hat is not None:
            crown = head + np.array([0.0, -0.75], np.float32) * np.float32(radius)
            brim = head + np.array([0.45 * ahead, -0.5], np.float32) * np.float32(radius)
            shapes.append(Shape(disc(crown, radius * 1.02, 0.62), tone.lit(wears.hat, 0.8)))
            shapes.append(Shape(disc(brim, radius * 1.15, 0.2), tone.lit(darker(wears.hat, 0.75), 0.6)))
        return shapes

    def _backpack(self, joints: F32, pose: Pose, unit: float, tone: Tone) -> Shape:
        assert self._is.pack is not None
        middle = joints[[*_SHOULDERS, *_HIPS]].mean(0)
        at = middle + np.array([-0.085 * math.cos(pose.yaw), -0.03], np.float32) * np.float32(unit)
        width = 0.075 + 0.03 * abs(math.sin(pose.yaw))
        return Shape(disc(at, width * unit, 1.55), tone.lit(self._is.pack, 0.6))

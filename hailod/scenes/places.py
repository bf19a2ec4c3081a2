"""The places where scenes play: what they look like, and the ways through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from hailod.scenes.backdrop import Backdrop
from hailod.scenes.materials import plain, tiles
from hailod.scenes.place import Drop, Place, Plan, Standing
from hailod.scenes.plants import railing
from hailod.scenes.view import Lamp, Light, darker


class Driveway(Place):
    """From a house over its drive to the street."""

    def __init__(self, size: tuple[int, int], looks: np.random.Generator, jitter: np.random.Generator) -> None:
        super().__init__(size, looks, jitter)
        self.camera = self._camera(above=3.0, horizon=0.25, focal=0.95)
        self._side = side = 1.0 if looks.random() < 0.5 else -1.0
        self._middle = m = side * float(looks.uniform(0.6, 1.6))
        self._kerb = k = float(looks.uniform(12.5, 14.5))
        self.lamps = (
            Lamp(m - side * 4.5, 4.5, k + 1.5, 5.0, (0.5, 0.8, 0.95)),
            Lamp(0.0, 2.8, 1.5, 4.5, (0.55, 0.75, 0.85)),
        )
        e = self.camera.reach(k + 2) + 1.0
        near, far = k + 4.6, k + 7.4
        wide = self.camera.reach(far) + 4.0
        spot = (m - side * 3.1, float(looks.uniform(4.6, 6.4)))
        door = (-side * (self.camera.reach(4.2) + 1.0), 4.2)
        stop = (m, 9.4)
        occupied = looks.random() < 0.5
        self.plan = Plan(
            walks=(
                ((-e, k + 1.0), (e, k + 1.3)),
                ((e, k + 0.8), (-e, k + 0.8)),
                ((e * side, k + 1.2), (m + side * 1.9, k - 0.5), (m + side * 1.6, 6.0), (-side * 1.2, 3.4), door),
                (door, (m - side * 1.9, 6.8), (m - side * 1.7, k + 0.9), (-e * side, k + 1.1)),
                ((-e, far + 3.0), (e, far + 3.1)),
            ),
            cats=(
                ((-self.camera.reach(6.0) - 0.5, 6.0), (-1.0, 6.2), (self.camera.reach(5.2) + 0.5, 5.2)),
                ((self.camera.reach(6.8) + 0.5, 6.8), (0.5, 5.2), (-self.camera.reach(4.4) - 0.5, 4.4)),
                ((-self.camera.reach(k) - 0.5, k - 0.5), (self.camera.reach(k) + 0.5, k - 0.3)),
            ),
            drives=(((-wide, far), (wide, far)), ((wide, near), (-wide, near))),
            drops=(
                Drop(
                    ((e * side, k + 1.0), (m + side * 0.3, k - 1.0), (m - side * 1.6, 8.0), spot),
                    (spot, (m - side * 1.4, 8.5), (m + side * 0.3, k), (-e * side, k + 0.9)),
                    (door, (spot[0] - side * 0.8, spot[1] - 0.5), spot),
                    (spot, (spot[0] - side * 0.9, spot[1] - 0.3), door),
                ),
            ),
            parked=((m, 9.4, float(looks.choice([np.pi / 2, -np.pi / 2]))),) if occupied else (),
            park=None if occupied else (((-wide, far), (m - 6, far), (m - 0.6, k + 4.5), (m, k), stop), stop),
        )

    def paint(self, backdrop: Backdrop, light: Light) -> list[Standing]:
        m, k, side = self._middle, self._kerb, self._side
        far = 400.0
        backdrop.sky(self._plants)
        backdrop.ground(self._lawn)
        self._row(backdrop, light, k + 17, gaps=4.0)
        for x1, x2, z1, z2, look in (
            (-far, far, k + 8.6, k + 10.4, self._pavement),
            (-far, far, k + 2.4, k + 8.6, self._road),
            (-far, far, k + 2.2, k + 2.4, plain((150.0, 150.0, 150.0))),
            (-far, far, k, k + 2.2, self._pavement),
            (m - 1.75, m + 1.75, 1.0, k, self._drive),
            (m - 1.7, m + 1.7, k, k + 2.4, self._drive),
        ):
            backdrop.ground(look, ((x1, z1), (x2, z1), (x2, z2), (x1, z2)))
        for x in np.arange(-40, 40, 4.0):
            backdrop.ground(
                plain((215.0, 218.0, 218.0)),
                ((x, k + 5.4), (x + 1.8, k + 5.4), (x + 1.8, k + 5.52), (x, k + 5.52)),
            )
        rng = np.random.default_rng([self._plants, 9])
        standing = [
            self._tree(light, (m + side * 6.5, k + 13), float(rng.uniform(5, 7))),
            self._tree(light, (m - side * 9.5, k + 12), float(rng.uniform(4.5, 7))),
            self._bush(light, (m + side * 2.9, k - 0.9), 1.8, 1.1),
            self._bush(light, (m - side * 2.7, k - 0.6), 1.3, 0.9),
            self._bush(light, (m - side * 5.2, k - 0.8), 2.2, 1.2),
            self._lamp(light, (m - side * 4.5, k + 2.0), 4.6),
            self._bush(light, (m + side * 2.8, 5.6), 1.1, 0.8),
        ]
        if rng.random() < 0.6:
            standing.append(self._bin(light, (m + side * 2.5, 7.5), (70.0, 92.0, 58.0)))
        if rng.random() < 0.7:
            standing.append(self._post(light, (-side * 1.9, 3.3), (0.14, 2.9), self._wood))
        return standing


class Street(Place):
    """Over a street to the houses on its other side."""

    def __init__(self, size: tuple[int, int], looks: np.random.Generator, jitter: np.random.Generator) -> None:
        super().__init__(size, looks, jitter)
        self.camera = self._camera(above=3.6, horizon=0.2, focal=0.9)
        self._kerb = k = float(looks.uniform(5.6, 6.6))
        self.lamps = (
            Lamp(-4.5, 5.0, k + 0.2, 5.0, (0.5, 0.85, 1.05)),
            Lamp(6.5, 5.0, k + 9.2, 5.0, (0.5, 0.85, 1.05)),
            Lamp(-11.0, 5.0, k + 9.2, 5.0, (0.5, 0.85, 1.05)),
        )
        reach = self.camera.reach
        near, far = k + 3.6, k + 6.4
        wide = reach(far) + 4.0
        self._spot = spot = (float(looks.uniform(1.2, 2.4)), float(looks.uniform(4.8, 5.3)))
        e = reach(4.6) + 0.8
        lots = [x for x in np.arange(-14, 15, 5.4) if looks.random() < 0.55]
        self.plan = Plan(
            walks=(
                ((-e, 4.6), (e, 4.3)),
                ((reach(5.2) + 0.8, 5.2), (-reach(5.2) - 0.8, 5.0)),
                ((-reach(k + 9.6) - 1, k + 9.9), (reach(k + 9.6) + 1, k + 10.2)),
                ((reach(k + 9.6) + 1, k + 10.5), (-reach(k + 9.6) - 1, k + 10.5)),
                ((-e, 4.8), (-1.0, 5.2), (0.2, k + 4.5), (1.2, k + 9.9), (reach(k + 10) + 1, k + 10.2)),
            ),
            cats=(
                ((-reach(4.0) - 0.5, 4.0), (0.3, 4.9), (reach(4.2) + 0.5, 4.2)),
                ((reach(5.4) + 0.5, 5.4), (-0.5, 4.0), (-reach(5.0) - 0.5, 5.0)),
                ((-reach(k + 3) - 0.5, k + 1.2), (0.0, k + 3.0), (reach(5.5) + 0.5, 5.0)),
            ),
            drives=(((-wide, far), (wide, far)), ((wide, near), (-wide, near))),
            drops=(
                Drop(
                    ((-e, 4.9), (spot[0] - 1.5, spot[1] + 0.3), spot),
                    (spot, (spot[0] - 0.7, spot[1] + 0.8), (-e, 5.3)),
                    ((e, 4.4), (spot[0] + 1.2, spot[1] + 0.2), spot),
                    (spot, (spot[0] + 0.8, spot[1] + 0.6), (e, 4.7)),
                ),
            ),
            parked=tuple((float(x), k + 8.3, float(looks.choice([0.0, np.pi]))) for x in lots),
            park=(
                ((wide, near), (5.0, near), (0.5, k + 1.5), (-1.2, k + 1.1), (-6.0, near), (-wide, near)),
                (-1.2, k + 1.1),
            ),
        )

    def paint(self, backdrop: Backdrop, light: Light) -> list[Standing]:
        k, far = self._kerb, 400.0
        backdrop.sky(self._plants)
        backdrop.ground(self._pavement)
        self._row(backdrop, light, k + 12.5)
        backdrop.ground(self._road, ((-far, k), (far, k), (far, k + 9.4), (-far, k + 9.4)))
        for z in (k - 0.12, k + 9.4):
            backdrop.ground(plain((165.0, 165.0, 165.0)), ((-far, z), (far, z), (far, z + 0.16), (-far, z + 0.16)))
        for x in np.arange(-40, 40, 4.0):
            backdrop.ground(
                plain((215.0, 218.0, 218.0)),
                ((x, k + 5.0), (x + 1.8, k + 5.0), (x + 1.8, k + 5.12), (x, k + 5.12)),
            )
        rng = np.random.default_rng([self._plants, 9])
        standing = [
            self._lamp(light, (-4.5, k - 0.3), 5.2),
            self._lamp(light, (6.5, k + 9.7), 5.2),
            self._lamp(light, (-11.0, k + 9.7), 5.2),
            self._tree(light, (float(rng.uniform(8, 11)), k + 10.2), 4.6),
            self._tree(light, (float(rng.uniform(-5, -2)), k + 10.3), 4.2),
            self._bush(light, (float(rng.uniform(-3.4, -2.2)), 3.6), 1.2, 0.75),
        ]
        if rng.random() < 0.7:
            x = float(rng.uniform(2.8, 3.6))
            standing.append(self._tree(light, (x, k - 0.6), 4.4))
        if rng.random() < 0.5:
            standing.append(self._bin(light, (self._spot[0] + 1.0, 5.3), (60.0, 70.0, 66.0)))
        for x in np.arange(-7.2, 8, 2.4):
            if rng.random() < 0.5:
                standing.append(self._post(light, (float(x), k - 0.35), (0.12, 0.95), (70.0, 72.0, 74.0)))
        return standing


class Garden(Place):
    """A lawn with a fence behind it, a path, and a car under a carport."""

    def __init__(self, size: tuple[int, int], looks: np.random.Generator, jitter: np.random.Generator) -> None:
        super().__init__(size, looks, jitter)
        self.camera = self._camera(above=2.5, horizon=0.24, focal=0.85)
        self._side = side = 1.0 if looks.random() < 0.5 else -1.0
        self._fence = fence = float(looks.uniform(12, 16))
        reach = self.camera.reach
        self._path = p = side * float(looks.uniform(0.4, 1.4))
        carport = (-side * (reach(fence - 3.4) * 0.62), fence - 3.2)
        self._carport = carport
        self.lamps = (
            Lamp(0.0, 2.6, 1.5, 4.5, (0.55, 0.75, 0.85)),
            Lamp(p + side * 2.0, 1.6, 8.0, 3.0, (0.5, 0.75, 0.9)),
            Lamp(carport[0], 2.6, carport[1] - 1.5, 4.0, (0.6, 0.75, 0.85)),
        )
        spot = (p - side * 1.5, float(looks.uniform(4.2, 5.8)))
        gate, out = (p + side * 1.2, fence - 0.6), (side * (reach(4.4) + 0.8), 4.4)
        away = -side * (reach(5.6) + 0.8)
        yard = fence - 3.2
        stop = (carport[0] + side * 0.3, yard)
        occupied = looks.random() < 0.6
        self.plan = Plan(
            walks=(
                (gate, (p, 8.5), (p - side * 0.3, 5.0), out),
                (out, (p, 5.6), (p + side * 0.2, 9.0), gate),
                ((-reach(6.5) - 0.8, 6.5), (0.0, 7.4), (reach(7.0) + 0.8, 7.0)),
                ((reach(9.5) + 0.8, 9.5), (-reach(8.5) - 0.8, 8.5)),
                ((-reach(3.2) - 0.6, 3.3), (reach(3.6) + 0.6, 3.6)),
            ),
            cats=(
                ((-reach(4.6) - 0.5, 4.6), (0.4, 6.4), (reach(5.4) + 0.5, 5.4)),
                ((reach(7.5) + 0.5, 7.5), (0.0, 4.2), (-reach(3.4) - 0.5, 3.4)),
                ((-reach(9.5) - 0.5, 9.5), (reach(8.0) + 0.5, 8.0)),
            ),
            drives=(),
            drops=(
                Drop(
                    (gate, (p, 8.0), (spot[0] + side * 0.6, spot[1] + 1.6), spot),
                    (spot, (p - side * 0.2, 7.5), gate),
                    ((away, 5.6), (spot[0] - side, spot[1] - 0.2), spot),
                    (spot, (spot[0] - side * 0.9, spot[1] + 0.5), (away, 5.8)),
                ),
            ),
            parked=((carport[0], carport[1], float(looks.choice([0.0, np.pi]) + looks.uniform(-0.5, 0.5))),)
            if occupied
            else (),
            park=None if occupied else (((-side * (reach(yard) + 4), yard), (carport[0] - side, yard), stop), stop),
        )

    def paint(self, backdrop: Backdrop, light: Light) -> list[Standing]:
        side, fence, p = self._side, self._fence, self._path
        backdrop.sky(self._plants)
        backdrop.ground(self._lawn)
        self._row(backdrop, light, fence + 14, gaps=8.0)
        reach = self.camera.reach(fence) + 1
        boards = tiles(self._wood, 0.16, 6.0, 0.01)
        backdrop.wall((-reach, fence), (reach, fence), (0.0, 1.5 + 0.4 * (self._plants % 2)), boards)
        backdrop.wall((-reach, fence), (reach, fence), (1.2, 1.3), plain(darker(self._wood, 0.8)))
        c = self._carport
        yard = c[1]
        ends = (c[0] - side * 60, c[0] + side * 2.6)
        backdrop.ground(
            self._drive, ((ends[0], yard - 1.5), (ends[1], yard - 1.5), (ends[1], yard + 1.6), (ends[0], yard + 1.6))
        )
        for index, z in enumerate(np.arange(2.0, fence - 1, 0.85)):
            x = p + 0.25 * side * float(np.sin(0.5 * index))
            outline = ((x - 0.42, z), (x + 0.42, z), (x + 0.4, z + 0.62), (x - 0.4, z + 0.62))
            backdrop.ground(plain((168.0, 174.0, 178.0), 0.15), outline)
        rng = np.random.default_rng([self._plants, 9])
        standing = [
            self._tree(light, (side * float(rng.uniform(4, 6)), fence - 1.6), float(rng.uniform(3.5, 5))),
            self._bush(light, (p + side * 3.0, fence - 2.4), 2.0, 1.3),
            self._bush(light, (p + side * 2.3, 6.9), 1.2, 0.8),
            self._bush(light, (p - side * 2.6, 8.2), 1.0, 0.7),
            self._bush(light, (-side * 1.9, 3.7), 0.9, 0.6),
            self._post(light, (c[0] + side * 2.4, yard - 1.6), (0.14, 2.4), self._wood),
            self._post(light, (c[0] - side * 2.4, yard - 1.6), (0.14, 2.4), self._wood),
        ]
        if rng.random() < 0.6:
            standing.append(self._post(light, (side * 1.5, 3.0), (0.13, 2.9), self._wood))
        return standing


class Porch(Place):
    """From a front door over the porch to the street, as a doorbell sees it."""

    def __init__(self, size: tuple[int, int], looks: np.random.Generator, jitter: np.random.Generator) -> None:
        super().__init__(size, looks, jitter)
        self.camera = self._camera(above=1.75, horizon=0.34, focal=0.72)
        self._edge = edge = float(looks.uniform(3.4, 4.2))
        self._kerb = k = float(looks.uniform(9.0, 11.0))
        reach = self.camera.reach
        self._side = side = 1.0 if looks.random() < 0.5 else -1.0
        self.lamps = (
            Lamp(0.0, 2.5, 1.2, 3.2, (0.6, 0.85, 0.95)),
            Lamp(side * 6.0, 4.8, k + 2.2, 5.0, (0.5, 0.85, 1.0)),
        )
        near, far = k + 4.2, k + 7.0
        wide = reach(far) + 4.0
        e = reach(k + 1) + 1
        spot = (-side * float(looks.uniform(0.6, 1.2)), float(looks.uniform(2.95, 3.3)))
        exit_ = (side * (reach(2.5) + 0.6), 2.5)
        self.plan = Plan(
            walks=(
                ((-e, k + 1.0), (e, k + 1.2)),
                ((e, k + 0.8), (-e, k + 0.9)),
                ((e * side, k + 0.9), (side * 0.4, k - 1.5), (side * 0.2, edge + 0.5), (side * 0.6, 2.9), exit_),
                (exit_, (side * 0.3, 2.9), (side * 0.1, edge + 0.8), (0.2, k - 1.0), (-e * side, k + 1.0)),
            ),
            cats=(
                ((-reach(2.6) - 0.4, 2.6), (0.2, 3.1), (reach(2.8) + 0.4, 2.8)),
                ((reach(5.5) + 0.5, 5.5), (-0.5, 6.5), (-reach(5.0) - 0.5, 5.0)),
                ((-reach(3.0) - 0.4, 2.9), (0.3, 2.5), (0.2, edge + 1.2), (reach(6.0) + 0.5, 6.0)),
            ),
            drives=(((-wide, far), (wide, far)), ((wide, near), (-wide, near))),
            drops=(
                Drop(
                    ((-e * side, k + 0.9), (0.1, k - 1.5), (0.0, edge + 0.6), spot),
                    (spot, (0.1, edge + 0.8), (0.2, k - 1.2), (e * side, k + 1.0)),
                    (exit_, (side * 0.5, 2.7), spot),
                    (spot, (side * 0.4, 2.8), exit_),
                ),
            ),
            parked=tuple((float(x), k + 8.6, 0.0) for x in np.arange(-12, 13, 6.0) if looks.random() < 0.4),
            park=(
                ((wide, near), (5.0, near), (0.5, k + 3.0), (-1.2, k + 2.9), (-6.0, near), (-wide, near)),
                (-1.2, k + 2.9),
            ),
        )

    def paint(self, backdrop: Backdrop, light: Light) -> list[Standing]:
        edge, k, far, side = self._edge, self._kerb, 400.0, self._side
        backdrop.sky(self._plants)
        backdrop.ground(self._lawn)
        self._row(backdrop, light, k + 14, gaps=3.0)
        for x1, x2, z1, z2, look in (
            (-far, far, k + 9.8, k + 11.4, self._pavement),
            (-far, far, k + 1.9, k + 9.8, self._road),
            (-far, far, k, k + 1.9, self._pavement),
            (-0.75, 0.75, edge, k, self._drive),
            (-far, far, 0.5, edge, tiles(self._wood, 0.14, 3.0, 0.007)),
        ):
            backdrop.ground(look, ((x1, z1), (x2, z1), (x2, z2), (x1, z2)))
        rng = np.random.default_rng([self._plants, 9])
        reach = self.camera.reach(edge) + 0.3
        white = (222.0, 226.0, 228.0) if rng.random() < 0.5 else self._wood
        standing = [
            self._tree(light, (side * 5.5, k - 1.6), float(rng.uniform(4, 5.5))),
            self._lamp(light, (side * 6.0, k + 1.7), 4.8),
            self._bush(light, (-side * 2.6, edge + 0.9), 1.4, 0.9),
            self._bush(light, (side * 3.4, edge + 1.1), 1.6, 0.9),
            self._bush(light, (-side * 5.0, k - 0.8), 1.8, 1.1),
        ]
        tone = light.at(0.0, 1.0, edge)
        for x1, x2 in ((-reach, -1.0), (1.0, reach)):
            standing.append(Standing(edge, tuple(railing(self.camera, tone, (x1, x2), edge, white))))
        for x in (-1.0, 1.0):
            standing.append(self._post(light, (x * 1.05, edge), (0.15, 3.0), white))
        return standing


PLACES: Final[Mapping[str, type[Place]]] = {"driveway": Driveway, "street": Street, "garden": Garden, "porch": Porch}

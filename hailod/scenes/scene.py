"""A rendered scene: pictures by number, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hailod.scenes import car, lights
from hailod.scenes.acts import Actor
from hailod.scenes.backdrop import Backdrop, Prop, cast, covered_area, stand
from hailod.scenes.car import Car
from hailod.scenes.casting import Pool
from hailod.scenes.figure import Figure, Pose
from hailod.scenes.place import VARIANTS, Standing
from hailod.scenes.places import PLACES
from hailod.scenes.programme import programme
from hailod.scenes.shapes import Bounds, Shape, bounds, disc, paint, stamp
from hailod.scenes.solid import on_ground
from hailod.scenes.weather import Sensor
from hailod.types import F32, I32, U8, ColorMatrix, Picture, PixelFormat

# Where no sun throws a shadow, things still darken the ground they stand on.
_CONTACT = 0.3
_UPRIGHT = (0.0, 1.0, 0.0)
# Scenes start in the middle of things.
_HISTORY_S = 400.0


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What can be seen in a picture.

    `boxes` float32 (n, 4): x1, y1, x2, y2 of the visible pixels, 0..1 of the picture. `labels` int32 (n,) index
    `hailod.scenes.LABELS`. `ids` int32 (n,) stay with a figure. `visibility` float32 (n,) is the share of its pixels
    that nothing hides and the picture does not cut off. Things of which nothing is visible are not listed.
    """

    boxes: F32
    labels: I32
    ids: I32
    visibility: F32


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """An actor as it is painted."""

    actor: Actor
    shapes: list[Shape]
    bounds: Bounds


class RenderedScene:
    """A place with its programme, in pictures of `size` (width, height) and `fps` a second.

    Everything follows from the arguments. Constructing it paints the backdrop. `pool` says which figures, backgrounds
    and lights may appear, `lighting` names one instead. Sizes below 16 pixels are not possible.
    """

    def __init__(
        self,
        kind: str,
        seed: int,
        size: tuple[int, int],
        fps: float,
        *,
        night: bool = False,
        rain: bool = False,
        pool: Pool = Pool.ANY,
        lighting: str | None = None,
    ) -> None:
        self._size = size
        self._fps = fps
        # 4:2:0 takes even sides; what is painted beyond an odd one is cut off.
        width, height = (side + side % 2 for side in size)
        rng = np.random.default_rng([seed, 12])
        chosen = lighting or pool.light(rng, lights.NIGHTS if night else lights.DAYS)
        looks = np.random.default_rng([pool.background(rng, VARIANTS), sum(kind.encode())])
        place = PLACES[kind]((width, height), looks, rng)
        self._camera = place.camera
        self.light = lights.light(chosen, place.lamps, rain=rain)
        self._tracks = programme(place.plan, seed, pool)
        backdrop = Backdrop(self._camera, self.light)
        standing = place.paint(backdrop, self.light)
        self._backdrop = backdrop.finished()
        parked = [Pose(x, z, yaw) for x, z, yaw in place.plan.parked]
        cars: list[tuple[Figure, Pose]] = [(Car(pool.figure(rng, car.STYLES)), pose) for pose in parked]
        self._props = self._stand(standing, cars)
        self._sensor = Sensor(width, height, self.light.noise, rain=rain, seed=seed)
        self._glare = _glare()

    def __call__(self, index: int) -> Picture:
        """Picture number `index`, as I420."""
        return self._picture(self._paint(self._items(index)), index)

    def empty(self, index: int) -> Picture:
        """Picture number `index` as it would be with nothing in it that moves."""
        return self._picture(self._backdrop.copy(), index)

    @property
    def resting_ids(self) -> frozenset[int]:
        """The ids of what never moves, such as parked cars."""
        return frozenset(n for n, prop in enumerate(self._props, 1) if prop.figure is not None)

    def both(self, index: int) -> tuple[Picture, Truth]:
        """Picture number `index` and what can be seen in it, for less than one after the other."""
        items = self._items(index)
        return self._picture(self._paint(items), index), self._seen(items)

    def truth(self, index: int) -> Truth:
        """What can be seen in picture number `index`."""
        return self._seen(self._items(index))

    def _seen(self, items: Sequence[_Item]) -> Truth:
        height, width = self._backdrop.shape[:2]
        owners = np.zeros((height, width), np.int32)
        entries: list[tuple[int, int, int]] = []
        for thing in self._far_to_near(items):
            if isinstance(thing, Prop):
                x1, y1, x2, y2 = thing.bounds
                if thing.figure is not None:
                    entries.append((thing.figure, self._props.index(thing) + 1, thing.area))
                owners[y1:y2, x1:x2][thing.mask > 0] = len(entries) if thing.figure is not None else 0
            else:
                entries.append((thing.actor.figure.label, thing.actor.key, covered_area(thing.shapes)))
                stamp(owners, thing.shapes, len(entries))
        return _truth(owners[: self._size[1], : self._size[0]], entries)

    # -- painting ----------------------------------------------------------------------------------------------------

    def _stand(self, standing: Sequence[Standing], cars: Sequence[tuple[Figure, Pose]]) -> list[Prop]:
        """Put what does not move into the backdrop, shadows first, then from far to near."""
        canvas, light = self._backdrop, self.light
        things: list[tuple[float, Sequence[Shape], int | None]] = []
        for thing in standing:
            if light.shadow > 0.15 and thing.height > 0:
                x, half = thing.x, thing.width / 2
                upright = [(x - half, 0.0), (x + half, 0.0), (x + half, thing.height), (x - half, thing.height)]
                corners = np.array([(x, y, thing.z) for x, y in upright], np.float32)
                outline = self._camera.project(on_ground(corners, light.towards))
                cast(canvas, [Shape(outline, (0.0, 0.0, 0.0))], light.shadow)
            things.append((thing.z, thing.shapes, None))
        for figure, pose in cars:
            self._shade(canvas, figure, pose)
            tone = light.at(pose.x, 0.8, pose.z)
            things.append((pose.z, figure.shapes(pose, self._camera, tone), figure.label))
        things.sort(key=lambda thing: -thing[0])
        props = [stand(canvas, shapes, z, label) for z, shapes, label in things]
        return [prop for prop in props if prop is not None]

    def _items(self, index: int) -> list[_Item]:
        t = _HISTORY_S + index / self._fps
        height, width = self._backdrop.shape[:2]
        items = []
        for track in self._tracks:
            for actor in track.at(t):
                pose = actor.pose
                tone = self.light.at(pose.x, 0.8, pose.z)
                shapes = actor.figure.shapes(pose, self._camera, tone)
                area = bounds(shapes, width, height)
                if area[2] > area[0] and area[3] > area[1]:
                    items.append(_Item(actor, shapes, area))
        return items

    def _far_to_near(self, items: Sequence[_Item]) -> list[Prop | _Item]:
        things: list[tuple[float, Prop | _Item]] = [(prop.z, prop) for prop in self._props]
        things += [(item.actor.pose.z, item) for item in items]
        things.sort(key=lambda thing: -thing[0])
        return [thing for _, thing in things]

    def _paint(self, items: Sequence[_Item]) -> U8:
        canvas = self._backdrop.copy()
        touched: list[Bounds] = []
        for item in items:
            shade = self._shade(canvas, item.actor.figure, item.actor.pose)
            if shade is not None:
                touched.append(shade)
        for thing in self._far_to_near(items):
            if isinstance(thing, _Item):
                paint(canvas, thing.shapes)
                touched.append(thing.bounds)
            elif any(_meet(thing.bounds, area) for area in touched):
                x1, y1, x2, y2 = thing.bounds
                cv2.copyTo(self._backdrop[y1:y2, x1:x2], thing.mask, canvas[y1:y2, x1:x2])
        if self.light.night:
            for item in items:
                if isinstance(item.actor.figure, Car):
                    self._headlights(canvas, item.actor.figure, item.actor.pose)
        return canvas

    def _shade(self, canvas: U8, figure: Figure, pose: Pose) -> Bounds | None:
        sunny = self.light.shadow > 0.15
        towards = self.light.towards if sunny else _UPRIGHT
        outlines = figure.shadow(pose, self._camera, towards)
        return cast(canvas, outlines, self.light.shadow if sunny else _CONTACT)

    def _headlights(self, canvas: U8, driven: Car, pose: Pose) -> None:
        """Glare around headlights that shine towards the camera or across its view."""
        facing = np.sin(pose.yaw)
        if facing < -0.3:
            return
        size = max(2, round(self._camera.scale(pose.z) * (0.35 + 0.8 * max(0.0, float(facing)))))
        sprite = cv2.resize(self._glare, (2 * size, 2 * size))
        lamps = self._camera.project(np.array(driven.headlights(pose), np.float32))
        for x, y in np.rint(lamps).astype(int) - size:
            x1, y1 = max(0, x), max(0, y)
            x2, y2 = min(canvas.shape[1], x + 2 * size), min(canvas.shape[0], y + 2 * size)
            if x2 > x1 and y2 > y1:
                region = canvas[y1:y2, x1:x2]
                cv2.add(region, sprite[y1 - y : y2 - y, x1 - x : x2 - x], dst=region)

    def _picture(self, canvas: U8, index: int) -> Picture:
        height, width = canvas.shape[:2]
        yuv: U8 = np.asarray(cv2.cvtColor(canvas, cv2.COLOR_BGR2YUV_I420), np.uint8)
        luma = yuv[:height]
        chroma = yuv[height:].reshape(2, height // 2, width // 2)
        if self.light.infrared:
            chroma[:] = 128
        self._sensor.expose(luma, index)
        planes = (luma[: self._size[1], : self._size[0]], chroma[0], chroma[1])
        return Picture(PixelFormat.I420, *self._size, planes, ColorMatrix.BT601, full_range=False)


def _truth(owners: NDArray[np.int32], entries: Sequence[tuple[int, int, int]]) -> Truth:
    """What the owners of the pixels, numbered from 1 in order of `entries`, amount to."""
    height, width = owners.shape
    boxes, labels, ids, visibility = [], [], [], []
    visible = np.bincount(owners.reshape(-1), minlength=len(entries) + 1)
    for owner, (label, key, area) in enumerate(entries, 1):
        if not visible[owner]:
            continue
        own = owners == owner
        columns, rows = own.any(0).nonzero()[0], own.any(1).nonzero()[0]
        boxes.append((columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height))
        labels.append(label)
        ids.append(key)
        visibility.append(min(1.0, float(visible[owner]) / max(area, 1)))
    return Truth(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int32),
        np.array(ids, np.int32),
        np.array(visibility, np.float32),
    )


def _meet(one: Bounds, other: Bounds) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _glare() -> U8:
    """A round glow, bright in its middle."""
    canvas = np.zeros((64, 64, 3), np.uint8)
    for radius in range(31, 0, -1):
        value = 235 * (1 - radius / 32) ** 2.2
        paint(canvas, [Shape(disc((32.0, 32.0), radius), (0.85 * value, 0.95 * value, value))])
    return canvas

"""Who does what in a place, and when: tracks of acts that never end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hailod.scenes import car, cat, parcel, person
from hailod.scenes.acts import Act, Delivery, Drive, Path, Stroll, Track, Ways
from hailod.scenes.backdrop import Ground
from hailod.scenes.casting import Pool
from hailod.scenes.place import Drop, Plan, Way

# Keys of the figures of one track, and of one act of it.
_TRACK, _ACT = 1_000_000, 4


def programme(plan: Plan, seed: int, pool: Pool) -> list[Track]:
    """The tracks of a scene. Any 20 s show at least a person, a cat, a parcel and, where there is a road, a car."""
    rng = np.random.default_rng([seed, 21])
    tracks: list[Track] = []

    def add(casting: _Casting) -> None:
        own, first = [seed, 31, len(tracks)], (len(tracks) + 1) * _TRACK

        def act(number: int) -> Act:
            return casting.cast(np.random.default_rng([*own, number]), first + (number * _ACT) % _TRACK)

        tracks.append(Track(casting.period, float(rng.uniform(0, casting.period)), act))

    for index in range(int(rng.integers(2, 4))):
        add(_Walks(pool, float(rng.uniform(13, 17)) + index, plan.walks))
    for index in range(2):
        add(_Cats(pool, float(rng.uniform(11, 15)) + 3 * index, plan.cats))
    for drive in plan.drives:
        add(_Drives(pool, float(rng.uniform(8, 13)), (drive,)))
    for drop in plan.drops:
        add(_Deliveries(pool, 36.0, drop))
    if plan.park is not None:
        add(_Parks(pool, 40.0, *plan.park))
    return tracks


class _Casting(Protocol):
    """Makes the acts of one track, one every `period` seconds."""

    @property
    def period(self) -> float: ...

    def cast(self, rng: np.random.Generator, key: int) -> Act:
        """An act whose figures have `key` and the three keys that follow."""


@dataclass(frozen=True, slots=True)
class _Walks:
    pool: Pool
    period: float
    ways: tuple[Way, ...]

    def cast(self, rng: np.random.Generator, key: int) -> Act:
        path = _one_of(self.ways, rng)
        figure = person.Person(self.pool.figure(rng, person.STYLES))
        speed = max(float(rng.uniform(1.2, 1.7)), path.length / (self.period - 0.5))
        return Stroll(key, figure, path, speed, stride=1.5)


@dataclass(frozen=True, slots=True)
class _Cats:
    pool: Pool
    period: float
    ways: tuple[Way, ...]

    def cast(self, rng: np.random.Generator, key: int) -> Act:
        path = _one_of(self.ways, rng)
        figure = cat.Cat(self.pool.figure(rng, cat.STYLES))
        rests = float(rng.uniform(2.0, 4.0))
        speed = max(float(rng.uniform(0.8, 1.3)), path.length / (self.period - rests - 0.5))
        return Stroll(key, figure, path, speed, stride=0.55, rests=rests)


@dataclass(frozen=True, slots=True)
class _Drives:
    pool: Pool
    period: float
    ways: tuple[Way, ...]

    def cast(self, rng: np.random.Generator, key: int) -> Act:
        figure = car.Car(self.pool.figure(rng, car.STYLES))
        return Drive(key, figure, _one_of(self.ways, rng), float(rng.uniform(6.0, 10.0)))


@dataclass(frozen=True, slots=True)
class _Parks:
    pool: Pool
    period: float
    way: Way
    stand: Ground

    def cast(self, rng: np.random.Generator, key: int) -> Act:
        path = Path(self.way)
        figure = car.Car(self.pool.figure(rng, car.STYLES))
        return Drive(key, figure, path, 4.5, path.nearest(*self.stand), 16.0)


@dataclass(frozen=True, slots=True)
class _Deliveries:
    pool: Pool
    period: float
    drop: Drop

    def cast(self, rng: np.random.Generator, key: int) -> Act:
        drop = self.drop
        ways = Ways(*(Path(way) for way in (drop.bring, drop.leave, drop.fetch, drop.take)))
        courier, resident = (person.Person(self.pool.figure(rng, person.STYLES)) for _ in range(2))
        thing = parcel.Parcel(self.pool.figure(rng, parcel.STYLES))
        speed = 1.5
        busy = (ways.bring.length + ways.fetch.length + ways.take.length) / speed + 4.0
        lies = max(6.0, self.period - busy - 1.0)
        turn = float(rng.uniform(-0.9, 0.9))
        return Delivery(key, courier, resident, thing, ways, lies, turn, speed)


def _one_of(ways: tuple[Way, ...], rng: np.random.Generator) -> Path:
    """One of the ways, moved a little."""
    way = ways[int(rng.integers(len(ways)))]
    dx, dz = (float(by) for by in rng.uniform(-0.25, 0.25, 2))
    return Path([(x + dx, max(1.5, z + dz)) for x, z in way])

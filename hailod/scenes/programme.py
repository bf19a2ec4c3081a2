"""Who does what in a place, and when: tracks of acts that never end."""

from __future__ import annotations

import numpy as np

from hailod.scenes import car, cat, parcel, person
from hailod.scenes.acts import Act, Delivery, Drive, Path, Stroll, Track
from hailod.scenes.casting import Pool
from hailod.scenes.places import Drop, Plan, Way

# Keys of the figures of one track, and of one act of it.
_TRACK, _ACT = 1_000_000, 4


def programme(plan: Plan, seed: int, pool: Pool) -> list[Track]:
    """The tracks of a scene. Any 20 s show at least a person, a cat, a parcel and, where there is a road, a car."""
    rng = np.random.default_rng([seed, 21])
    tracks: list[Track] = []

    def add(kind: type[_Casting], period: float, ways: tuple[Way, ...] | Drop | tuple[Way, tuple[float, float]]) -> None:
        offset = float(rng.uniform(0, period))
        tracks.append(Track(period, offset, kind(len(tracks), seed, pool, period, ways).act))

    walkers = int(rng.integers(2, 4))
    for index in range(walkers):
        add(_Walks, float(rng.uniform(13, 17)) + index, plan.walks)
    for index in range(2):
        add(_Cats, float(rng.uniform(11, 15)) + 3 * index, plan.cats)
    for drive in plan.drives:
        add(_Drives, float(rng.uniform(8, 13)), (drive,))
    for drop in plan.drops:
        add(_Drops, 36.0, drop)
    if plan.park is not None:
        add(_Parks, 40.0, plan.park)
    return tracks


class _Casting:
    """Casts the acts of one track, each from its own random numbers."""

    def __init__(self, track: int, seed: int, pool: Pool, period: float, ways: object) -> None:
        self._seed = (seed, 31, track)
        self._first = (track + 1) * _TRACK
        self._pool = pool
        self._period = period
        self._ways = ways

    def act(self, number: int) -> Act:
        rng = np.random.default_rng([*self._seed, number])
        return self._cast(rng, self._first + (number * _ACT) % _TRACK)

    def _cast(self, rng: np.random.Generator, key: int) -> Act:
        raise NotImplementedError

    def _way(self, rng: np.random.Generator) -> Path:
        ways = self._ways
        assert isinstance(ways, tuple)
        way = ways[int(rng.integers(len(ways)))]
        wobble = rng.uniform(-0.25, 0.25, 2)
        return Path([(x + float(wobble[0]), max(1.5, z + float(wobble[1]))) for x, z in way])


class _Walks(_Casting):
    def _cast(self, rng: np.random.Generator, key: int) -> Act:
        path = self._way(rng)
        figure = person.Person(self._pool.figure(rng, person.STYLES))
        speed = max(float(rng.uniform(1.2, 1.7)), path.length / (self._period - 0.5))
        return Stroll(key, figure, path, speed, stride=1.5)


class _Cats(_Casting):
    def _cast(self, rng: np.random.Generator, key: int) -> Act:
        path = self._way(rng)
        figure = cat.Cat(self._pool.figure(rng, cat.STYLES))
        rests = float(rng.uniform(2.0, 4.0))
        speed = max(float(rng.uniform(0.8, 1.3)), path.length / (self._period - rests - 0.5))
        return Stroll(key, figure, path, speed, stride=0.55, rests=rests)


class _Drives(_Casting):
    def _cast(self, rng: np.random.Generator, key: int) -> Act:
        figure = car.Car(self._pool.figure(rng, car.STYLES))
        return Drive(key, figure, self._way(rng), float(rng.uniform(6.0, 10.0)))


class _Parks(_Casting):
    def _cast(self, rng: np.random.Generator, key: int) -> Act:
        way, (x, z) = self._ways  # type: ignore[misc]
        path = Path(way)
        figure = car.Car(self._pool.figure(rng, car.STYLES))
        return Drive(key, figure, path, 4.5, path.nearest(x, z), 16.0)


class _Drops(_Casting):
    def _cast(self, rng: np.random.Generator, key: int) -> Act:
        assert isinstance(self._ways, Drop)
        bring, leave, fetch, take = (
            Path(way) for way in (self._ways.bring, self._ways.leave, self._ways.fetch, self._ways.take)
        )
        courier, resident = (person.Person(self._pool.figure(rng, person.STYLES)) for _ in range(2))
        thing = parcel.Parcel(self._pool.figure(rng, parcel.STYLES))
        speed = 1.5
        busy = (bring.length + fetch.length + take.length) / speed + 4.0
        lies = max(6.0, self._period - busy - 1.0)
        turn = float(rng.uniform(-0.9, 0.9))
        return Delivery(
            (key, key + 1, key + 2), courier, resident, thing, bring, leave, fetch, take, lies, turn, speed
        )

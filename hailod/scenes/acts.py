"""What happens in a scene, as functions of time: any moment can be asked for, in any order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from hailod.scenes.figure import Figure, Pose
from hailod.scenes.parcel import Parcel
from hailod.scenes.person import Person
from hailod.types import F32

_REMEMBERED = 4


@dataclass(frozen=True, slots=True)
class Actor:
    """A figure at one moment. `key` tells it from all others for as long as the scene runs."""

    key: int
    figure: Figure
    pose: Pose


class Path:
    """A smooth way over the ground through some points (x, z)."""

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        given: F32 = np.array(points, np.float32)
        ends = np.concatenate((2 * given[:1] - given[1:2], given, 2 * given[-1:] - given[-2:-1]))
        t = np.linspace(0, 1, 16, endpoint=False, dtype=np.float32)[:, None]
        pieces = [_spline(ends[i : i + 4], t) for i in range(len(given) - 1)]
        self._points = np.concatenate((*pieces, given[-1:]))
        steps = np.hypot(*np.diff(self._points, axis=0).T)
        self._travelled = np.concatenate(([0.0], np.cumsum(steps)))
        self.length = float(self._travelled[-1])

    def nearest(self, x: float, z: float) -> float:
        """How many metres along the way its nearest point is."""
        return float(self._travelled[int(np.hypot(*(self._points - (x, z)).T).argmin())])

    def at(self, distance: float) -> tuple[float, float, float]:
        """x, z and heading (as `Pose.yaw`) after that many metres."""
        index = int(np.searchsorted(self._travelled, min(max(distance, 0.0), self.length), "right")) - 1
        index = min(index, len(self._points) - 2)
        (x1, z1), (x2, z2) = self._points[index], self._points[index + 1]
        span = float(self._travelled[index + 1] - self._travelled[index])
        share = min(max((distance - float(self._travelled[index])) / max(span, 1e-6), 0.0), 1.0)
        yaw = math.atan2(float(z1 - z2), float(x2 - x1))
        return float(x1 + (x2 - x1) * share), float(z1 + (z2 - z1) * share), yaw


def _spline(knots: F32, t: F32) -> F32:
    """The Catmull-Rom piece between the middle two of four knots."""
    a, b, c, d = knots
    curve: F32 = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - 3 * c + d - a) * t**3)
    return curve


class Act(Protocol):
    """One thing that happens, from its second 0 on."""

    def at(self, t: float) -> list[Actor]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Stroll:
    """Someone, or some cat, goes a way at a speed; a cat that `rests` sits down for that long half way."""

    key: int
    figure: Figure
    path: Path
    speed: float
    stride: float
    rests: float = 0.0

    def at(self, t: float) -> list[Actor]:
        half = 0.45 * self.path.length / self.speed
        resting = min(max(t - half, 0.0), self.rests)
        distance = (t - resting) * self.speed
        if distance > self.path.length:
            return []
        x, z, yaw = self.path.at(distance)
        still = 0.0 < resting < self.rests
        sitting = min(1.0, resting / 0.5, (self.rests - resting) / 0.5) if still else 0.0
        phase = 2 * math.pi * distance / self.stride
        return [Actor(self.key, self.figure, Pose(x, z, yaw, phase, 0.0 if still else 1.0, sitting))]


@dataclass(frozen=True, slots=True, eq=False)
class Drive:
    """A car goes its way; one that `stops` at a distance slows down, stands there for `stay` seconds and goes on, or
    back out when that is the end of the way."""

    key: int
    figure: Figure
    path: Path
    speed: float
    stops: float | None = None
    stay: float = 0.0

    def at(self, t: float) -> list[Actor]:
        distance = t * self.speed
        if self.stops is not None:
            # Braking and starting take the last and first `soft` metres twice as long.
            soft = min(8.0, self.stops)
            left = t - (self.stops + soft) / self.speed - self.stay
            if left >= 0:
                gone = left * self.speed
                gone = gone * gone / (4 * soft) if gone < 2 * soft else gone - soft
                distance = self.stops - gone if self.stops >= self.path.length - 0.5 else self.stops + gone
            else:
                distance = _braked(distance, self.stops, soft)
        if not 0.0 <= distance <= self.path.length:
            return []
        x, z, yaw = self.path.at(distance)
        return [Actor(self.key, self.figure, Pose(x, z, yaw, glow=1.0))]


def _braked(distance: float, stop: float, soft: float) -> float:
    """How far a car has come that would be at `distance`, but brakes over the last `soft` metres before `stop`."""
    over = min(distance - (stop - soft), 2 * soft)
    return distance if over <= 0 else stop - soft + over - over * over / (4 * soft)


@dataclass(frozen=True, slots=True, eq=False)
class Ways:
    """The ways of a parcel's bearers: to its place and away from it, for who brings it and for who fetches it."""

    bring: Path
    leave: Path
    fetch: Path
    take: Path


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """Someone brings a parcel and leaves it; `lies` seconds later someone else sets out to take it away.

    `key` is the courier's; the resident and the parcel have the next two. The parcel lies turned by `turn`; putting
    it down and picking it up take `bends` seconds each.
    """

    key: int
    courier: Person
    resident: Person
    parcel: Parcel
    ways: Ways
    lies: float
    turn: float
    speed: float = 1.45
    bends: float = 1.6

    def at(self, t: float) -> list[Actor]:
        brought = self.ways.bring.length / self.speed
        down = brought + self.bends / 2
        gone = down + self.bends / 2
        fetching = down + self.lies
        fetched = fetching + self.ways.fetch.length / self.speed
        up = fetched + self.bends / 2
        actors = []
        if t < gone:
            actors += self._carrier(self.key, self.courier, self.ways.bring, t, brought, carrying=t < down)
        else:
            actors += self._walker(self.key, self.courier, self.ways.leave, t - gone)
        if down <= t < up:
            x, z, _ = self.ways.bring.at(self.ways.bring.length)
            _, _, yaw = self.ways.bring.at(self.ways.bring.length - 0.1)
            ahead = 0.42
            pose = Pose(x + ahead * math.cos(yaw), z - ahead * math.sin(yaw), self.turn)
            actors.append(Actor(self.key + 2, self.parcel, pose))
        if fetching <= t < up + self.bends / 2:
            actors += self._carrier(
                self.key + 1, self.resident, self.ways.fetch, t - fetching, fetched - fetching, carrying=t >= up
            )
        elif t >= up + self.bends / 2:
            walking = self._walker(self.key + 1, self.resident, self.ways.take, t - up - self.bends / 2)
            actors += [self._carried(walking[0]), _laden(walking[0])] if walking else []
        return actors

    def _walker(self, key: int, figure: Person, path: Path, t: float) -> list[Actor]:
        distance = t * self.speed
        if distance > path.length:
            return []
        x, z, yaw = path.at(distance)
        return [Actor(key, figure, Pose(x, z, yaw, 2 * math.pi * distance / 1.45, 1.0))]

    def _carrier(
        self, key: int, figure: Person, path: Path, t: float, arrives: float, *, carrying: bool
    ) -> list[Actor]:
        """Someone who goes to the end of a path and bends down there."""
        if t < arrives:
            (walker,) = self._walker(key, figure, path, t) or [Actor(key, figure, Pose(*path.at(path.length)))]
        else:
            bent = math.sin(math.pi * min((t - arrives) / self.bends, 1.0))
            x, z, yaw = path.at(path.length)
            walker = Actor(key, figure, Pose(x, z, yaw, stoop=bent))
        return [self._carried(walker), _laden(walker)] if carrying else [walker]

    def _carried(self, walker: Actor) -> Actor:
        pose = walker.pose
        ahead = 0.34
        assert isinstance(walker.figure, Person)
        lift = walker.figure.hands_height * (1 - pose.stoop)
        place = Pose(
            pose.x + ahead * math.cos(pose.yaw),
            pose.z - ahead * math.sin(pose.yaw),
            pose.yaw + math.pi / 2,
            lift=max(0.0, lift - self.parcel.height / 4),
        )
        return Actor(self.key + 2, self.parcel, place)


def _laden(actor: Actor) -> Actor:
    """The same actor with something in the hands."""
    return replace(actor, pose=replace(actor.pose, carrying=True))


class Track:
    """A place in the programme: act after act, one every `period` seconds; `make` casts the one of a number."""

    def __init__(self, period: float, offset: float, make: Callable[[int], Act]) -> None:
        self._period = period
        self._offset = offset
        self._make = make
        self._acts: dict[int, Act] = {}

    def at(self, t: float) -> list[Actor]:
        number, since = divmod(t + self._offset, self._period)
        return self._act(int(number)).at(since)

    def _act(self, number: int) -> Act:
        act = self._acts.get(number)
        if act is None:
            act = self._make(number)
            while len(self._acts) >= _REMEMBERED:
                self._acts.pop(next(iter(self._acts)))
            self._acts[number] = act
        return act

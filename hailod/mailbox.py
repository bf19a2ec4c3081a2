"""Where frames wait: the only place, of a small bound, newest wins, and whatever is dropped is counted by reason.

One lock guards the boxes and the counts, so that the books balance in every snapshot:

    per camera            captured = skipped + offered
    per camera and model  offered  = done + superseded + expired + failed + abandoned + in flight

`in flight` is what waits in the box plus what was taken and is not finished. In a live box a frame that finds no room
displaces the oldest (`superseded`). In a lossless box (offline work) `offer` blocks until there is room or the box is
closed, and nothing expires.

A frame whose inference failed may be put back, in front of what waits: it is in flight again, not ended.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from hailod.clock import Clock
from hailod.types import Frame


class Outcome(StrEnum):
    """How an offered frame ended for one model."""

    DONE = "done"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    FAILED = "failed"
    ABANDONED = "abandoned"


class Skip(StrEnum):
    """Why a captured frame was not offered to any model."""

    PACED = "paced"
    LAG = "lag"
    CORRUPT = "corrupt"
    FROZEN = "frozen"
    NO_MODEL = "no_model"
    CLOSED = "closed"


class Item(NamedTuple):
    """One frame for one model, between `offer` and `finish`. `tries`: how often it failed before."""

    frame: Frame
    model: str
    tries: int = 0


@dataclass(frozen=True, slots=True)
class CameraCounts:
    """One camera's books since the start of the daemon."""

    captured: int
    offered: int
    skipped: Mapping[str, int]

    @property
    def balanced(self) -> bool:
        return self.captured == self.offered + sum(self.skipped.values())


@dataclass(frozen=True, slots=True)
class PairCounts:
    """The books of one camera and model since the start of the daemon. `retried` frames were put back, not ended."""

    offered: int
    waiting: int
    taken: int
    ended: Mapping[str, int]
    retried: int = 0

    @property
    def in_flight(self) -> int:
        return self.waiting + self.taken

    @property
    def balanced(self) -> bool:
        return self.offered == sum(self.ended.values()) + self.in_flight


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All books at one instant."""

    cameras: Mapping[str, CameraCounts]
    pairs: Mapping[tuple[str, str], PairCounts]

    @property
    def balanced(self) -> bool:
        return all(c.balanced for c in self.cameras.values()) and all(p.balanced for p in self.pairs.values())


@dataclass(slots=True)
class _Camera:
    captured: int = 0
    offered: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    route: tuple[str, ...] = ()


@dataclass(slots=True)
class _Box:
    items: deque[Item] = field(default_factory=deque)
    offered: int = 0
    taken: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    retried: int = 0


class Mailboxes:
    """Every camera's mailbox for every model it is routed to. Thread-safe; no callback or I/O under its lock."""

    def __init__(self, clock: Clock, *, depth: int = 1, lossless: bool = False) -> None:
        self._clock = clock
        self._depth = depth
        self._lossless = lossless
        self._lock = threading.Lock()
        self._space = threading.Condition(self._lock)
        self._alarm = _Alarm()
        self._has_room = False
        self._offers = 0
        self._closed = False
        self._cameras: dict[str, _Camera] = {}
        self._boxes: dict[tuple[str, str], _Box] = {}
        self._turns: dict[str, deque[str]] = {}
        self._pending: Counter[str] = Counter()

    # -- camera side -------------------------------------------------------------------------------------------------

    def route(self, camera: str, models: Sequence[str]) -> None:
        """Offer the camera's frames to `models` from now on; what waits for one no longer among them is abandoned."""
        with self._lock:
            entry = self._cameras.setdefault(camera, _Camera())
            for gone in set(entry.route) - set(models):
                self._empty(camera, gone, Outcome.ABANDONED)
                self._turns[gone].remove(camera)
            for new in models:
                self._boxes.setdefault((camera, new), _Box())
                turns = self._turns.setdefault(new, deque())
                if camera not in turns:
                    turns.append(camera)
            entry.route = tuple(models)
            self._space.notify_all()

    def offer(self, frame: Frame) -> None:
        """Count the frame and put it into the box of each model of its camera. Blocks only when lossless."""
        with self._lock:
            entry = self._cameras.setdefault(frame.camera, _Camera())
            entry.captured += 1
            if self._lossless:
                while not self._closed and any(self._full(frame.camera, model) for model in entry.route):
                    self._space.wait()
            if self._closed or not entry.route:
                entry.skipped[Skip.CLOSED if self._closed else Skip.NO_MODEL] += 1
                return
            entry.offered += 1
            for model in entry.route:
                box = self._boxes[frame.camera, model]
                box.offered += 1
                if len(box.items) >= self._depth and not self._lossless:
                    box.items.popleft()
                    box.ended[Outcome.SUPERSEDED] += 1
                else:
                    self._pending[model] += 1
                box.items.append(Item(frame, model))
            self._offers += 1
            if self._has_room:
                self._alarm.ring()

    def skip(self, camera: str, reason: Skip, count: int = 1) -> None:
        """Count `count` frames as captured and passed over."""
        with self._lock:
            entry = self._cameras.setdefault(camera, _Camera())
            entry.captured += count
            entry.skipped[reason] += count

    # -- dispatcher side ---------------------------------------------------------------------------------------------

    @property
    def offers(self) -> int:
        """How often a frame was offered; read it before looking at the boxes, then hand it to `wait`."""
        return self._offers

    def pending(self, model: str) -> int:
        """How many frames wait for `model`."""
        return self._pending[model]

    def take(self, model: str, limit: int, *, per_camera: int, max_age: float) -> list[Item]:
        """Up to `limit` frames that wait for `model`, round-robin over cameras, at most `per_camera` of each.

        Frames older than `max_age` seconds end as expired instead (never when lossless). Each item must be finished.
        """
        with self._lock:
            oldest = self._clock.monotonic() - max_age
            turns = self._turns.get(model, deque())
            given: dict[str, int] = {}
            items: list[Item] = []
            idle = 0
            while turns and len(items) < limit and idle < len(turns):
                camera = turns[0]
                turns.rotate(-1)
                box = self._boxes[camera, model]
                while box.items and not self._lossless and box.items[0].frame.captured < oldest:
                    box.items.popleft()
                    box.ended[Outcome.EXPIRED] += 1
                    self._pending[model] -= 1
                if box.items and given.get(camera, 0) < per_camera:
                    items.append(box.items.popleft())
                    box.taken += 1
                    self._pending[model] -= 1
                    given[camera] = given.get(camera, 0) + 1
                    idle = 0
                else:
                    idle += 1
            if items and self._lossless:
                self._space.notify_all()
            return items

    def finish(self, items: Iterable[Item], outcome: Outcome) -> None:
        """End items that were taken, each exactly once."""
        with self._lock:
            for item in items:
                box = self._boxes[item.frame.camera, item.model]
                box.taken -= 1
                box.ended[outcome] += 1
                assert box.taken >= 0, "an item was finished twice"

    def put_back(self, items: Sequence[Item], *, max_age: float, failed: bool, retries: int) -> list[Item]:
        """Have items that were taken sent again; returns those that cannot be, and they have ended.

        `failed`: by an attempt, of which each item may have `retries` more; else they were never sent. A frame comes
        back in front of those that wait, unless it is too old or newer ones have taken its place.
        """
        ended: list[Item] = []
        with self._lock:
            oldest = self._clock.monotonic() - max_age
            for item in reversed(items):
                outcome = self._hopeless(item, oldest, failed, retries)
                box = self._boxes[item.frame.camera, item.model]
                box.taken -= 1
                assert box.taken >= 0, "an item was finished twice"
                if outcome is not None:
                    box.ended[outcome] += 1
                    ended.append(item)
                    continue
                box.retried += failed
                box.items.appendleft(item._replace(tries=item.tries + failed))
                self._pending[item.model] += 1
                self._offers += 1
            if self._has_room and len(ended) < len(items):
                self._alarm.ring()
        ended.reverse()
        return ended

    def _hopeless(self, item: Item, oldest: float, failed: bool, retries: int) -> Outcome | None:
        """How an item ends that cannot be sent again; None for one that can. The lock is held."""
        camera = item.frame.camera
        if self._closed or item.model not in self._cameras[camera].route:
            return Outcome.ABANDONED
        if failed and item.tries >= retries:
            return Outcome.FAILED
        if self._lossless:
            return None
        if item.frame.captured < oldest:
            return Outcome.FAILED if failed else Outcome.EXPIRED
        if len(self._boxes[camera, item.model].items) >= self._depth:
            return Outcome.FAILED if failed else Outcome.SUPERSEDED
        return None

    def wait(self, timeout: float | None, *, seen: int | None) -> None:
        """Sleep until kicked or until the time is over; with `seen`, also until there were more offers than those.

        Without `seen` the device has no room, so that offers are no news until `room` says otherwise.
        """
        with self._lock:
            self._has_room = seen is not None
            if self._closed or (seen is not None and seen != self._offers):
                return
        self._alarm.wait(timeout)

    def room(self) -> None:
        """The device has room again: wakes the waiter if anything waits for it."""
        with self._lock:
            self._has_room = True
            if any(self._pending.values()):
                self._alarm.ring()

    def kick(self) -> None:
        """Wake the waiter, now or when it next waits: something other than a frame changed."""
        self._alarm.ring()

    # -- anyone ------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The books, all of one instant."""
        with self._lock:
            return Snapshot(
                {
                    name: CameraCounts(entry.captured, entry.offered, dict(entry.skipped))
                    for name, entry in self._cameras.items()
                },
                {
                    pair: PairCounts(box.offered, len(box.items), box.taken, dict(box.ended), box.retried)
                    for pair, box in self._boxes.items()
                },
            )

    def close(self) -> None:
        """Abandon what waits, refuse what comes, wake whoever waits. Taken items are still to be finished."""
        with self._lock:
            self._closed = True
            for camera, model in self._boxes:
                self._empty(camera, model, Outcome.ABANDONED)
            self._alarm.ring()
            self._space.notify_all()

    def _full(self, camera: str, model: str) -> bool:
        return len(self._boxes[camera, model].items) >= self._depth

    def _empty(self, camera: str, model: str, outcome: Outcome) -> None:
        box = self._boxes[camera, model]
        box.ended[outcome] += len(box.items)
        self._pending[model] -= len(box.items)
        box.items.clear()


class _Alarm:
    """Wakes one waiter: a ring is heard by the present wait or, if nobody waits, by the next one.

    A lock as a binary semaphore: this is crossed for every frame, and a Condition makes a new lock for each wait.
    """

    def __init__(self) -> None:
        self._silent = threading.Lock()
        self._silent.acquire()
        self._guard = threading.Lock()
        self._rung = False

    def ring(self) -> None:
        with self._guard:
            if not self._rung:
                self._rung = True
                self._silent.release()

    def wait(self, timeout: float | None) -> None:
        if self._silent.acquire(timeout=-1 if timeout is None else timeout):
            with self._guard:
                self._rung = False

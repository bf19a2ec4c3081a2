"""Virtual time of one chip: when each frame that the scheduler grants is done.

The chip's past is computed from the moments of submission alone, by stepping from event to event up to the present.
Nobody's lateness in looking enters, so it cannot add up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from hailod.simulator.chip.scheduler import Grant, ScheduledModel, Scheduler
from hailod.simulator.networks.network import Timing


class Served(Protocol):
    """What the chip needs of a job: frames it has not begun, how much slower than usual and how much later they are
    done. It sets `end` once the last frame's end is known."""

    left: int
    factor: float
    delay: float
    end: float


Job = TypeVar("Job", bound=Served)


class _Owned:
    """A lock that knows whose it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._owner = 0
        self._lock.release()

    @property
    def mine(self) -> bool:
        """Whether the calling thread holds it."""
        return self._owner == threading.get_ident()


@dataclass(slots=True, eq=False)
class Lane(Generic[Job]):
    """A configured model on the chip: jobs wait, then they are launched and their end is known.

    A batch of n frames takes `switch + n * frame` seconds; a model whose frames go one by one takes its share of that
    for each. `wake` is called, without locks, when others have made its jobs go earlier than could be foreseen.
    """

    timing: Timing
    batch: int
    schedule: ScheduledModel
    wake: Callable[[], None]
    waiting: deque[Job] = field(default_factory=deque)
    launched: deque[Job] = field(default_factory=deque)

    @classmethod
    def of(cls, timing: Timing, *, batch: int, queue: int, multi_context: bool, wake: Callable[[], None]) -> Lane[Job]:
        """The lane of a model configured with `batch` (0: automatic) and room for `queue` frames."""
        return cls(
            timing,
            max(1, batch),
            ScheduledModel(burst=batch or queue, place=queue, batched=multi_context and batch > 1),
            wake,
        )


class Timeline(Generic[Job]):
    """One chip at work. Times in seconds of one monotonic clock; every call may be made by any thread.

    `change` is what loading another model's configuration costs, `pace(t)` how much slower the chip runs at time t.
    """

    def __init__(
        self,
        *,
        change: float = 0.0,
        pace: Callable[[float], float] = lambda _: 1.0,
        idle_optimisation: bool = True,
    ) -> None:
        self._change = change
        self._pace = pace
        self._lock = _Owned()
        self._scheduler = Scheduler(idle_optimisation=idle_optimisation)
        self._lanes: dict[ScheduledModel, Lane[Job]] = {}
        self._loaded: Lane[Job] | None = None
        self._now = float("-inf")
        self._free = float("-inf")
        # End and number of frames, in order; all of them of the loaded model.
        self._working: deque[tuple[float, int]] = deque()

    @property
    def entered(self) -> bool:
        """Whether the calling thread is inside one of the calls below, and must not make another."""
        return self._lock.mine

    def join(self, lane: Lane[Job], now: float) -> None:
        with self._lock:
            self._advance(now)
            self._lanes[lane.schedule] = lane
            self._scheduler.add(lane.schedule, now)

    def leave(self, lane: Lane[Job], now: float) -> None:
        """Forget the lane and what it has on the chip, which is free for the others at once; harmless twice."""
        with self._lock:
            self._advance(now)
            if self._lanes.pop(lane.schedule, None) is None:
                return
            self._scheduler.remove(lane.schedule)
            lane.waiting.clear()
            lane.launched.clear()
            if self._loaded is lane:
                self._loaded = None
                self._working.clear()
                self._free = self._now
            self._dispatch()
            others = list(self._lanes.values())
        for other in others:
            other.wake()

    def submit(self, lane: Lane[Job], job: Job, now: float) -> None:
        """Ask for the frames of a job."""
        with self._lock:
            self._advance(now)
            lane.waiting.append(job)
            lane.schedule.requested += job.left
            self._dispatch()

    def set_priority(self, lane: Lane[Job], priority: int) -> None:
        with self._lock:
            self._scheduler.set_priority(lane.schedule, priority)

    def wake(self) -> None:
        """Let every lane look again: something has happened to the chip."""
        with self._lock:
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.wake()

    def poll(self, lane: Lane[Job], now: float) -> tuple[Job | None, float]:
        """The lane's next job whose end is known, removed from it. Or None and when to ask again (inf: not before a
        submission)."""
        with self._lock:
            self._advance(now)
            if lane.launched:
                return lane.launched.popleft(), now
            if not lane.waiting:
                return None, float("inf")
            return None, self._next_event()

    def _next_event(self) -> float:
        if self._working:
            return self._working[0][0]
        wake = self._scheduler.wakes_at()
        return float("inf") if wake is None else wake

    def _advance(self, now: float) -> None:
        """Live through what happened by `now`."""
        while (event := self._next_event()) <= now:
            self._now = max(self._now, event)
            while self._working and self._working[0][0] <= event:
                self._scheduler.completed(self._working.popleft()[1])
            granted = self._dispatch()
            if not granted and not self._working:
                # A time-out of a model that still may not go: nothing is left to happen by itself.
                break
        self._now = max(self._now, now)

    def _dispatch(self) -> bool:
        granted = False
        while (grant := self._scheduler.next(self._now)) is not None:
            self._launch(grant)
            granted = True
        return granted

    def _launch(self, grant: Grant) -> None:
        lane = self._lanes[grant.model]
        self._free = max(self._free, self._now)
        if lane is not self._loaded:
            # Switching contexts within a batch loads the chip anew anyway.
            self._free += max(0.0, self._change - lane.timing.switch) if self._loaded is not None else 0.0
            self._loaded = lane
        if grant.model.batched:
            self._run(lane, grant.frames, lane.timing.switch)
        else:
            for _ in range(grant.frames):
                self._run(lane, 1, lane.timing.switch / lane.batch)

    def _run(self, lane: Lane[Job], frames: int, switch: float) -> None:
        """Work on `frames` frames that end together, and launch the jobs of which they are the last."""
        cost, slowest, delay = 0.0, 0.0, 0.0
        done: list[Job] = []
        room = frames
        while room:
            job = lane.waiting[0]
            taken = min(room, job.left)
            cost += taken * lane.timing.frame * job.factor
            slowest = max(slowest, job.factor)
            delay = max(delay, job.delay)
            job.left -= taken
            room -= taken
            if not job.left:
                done.append(lane.waiting.popleft())
        self._free += (cost + switch * slowest) * self._pace(self._free) + delay
        self._working.append((self._free, frames))
        for job in done:
            job.end = self._free
            lane.launched.append(job)

"""Many cameras of which most are dead: what they may cost in threads and attempts."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from hailod.clock import Clock, FakeClock
from hailod.config.model import CameraSettings
from hailod.errors import SourceUnavailable
from hailod.mailbox import Mailboxes
from hailod.pipeline.camera import MAX_ABANDONED, CameraWorker
from hailod.pipeline.camera_state import Phase
from hailod.sources.base import Captured
from tests.support.device import GREY
from tests.support.waiting import wait_for

LIVE, REFUSED, HANGING = 5, 30, 15
MINUTES = 5.0


class Street:
    """Makes sources by the camera's name: live ones deliver a frame a second, the others refuse or hang."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.attempts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, name: str, _settings: CameraSettings, _clock: Clock) -> House:
        with self._lock:
            self.attempts[name] += 1
        return House(name, self.let_go)


class House:
    def __init__(self, name: str, let_go: threading.Event) -> None:
        self._name = name
        self._let_go = let_go

    def open(self) -> None:
        if self._name.startswith("hanging"):
            self._let_go.wait(60.0)
        if not self._name.startswith("live"):
            raise SourceUnavailable("rtsp://***@host/cam: nothing listens there", code="refused")

    def read(self) -> Captured:
        return Captured(GREY, rest=1.0)

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def cameras(clock: FakeClock, boxes: Mailboxes, street: Street) -> Iterator[list[CameraWorker]]:
    names = [f"live-{n}" for n in range(LIVE)]
    names += [f"refused-{n}" for n in range(REFUSED)] + [f"hanging-{n}" for n in range(HANGING)]
    wanted = CameraSettings(source=SecretStr("synthetic:"))
    workers = [
        CameraWorker(name, wanted, boxes, clock, lambda _: None, source_factory=street, rng=random.Random(number))
        for number, name in enumerate(names)
    ]
    try:
        for worker in workers:
            worker.start()
        yield workers
    finally:
        street.let_go.set()
        for worker in workers:
            worker.stop(0.0)
        wait_for(lambda: all(worker.stop(1.0) for worker in workers), what="all threads end")


def threads() -> int:
    return sum(thread.name.startswith("camera-") for thread in threading.enumerate())


def test_dead_cameras_cost_few_threads_and_few_attempts() -> None:
    """Of fifty cameras forty-five are dead for minutes: each has its thread, one whose calls hang two more at most;
    none is tried in a loop, and the live ones go on."""
    clock, street = FakeClock(), Street()
    begun = clock.monotonic()
    boxes = Mailboxes(clock)
    most = 0
    with cameras(clock, boxes, street) as workers:
        for _ in range(round(MINUTES * 60 * 2)):
            clock.advance(0.5)
            for worker in workers:
                worker.check(clock.monotonic())
            most = max(most, threads())

        def settled() -> bool:
            clock.advance(1.0)
            for worker in workers:
                worker.check(clock.monotonic())
            phases = Counter(worker.state.phase for worker in workers)
            return phases == {Phase.ONLINE: LIVE, Phase.LOST: REFUSED, Phase.STUCK: HANGING}

        wait_for(settled, what="each is what it is")
        most = max(most, threads())
        books = boxes.snapshot().cameras
        before = {name: books[name].captured for name in books}
        assert len(before) == LIVE

        def all_go_on() -> bool:
            clock.advance(1.0)
            for worker in workers:
                worker.check(clock.monotonic())
            now = boxes.snapshot().cameras
            return all(now[name].captured >= before[name] + 3 for name in before)

        wait_for(all_go_on, what="the live ones go on")
        minutes = (clock.monotonic() - begun) / 60
    assert most <= LIVE + REFUSED + HANGING * (1 + MAX_ABANDONED)
    for name, attempts in street.attempts.items():
        # Ten in the first half minute, then one in a quarter of a minute on average.
        limit = {"live": 1, "refused": 10 + minutes * 10, "hanging": 1 + MAX_ABANDONED}[name.partition("-")[0]]
        assert attempts <= limit, name

"""Work that would hold up the control thread, done one after the other on a thread of its own: pictures and files."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from hailod.clock import Clock
from hailod.worker import Worker

MAX_WAITING = 8

Outcome = TypeVar("Outcome")


class Chores(Generic[Outcome]):
    """Runs what it is asked to run and hands what comes out to `on_done`, on its own thread.

    A chore answers with its failure instead of raising it. More than MAX_WAITING do not wait.
    """

    def __init__(self, clock: Clock, on_done: Callable[[Outcome], None]) -> None:
        # A disk may hold the thread for any time, and that is no reason to end the daemon: only its death is.
        self.worker = Worker("chores", self._run, clock, bound=math.inf, daemon=True)
        self._on_done = on_done
        self._changed = threading.Condition()
        self._waiting: deque[Callable[[], Outcome]] = deque()

    def start(self) -> None:
        self.worker.start()

    def ask(self, chore: Callable[[], Outcome]) -> bool:
        """Have it run; False: too much waits already. From any thread, never blocks."""
        with self._changed:
            if len(self._waiting) >= MAX_WAITING or self.worker.stopping.is_set():
                return False
            self._waiting.append(chore)
            self._changed.notify_all()
            return True

    def stop(self, deadline: float) -> bool:
        """End after what is under way; says whether that was within `deadline` seconds. What waits is not done."""
        with self._changed:
            self.worker.stop()
            self._waiting.clear()
            self._changed.notify_all()
        return self.worker.join(deadline)

    def _run(self, worker: Worker) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if worker.stopping.is_set():
                        return
                    self._changed.wait()
                chore = self._waiting.popleft()
            worker.beat()
            outcome = chore()
            # What it holds, a picture perhaps, must not stay until the next one.
            del chore
            self._on_done(outcome)
            del outcome

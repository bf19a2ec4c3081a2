"""Threads with a name, an owner, a heartbeat and an end."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable

import structlog

from hailod.clock import Clock

log = structlog.get_logger(__name__)


class Worker:
    """A named thread that runs `target(worker)` until it returns or `stopping` is set.

    `target` calls `beat()` at least every `bound` seconds; `late` says whether it did. A worker that ends by an
    exception logs it with its traceback and keeps it in `failure`.
    """

    def __init__(
        self,
        name: str,
        target: Callable[[Worker], None],
        clock: Clock,
        *,
        bound: float = 5.0,
        daemon: bool = False,
    ) -> None:
        self.name = name
        self.bound = bound
        self.failure: BaseException | None = None
        self.stopping = threading.Event()
        self._target = target
        self._clock = clock
        self._beat = clock.monotonic()
        self._thread = threading.Thread(target=self._run, name=name, daemon=daemon)

    def start(self) -> None:
        self._beat = self._clock.monotonic()
        self._thread.start()

    def beat(self) -> None:
        """Say that progress was made, or that there is honestly nothing to do."""
        self._beat = self._clock.monotonic()

    def stop(self) -> None:
        """Ask it to end; whoever blocks it must be woken by its owner."""
        self.stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for its end; says whether it came."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def late(self) -> bool:
        """Whether it is dead or silent for longer than its bound."""
        return not self._thread.is_alive() or self._clock.monotonic() - self._beat > self.bound

    def silent_since(self, moment: float = 0.0) -> float:
        """Seconds since its last sign of life, or since `moment` (monotonic) where that is later."""
        return self._clock.monotonic() - max(self._beat, moment)

    def stack(self) -> str:
        """Where the thread is now, outermost call first; empty when it does not run."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return "".join(traceback.format_stack(frame)) if frame is not None else ""

    def _run(self) -> None:
        try:
            self._target(self)
        except Exception as error:
            self.failure = error
            log.exception("worker failed", worker=self.name)

"""Watches over the daemon's threads: one that is dead, or silent for good, is a reason to end and be started anew."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from hailod.clock import Clock
from hailod.worker import Worker

log = structlog.get_logger(__name__)

# A worker that is silent for so much longer than its bound (5 s for those that move frames) is not held up by a machine
# under load: swap and a slow disk cost seconds.
SILENCE_S = 15.0
# Who was not looked after for so long itself accuses nobody of silence.
OWN_GAP_S = 1.0


class Vigil:
    """Looks after the workers. Used by the control thread; whoever watches that one is `hailod.deadman`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_look = self._awake_since = clock.monotonic()

    def look(self, workers: Iterable[Worker]) -> str | None:
        """Why the daemon must end, None while it need not; the log has a traceback, of the failure or of the thread.

        A machine that was suspended, or a process that was stopped, holds its silence against nobody.
        """
        now = self._clock.monotonic()
        if now - self._last_look > OWN_GAP_S:
            self._awake_since = now
        self._last_look = now
        for worker in workers:
            if not worker.alive:
                return f"worker {worker.name} {'failed' if worker.failure is not None else 'ended'}"
            silent = worker.silent_since(self._awake_since)
            if silent > worker.bound + SILENCE_S:
                log.error("worker hangs", worker=worker.name, silent_s=round(silent, 1), exception=worker.stack())
                return f"worker {worker.name} was silent for {silent:.0f} s"
        return None

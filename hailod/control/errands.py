"""What takes time and touches files or the network, each on a thread of its own, so that the control thread waits for
nothing. The outcome comes back as an event."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from hailod.clock import Clock
from hailod.errors import CommandError, HailodError
from hailod.worker import Worker

# One changing command runs at a time; more than one errand are those of commands that were given up.
MAX_ERRANDS = 4


@dataclass(frozen=True, slots=True)
class ErrandDone:
    """The errand of `ticket` is over: with a `result`, or with an `error`."""

    ticket: int
    result: object = None
    error: HailodError | None = None


class Errands:
    """Used by the control thread; `on_done` is called on the errand's thread and must not block."""

    def __init__(self, clock: Clock, on_done: Callable[[ErrandDone], None]) -> None:
        self._clock = clock
        self._on_done = on_done
        self._tickets = itertools.count(1)
        self._workers: list[Worker] = []

    def run(self, work: Callable[[], object]) -> int:
        """Have `work` done; `ErrandDone` with the ticket that is returned follows. Raises CommandError `busy`."""
        self._workers = [worker for worker in self._workers if worker.alive]
        if len(self._workers) >= MAX_ERRANDS:
            raise CommandError("busy", "files or downloads of earlier commands are not there yet", retryable=True)
        ticket = next(self._tickets)
        worker = Worker(f"errand {ticket}", lambda _: self._go(ticket, work), self._clock, daemon=True)
        self._workers.append(worker)
        worker.start()
        return ticket

    def _go(self, ticket: int, work: Callable[[], object]) -> None:
        done = ErrandDone(ticket, error=CommandError("internal", "it failed unexpectedly; see the log"))
        try:
            done = ErrandDone(ticket, work())
        except HailodError as error:
            done = ErrandDone(ticket, error=error)
        except OSError as error:
            done = ErrandDone(ticket, error=HailodError(error.strerror or "a file cannot be read"))
        finally:
            # Whatever else it raised goes on to the log; who waits for it is told all the same.
            self._on_done(done)

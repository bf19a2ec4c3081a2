"""Writes what was set over MQTT to disk, on a thread of its own, so that nobody else waits for a disk.

There is one slot, and the newest document wins: a change that comes while another is written takes the place of any
that waits. What could not be written is tried again every minute, with the next change, and once more at the end. The
control thread learns by events what became of a change; where the disk does not answer at all, `tick` tells it so.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from hailod.clock import Clock
from hailod.config.store import Edit, Overrides, Store, StoreError
from hailod.worker import Worker

log = structlog.get_logger(__name__)

RETRY_S = 60.0
# An SD card that tidies itself up can take a second or two over one write; who waits for an answer waits no longer.
PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class StateSaved:
    """Every change up to `ticket` is on the disk."""

    ticket: int


@dataclass(frozen=True, slots=True)
class StateUnsaved:
    """No change up to `ticket` is certain to be on the disk; `text` says why and `fix` what a person can do."""

    ticket: int
    text: str
    fix: str = ""


SaverEvent = StateSaved | StateUnsaved


class Saver:
    """Keeps `overrides`, as they were read, up to date in `store`.

    `on_event` is called on the saver's and on the control thread and must not block. `put_aside`: the file that is
    there cannot be used and is moved out of the way first.
    """

    def __init__(
        self,
        store: Store,
        overrides: Overrides,
        clock: Clock,
        on_event: Callable[[SaverEvent], None],
        *,
        put_aside: bool = False,
    ) -> None:
        # A disk may hold a thread for any time and that is no reason to end the daemon: only its death is.
        self.worker = Worker("store", self._run, clock, bound=math.inf, daemon=True)
        self._store = store
        self._clock = clock
        self._on_event = on_event
        # Guards everything below.
        self._changed = threading.Condition()
        self._put_aside = put_aside
        self._newest = self._saved = overrides
        self._ticket = 0
        # The last ticket whose fate was told; 0 is that of the folder as it is found.
        self._told = -1
        self._due = True
        self._prepared = False
        self._writing_since: float | None = None
        self._retry_at: float | None = None

    # -- the control thread ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; the first thing is to see that the folder is there and may be written to."""
        self.worker.start()

    @property
    def overrides(self) -> Overrides:
        """What is to be on the disk."""
        with self._changed:
            return self._newest

    def keep(self, edit: Edit, revision: int) -> int | None:
        """Make `edit` to what is kept. An event with at least the ticket that is returned tells what became of it;
        None: all of it is on the disk already."""
        with self._changed:
            newest = self._newest.changed(edit, revision)
            if newest == self._newest == self._saved:
                return None
            self._newest = newest
            self._ticket += 1
            self._due = True
            self._changed.notify_all()
            return self._ticket

    def note(self, revision: int) -> None:
        """Have the number of the settings kept too, with the next change or at the end."""
        with self._changed:
            self._newest = replace(self._newest, revision=revision)

    def tick(self, now: float) -> None:
        """Look at the clocks: is it time to try again, does the disk answer?"""
        with self._changed:
            if self._retry_at is not None and now >= self._retry_at:
                self._retry_at = None
                self._due = True
                self._changed.notify_all()
            hangs = self._writing_since is not None and now - self._writing_since > PATIENCE_S
            if not hangs or self._ticket <= self._told:
                return
            self._told = ticket = self._ticket
        text = f"{self._store.path} cannot be written: the disk has not answered for {PATIENCE_S:g} s"
        self._on_event(StateUnsaved(ticket, text, "look at the disk and the kernel's log"))

    def stop(self, deadline: float) -> bool:
        """End, with a last attempt at what is not on the disk; says whether all of it is, within `deadline` seconds."""
        with self._changed:
            self._due = self._due or self._newest != self._saved
            self.worker.stop()
            self._changed.notify_all()
        ended = self.worker.join(deadline)
        with self._changed:
            return ended and self._newest == self._saved

    # -- the saver's thread ------------------------------------------------------------------------------------------

    def _run(self, worker: Worker) -> None:
        while True:
            with self._changed:
                while not self._due:
                    if worker.stopping.is_set():
                        return
                    self._changed.wait()
                self._due = False
                self._retry_at = None
                ticket, newest = self._ticket, self._newest
                changed = newest != self._saved
                self._writing_since = self._clock.monotonic()
            worker.beat()
            outcome = self._write(ticket, newest if changed else None)
            with self._changed:
                self._writing_since = None
                self._told = max(self._told, ticket)
                if isinstance(outcome, StateSaved):
                    self._saved = newest
                else:
                    self._retry_at = self._clock.monotonic() + RETRY_S
            self._on_event(outcome)

    def _write(self, ticket: int, overrides: Overrides | None) -> SaverEvent:
        try:
            if not self._prepared:
                self._store.prepare(put_aside=self._put_aside)
                self._prepared = True
                self._put_aside = False
            if overrides is not None:
                self._store.write(overrides)
        except StoreError as error:
            # Who removed the folder, or mounted it anew, may bring it back.
            self._prepared = False
            return StateUnsaved(ticket, str(error), error.fix)
        return StateSaved(ticket)

"""Keeps a small file of the state directory up to date, on a thread of its own: the newest content wins.

Unlike what the saver keeps, nobody is told of a failure but the log: what is recorded here only saves others work.
"""

from __future__ import annotations

import math
import threading

import structlog

from hailod.clock import Clock
from hailod.config.store import StateFile, StoreError
from hailod.errors import ConfigError
from hailod.worker import Worker

log = structlog.get_logger(__name__)


class Recorder:
    """The file as it is to be. `read` before `start`; the rest is the control thread's."""

    def __init__(self, file: StateFile, clock: Clock) -> None:
        # A disk may hold a thread for any time and that is no reason to end the daemon: only its death is.
        self.worker = Worker("recorder", self._run, clock, bound=math.inf, daemon=True)
        self._file = file
        # Guards everything below.
        self._changed = threading.Condition()
        self._newest: bytes | None = None
        self._saved: bytes | None = None
        # The newest content could not be written; the next one is tried again.
        self._failed = False
        self._complained: str | None = None

    def read(self, max_bytes: int) -> str | None:
        """What the file holds; None where there is none, or none that can be read."""
        try:
            return self._file.text(max_bytes)
        except ConfigError as error:
            log.warning("record left out", reason=str(error))
            return None

    def start(self, content: bytes | None) -> None:
        """Begin; the file is known to hold `content`."""
        self._newest = self._saved = content
        self.worker.start()

    def put(self, content: bytes) -> None:
        """Have this be the content."""
        with self._changed:
            if content == self._newest and not self._failed:
                return
            self._newest = content
            self._failed = False
            self._changed.notify_all()

    @property
    def settled(self) -> bool:
        """Whether the newest content is on the disk, or cannot be brought there."""
        with self._changed:
            return self._failed or self._newest == self._saved

    def settle(self, seconds: float) -> bool:
        """Wait for that, so long at the most."""
        with self._changed:
            return self._changed.wait_for(lambda: self._failed or self._newest == self._saved, seconds)

    def stop(self, deadline: float) -> bool:
        """End, within `deadline` seconds; says whether the newest content is on the disk."""
        with self._changed:
            self.worker.stop()
            self._changed.notify_all()
        ended = self.worker.join(deadline)
        with self._changed:
            return ended and self._newest == self._saved

    def _run(self, worker: Worker) -> None:
        while True:
            with self._changed:
                while self._failed or self._newest == self._saved:
                    if worker.stopping.is_set():
                        return
                    self._changed.wait()
                content = self._newest
            worker.beat()
            assert content is not None, "what differs from the disk was put"
            problem = self._write(content)
            with self._changed:
                if problem is None:
                    self._saved = content
                self._failed = problem is not None and content == self._newest
                self._changed.notify_all()
                if worker.stopping.is_set() and problem is not None:
                    return

    def _write(self, content: bytes) -> str | None:
        try:
            self._file.prepare()
            self._file.replace(content)
        except StoreError as error:
            if str(error) != self._complained:
                self._complained = str(error)
                log.warning("record not written", reason=str(error), fix=error.fix)
            return str(error)
        self._complained = None
        return None

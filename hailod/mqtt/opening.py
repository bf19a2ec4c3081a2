"""Opening a connection without waiting for what cannot be interrupted.

A look-up of the broker's name ends when the C library thinks fit, which with a name server that never answers, or with
a broken name service, can take minutes. So each session is opened by a thread of its own. Given up, that thread closes
what it opened once its call returns, and until then no other is started: one at most is left behind.
"""

from __future__ import annotations

import threading

from hailod.clock import Clock
from hailod.mqtt.session import Session
from hailod.worker import Worker


class Opening:
    """`session.open()` under way, started by the constructor's caller with `start`."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session = session
        self._worker = Worker("mqtt-open", self._run, clock, daemon=True)
        self._lock = threading.Lock()
        self._returned = threading.Event()
        self._given_up = False
        self._error: OSError | ValueError | None = None

    def start(self) -> None:
        self._worker.start()

    @property
    def alive(self) -> bool:
        """Whether the call has not returned yet."""
        return self._worker.alive

    def wait(self, timeout: float) -> bool:
        """Wait for the call to return; says whether it did. Raises what it raised: OSError or ValueError."""
        if not self._returned.wait(timeout):
            return False
        if self._error is not None:
            raise self._error
        return True

    def give_up(self) -> None:
        """Nobody wants the session any more: it is closed now, or as soon as it is open."""
        with self._lock:
            self._given_up = True
            returned = self._returned.is_set()
        if returned:
            self._session.close()

    def _run(self, _: Worker) -> None:
        try:
            self._session.open()
        except (OSError, ValueError) as error:
            self._error = error
        finally:
            with self._lock:
                self._returned.set()
                unwanted = self._given_up
            if unwanted:
                self._session.close()

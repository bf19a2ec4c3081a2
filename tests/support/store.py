"""A place for what is set over MQTT that fails and hangs when it is told to."""

from __future__ import annotations

import threading
from pathlib import Path

from hailod.config.store import Overrides, Store, StoreError


class FakeStore(Store):
    """Keeps what it is given in memory. `trouble` is raised in its place; `gate` holds the writer until it is set."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.written: list[Overrides] = []
        self.prepared: list[bool] = []
        self.trouble: StoreError | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def prepare(self, *, put_aside: bool = False) -> None:
        self._pass()
        self.prepared.append(put_aside)

    def write(self, overrides: Overrides) -> None:
        self._pass()
        self.written.append(overrides)

    def _pass(self) -> None:
        self.entered.release()
        assert self.gate.wait(10.0)
        if self.trouble is not None:
            raise self.trouble

"""A record of the state directory that is on the disk at once, or when a test says so."""

from __future__ import annotations

from pathlib import Path

from hailod.clock import FakeClock
from hailod.config.store import StateFile
from hailod.control.recorder import Recorder


class FakeRecorder(Recorder):
    """Holds `content`, what would be on the disk, in memory; with `slow` it gets there by `write`."""

    def __init__(self, content: str | None = None) -> None:
        super().__init__(StateFile(Path("/nowhere"), "record.json"), FakeClock())
        self.content = content
        self.slow = False
        self.history: list[str] = []
        self._waiting: str | None = None

    def read(self, max_bytes: int) -> str | None:
        return self.content

    def start(self, content: bytes | None) -> None:
        assert self._waiting is None

    def put(self, content: bytes) -> None:
        self._waiting = content.decode()
        if not self.slow:
            self.write()

    @property
    def settled(self) -> bool:
        return self._waiting is None

    def settle(self, seconds: float) -> bool:
        return self.settled

    def write(self) -> None:
        """The disk has what was put last."""
        if self._waiting is not None and self._waiting != self.content:
            self.content = self._waiting
            self.history.append(self.content)
        self._waiting = None

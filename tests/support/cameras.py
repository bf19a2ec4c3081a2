"""Camera workers without a thread, for tests of what is above them."""

from __future__ import annotations

from collections.abc import Callable

from hailod.clock import Clock
from hailod.config.model import CameraSettings
from hailod.mailbox import Mailboxes
from hailod.pipeline.camera_state import CameraState, Phase
from hailod.types import Frame


class FakeWorker:
    """In the place of a CameraWorker: remembers what it was told, and is in the state that the test gives it."""

    def __init__(
        self, name: str, settings: CameraSettings, boxes: Mailboxes, clock: Clock, told: Callable[[CameraState], None]
    ) -> None:
        self.name = name
        self.settings = settings
        self.state = CameraState(name, Phase.STARTING, clock.wall())
        self.calls: list[object] = []
        self.checks = 0
        self.ends = True
        self.taker: Callable[[Frame], None] | None = None
        self._told = told

    def start(self) -> None:
        self.calls.append("start")

    def check(self, now: float) -> None:
        self.checks += 1

    def set_enabled(self, enabled: bool) -> None:
        self.calls.append(("enabled", enabled))

    def set_max_fps(self, max_fps: float | None) -> None:
        self.calls.append(("max_fps", max_fps))

    def next_picture(self, taker: Callable[[Frame], None] | None) -> None:
        self.taker = taker

    def stop(self, timeout: float) -> bool:
        self.calls.append("stop")
        return self.ends

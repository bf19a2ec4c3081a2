"""A camera worker on a real source, with a tick like the control thread's."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import SecretStr

from hailod.clock import Clock, SystemClock
from hailod.config.model import CameraSettings
from hailod.mailbox import Mailboxes, Outcome
from hailod.pipeline.camera import CameraWorker, SourceFactory
from hailod.pipeline.camera_state import CameraState, Phase
from hailod.sources import create_source
from hailod.types import Frame
from tests.support.rtsp import number_of
from tests.support.waiting import wait_for


def settings(url: str, **fields: object) -> CameraSettings:
    return CameraSettings.model_validate({"source": SecretStr(url), **fields})


class Watched:
    """A camera worker at work, its states, and a tick like the control thread's."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "front",
        depth: int = 1,
        clock: Clock | None = None,
        source_factory: SourceFactory = create_source,
        **fields: object,
    ) -> None:
        self.clock = clock or SystemClock()
        self.states: list[CameraState] = []
        self.mailboxes = Mailboxes(self.clock, depth=depth)
        self.mailboxes.route(name, ["model"])
        self.worker = CameraWorker(
            name,
            settings(url, **fields),
            self.mailboxes,
            self.clock,
            self.states.append,
            source_factory=source_factory,
            rng=random.Random(1),
        )

    @property
    def phases(self) -> list[Phase]:
        """The phases it went through."""
        return [phase for phase, _ in itertools.groupby(state.phase for state in list(self.states))]

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many frames were passed over, by reason."""
        books = self.mailboxes.snapshot().cameras.get(self.worker.name)
        return books.skipped if books is not None else {}

    def until(self, condition: Callable[[CameraState], object], *, timeout: float = 15.0, what: str = "") -> None:
        """Tick until the state is like that."""

        def so() -> bool:
            self.worker.check(self.clock.monotonic())
            return bool(condition(self.worker.state))

        wait_for(so, timeout=timeout, what=what)

    def frames(self) -> list[Frame]:
        """What was offered and not yet taken."""
        items = self.mailboxes.take("model", 10_000, per_camera=10_000, max_age=1e6)
        self.mailboxes.finish(items, Outcome.DONE)
        return [item.frame for item in items]

    def reach(self, phase: Phase, *, timeout: float = 15.0) -> CameraState:
        def there() -> CameraState | None:
            self.worker.check(self.clock.monotonic())
            state = self.worker.state
            return state if state.phase is phase else None

        state = wait_for(there, timeout=timeout, what=f"camera {phase}")
        assert state is not None
        return state

    def next_frame_number(self) -> int:
        """The number in the next frame that comes."""
        self.finish_waiting()

        def taken() -> list[int]:
            items = self.mailboxes.take("model", 1, per_camera=1, max_age=60.0)
            self.mailboxes.finish(items, Outcome.DONE)
            return [number_of(item.frame.picture) + 1 for item in items]

        return wait_for(taken, what="a frame")[0] - 1

    def finish_waiting(self) -> None:
        self.mailboxes.finish(self.mailboxes.take("model", 8, per_camera=8, max_age=60.0), Outcome.DONE)


@contextmanager
def watched(url: str, **fields: Any) -> Iterator[Watched]:
    camera = Watched(url, **fields)
    camera.worker.start()
    try:
        yield camera
    finally:
        assert camera.worker.stop(10.0)
        camera.mailboxes.close()
        assert camera.mailboxes.snapshot().balanced

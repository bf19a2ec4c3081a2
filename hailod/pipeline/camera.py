"""One camera: a thread that keeps its source open and offers its frames, and the supervision of that thread.

What a source calls cannot be interrupted: a name look-up, a driver. So nobody waits for the thread. The control thread
calls `check` on its tick; a thread that is overdue is given up by raising the generation, after which nothing it says
or delivers counts, and another takes its place. The abandoned thread ends by itself when its call returns. At most
`MAX_ABANDONED` may linger; beyond that the camera is `stuck` until one of them ends.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import structlog

from hailod.clock import Clock
from hailod.config.model import CameraSettings
from hailod.errors import SourceEnded, SourceError
from hailod.mailbox import Mailboxes, Skip
from hailod.pipeline.pacing import Backoff, Pacer, RateMeter
from hailod.sources import create_source
from hailod.sources.base import Captured, Source
from hailod.types import Frame
from hailod.worker import Worker

log = structlog.get_logger(__name__)

MAX_ABANDONED: Final = 2

# How much longer than its time-out a call may take before its thread is given up.
_GRACE = 2.0

# A camera that delivered for this long was healthy: its next failure is a first one.
_HEALTHY_AFTER = 10.0

# Asking again soon changes nothing, and cameras lock accounts that fail to log in too often.
_REFUSALS = frozenset({"unauthorised", "forbidden"})

# A camera is called behind until it has kept up for this long.
_BEHIND_HOLD = 10.0


class Phase(StrEnum):
    """What a camera is doing. `online` only from its first decoded frame on; `lost` while it is tried again."""

    DISABLED = "disabled"
    STARTING = "starting"
    ONLINE = "online"
    LOST = "lost"
    ENDED = "ended"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class CameraState:
    """A camera at one moment.

    `since` is when the phase began (monotonic). `code` and `reason` say why it is lost, ended or stuck, free of
    credentials. `failures` counts attempts without a frame in a row, `behind` says that frames were skipped to keep up
    with the stream. `width` and `height` are those of the last picture.
    """

    camera: str
    phase: Phase
    since: float
    generation: int = 0
    code: str | None = None
    reason: str | None = None
    failures: int = 0
    fps_in: float = 0.0
    behind: bool = False
    width: int | None = None
    height: int | None = None


SourceFactory = Callable[[str, CameraSettings, Clock], Source]


@dataclass(slots=True, eq=False)
class _Run:
    """One thread's life. `overdue_at` is when the call it is in should be over, None outside of calls."""

    generation: int
    worker: Worker
    start_at: float
    epoch: int = 0
    overdue_at: float | None = None
    online_at: float | None = None


@dataclass(slots=True)
class _Stats:
    rate: RateMeter = field(default_factory=RateMeter)
    number: int = 0
    skipped_at: float | None = None


class CameraWorker:
    """Keeps one camera delivering into `mailboxes`; reports each change of its state through `on_state`.

    `start`, `check` and `stop` are for one thread, the control thread; the setters and `state` are for any. `on_state`
    is called from the camera's and from the control thread and must not block.
    """

    def __init__(
        self,
        name: str,
        settings: CameraSettings,
        mailboxes: Mailboxes,
        clock: Clock,
        on_state: Callable[[CameraState], None],
        *,
        source_factory: SourceFactory = create_source,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self._settings = settings
        self._mailboxes = mailboxes
        self._clock = clock
        self._on_state = on_state
        self._source_factory = source_factory
        self._pacer = Pacer(settings.max_fps)
        self._backoff = Backoff(settings.backoff_initial, settings.backoff_max, rng or random.SystemRandom())
        # Guards everything below; waits of the camera thread end when it is notified.
        self._changed = threading.Condition()
        self._enabled = settings.enabled
        self._stopping = False
        self._generation = 0
        # Raised when the source is to be closed and, if enabled, opened anew.
        self._epoch = 0
        self._run: _Run | None = None
        self._abandoned: list[Worker] = []
        self._stats = _Stats()
        phase = Phase.STARTING if settings.enabled else Phase.DISABLED
        self._state = CameraState(name, phase, clock.monotonic())

    # -- any thread --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> CameraState:
        """The state now, with the present frame rate."""
        with self._changed:
            return replace(self._state, fps_in=self._stats.rate.rate(self._clock.monotonic()))

    def set_enabled(self, enabled: bool) -> None:
        """Open or close the source. Enabling again restarts a file that had ended."""
        with self._changed:
            if enabled != self._enabled:
                self._enabled = enabled
                self._epoch += 1
                self._changed.notify_all()

    def set_max_fps(self, max_fps: float | None) -> None:
        with self._changed:
            self._pacer.set_max_fps(max_fps)

    def restart(self) -> None:
        """Close the source and open it again at once."""
        with self._changed:
            self._epoch += 1
            self._backoff.reset()
            self._changed.notify_all()

    # -- control thread ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._on_state(self.state)
        self._begin(self._clock.monotonic())

    def check(self, now: float) -> None:
        """Give up a thread that is overdue or dead at `now` (monotonic) and start another. Never blocks."""
        with self._changed:
            # The camera thread's waits follow the clock that `now` is read from.
            self._changed.notify_all()
            run = self._run
            self._abandoned = [worker for worker in self._abandoned if worker.alive]
            if run is None or self._stopping:
                return
            overdue = now - run.overdue_at if run.overdue_at is not None else 0.0
            dead = not run.worker.alive
            full = len(self._abandoned) >= MAX_ABANDONED
        if dead:
            self._report(run, Phase.LOST, code="internal", reason=_FAILED, failed=True)
            self._begin(now + self._next_delay(run))
        elif overdue > _GRACE and full:
            self._report(run, Phase.STUCK, code="stuck", reason=_STUCK)
        elif overdue > _GRACE:
            self._report(run, Phase.LOST, code="timeout", reason=_HANGS, failed=True)
            log.warning("camera thread abandoned", camera=self.name, generation=run.generation)
            with self._changed:
                self._abandoned.append(run.worker)
            self._begin(now + self._next_delay(run))
        elif overdue > 0.0:
            self._report(run, Phase.LOST, code="timeout", reason=_HANGS)

    def stop(self, timeout: float) -> bool:
        """Close the camera; says whether its threads ended within `timeout` seconds. Those that did not are mute."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            run = self._run
        ended = run is None or run.worker.join(timeout)
        with self._changed:
            self._generation += 1
            return ended and not any(worker.alive for worker in self._abandoned)

    def _begin(self, start_at: float) -> None:
        with self._changed:
            self._generation += 1
            generation = self._generation
            worker = Worker(f"camera-{self.name}", lambda _worker: self._main(run), self._clock, daemon=True)
            run = self._run = _Run(generation, worker, start_at)
            self._state = replace(self._state, generation=generation)
            self._changed.notify_all()
        worker.start()

    # -- camera thread -----------------------------------------------------------------------------------------------

    def _main(self, run: _Run) -> None:
        with self._changed:
            run.epoch = self._epoch
        self._wait(run, run.start_at)
        while True:
            with self._changed:
                if self._stopping or run.generation != self._generation:
                    return
                run.epoch = self._epoch
                run.online_at = None
                enabled = self._enabled
                fresh = self._state.phase in (Phase.DISABLED, Phase.ENDED)
            if not enabled:
                self._report(run, Phase.DISABLED)
                self._wait(run, None)
                continue
            if fresh:
                self._report(run, Phase.STARTING)
            try:
                self._watch(run)
            except SourceEnded as error:
                self._report(run, Phase.ENDED, code=error.code, reason=str(error))
                self._wait(run, None)
            except SourceError as error:
                self._report(run, Phase.LOST, code=error.code, reason=str(error), failed=True)
                delay = self._settings.backoff_max if error.code in _REFUSALS else self._next_delay(run)
                self._wait(run, self._clock.monotonic() + delay)

    def _watch(self, run: _Run) -> None:
        """Open the source and deliver what it gives until someone wants something else; raises SourceError."""
        settings = self._settings
        source = self._source_factory(self.name, settings, self._clock)
        try:
            with self._call(run, settings.open_timeout):
                source.open()
            # A stream may be joined long before its next key frame.
            limit = max(settings.open_timeout, settings.read_timeout)
            while not self._interrupted(run):
                with self._call(run, limit):
                    captured = source.read()
                limit = settings.read_timeout
                if captured.due is not None and not self._wait(run, captured.due):
                    return
                self._deliver(run, captured)
                if captured.rest and not self._wait(run, self._clock.monotonic() + captured.rest):
                    return
        finally:
            with self._call(run, settings.read_timeout):
                source.close()

    def _deliver(self, run: _Run, captured: Captured) -> None:
        now = self._clock.monotonic()
        picture = captured.picture
        with self._changed:
            if self._stopping or run.generation != self._generation:
                return
            stats = self._stats
            stats.number += 1
            stats.rate.count(now, 1 + captured.skipped + captured.corrupt)
            if captured.skipped:
                stats.skipped_at = now
            behind = stats.skipped_at is not None and now - stats.skipped_at < _BEHIND_HOLD
            shown = (behind, picture.width, picture.height)
            state = self._state
            news = state.phase is not Phase.ONLINE or shown != (state.behind, state.width, state.height)
            admitted = self._pacer.admit(now)
            frame = Frame(self.name, stats.number, now, self._clock.wall(), picture, run.generation)
        if run.online_at is None:
            run.online_at = now
        if news:
            self._report(run, Phase.ONLINE, shown=shown)
        if captured.skipped:
            self._mailboxes.skip(self.name, Skip.LAG, captured.skipped)
        if captured.corrupt:
            self._mailboxes.skip(self.name, Skip.CORRUPT, captured.corrupt)
        if admitted:
            self._mailboxes.offer(frame)
        else:
            self._mailboxes.skip(self.name, Skip.PACED)

    def _next_delay(self, run: _Run) -> float:
        with self._changed:
            if run.online_at is not None and self._clock.monotonic() - run.online_at >= _HEALTHY_AFTER:
                self._backoff.reset()
            return self._backoff.next_delay()

    @contextmanager
    def _call(self, run: _Run, limit: float) -> Iterator[None]:
        """Mark the time in which the thread is inside a call of the source that ought to take `limit` at most."""
        with self._changed:
            run.overdue_at = self._clock.monotonic() + limit
        try:
            yield
        finally:
            with self._changed:
                run.overdue_at = None

    def _wait(self, run: _Run, until: float | None) -> bool:
        """Sleep until the monotonic second `until`, or for ever; False when interrupted."""
        with self._changed:
            while not self._interrupted(run):
                left = None if until is None else until - self._clock.monotonic()
                if left is not None and left <= 0:
                    return True
                self._changed.wait(left)
            return False

    def _interrupted(self, run: _Run) -> bool:
        return self._stopping or run.generation != self._generation or run.epoch != self._epoch

    def _report(
        self,
        run: _Run,
        phase: Phase,
        *,
        code: str | None = None,
        reason: str | None = None,
        failed: bool = False,
        shown: tuple[bool, int, int] | None = None,
    ) -> None:
        """Make this the state, unless the run counts no more, and tell of it when it is news.

        `failed`: one more attempt was in vain. `shown`: whether it is behind, and the picture's width and height.
        """
        with self._changed:
            old = self._state
            if self._stopping or run.generation != self._generation:
                return
            behind, width, height = shown or (False, old.width, old.height)
            new = self._state = replace(
                old,
                phase=phase,
                since=old.since if phase is old.phase else self._clock.monotonic(),
                code=code,
                reason=reason,
                failures=0 if phase is Phase.ONLINE else old.failures + failed,
                behind=behind,
                width=width,
                height=height,
            )
        if replace(new, failures=0, reason=None) != replace(old, failures=0, reason=None):
            self._on_state(self.state)
        _log_change(old, new)


_FAILED = "the camera's thread failed; the log has its traceback"
_HANGS = "it does not answer within its time-out"
_STUCK = "calls into the camera do not return; if it stays so, restart the daemon or reconnect the camera"


def _log_change(old: CameraState, new: CameraState) -> None:
    """One line per change; of failures in a row only the first is a warning."""
    facts = {key: value for key in ("code", "reason") if (value := getattr(new, key)) is not None}
    if new.phase is old.phase and new.failures > old.failures:
        log.debug("camera still lost", camera=new.camera, failures=new.failures, **facts)
    elif new.behind and not old.behind:
        log.warning("camera behind its stream", camera=new.camera)
    elif new.phase is old.phase:
        return
    elif new.phase in (Phase.LOST, Phase.STUCK):
        log.warning(f"camera {new.phase}", camera=new.camera, **facts)
    elif new.phase is Phase.ONLINE:
        log.info("camera online", camera=new.camera, width=new.width, height=new.height)
    else:
        log.info(f"camera {new.phase}", camera=new.camera, **facts)

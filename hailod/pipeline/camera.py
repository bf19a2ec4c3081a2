"""One camera: a thread that keeps its source open and offers its frames, and the supervision of that thread.

What a source calls cannot be interrupted: a name look-up, a driver. So nobody waits for the thread. The control thread
calls `check` on its tick; a thread that is overdue is given up by raising the generation, after which nothing it says
or delivers counts, and another takes its place. The abandoned thread ends by itself when its call returns. At most
`MAX_ABANDONED` may linger; beyond that the camera is `stuck` until one of them ends.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from hailod.clock import Clock
from hailod.config.model import CameraSettings
from hailod.errors import SourceEnded, SourceError
from hailod.mailbox import Mailboxes, Skip
from hailod.pipeline.camera_state import CameraState, Phase, Shown, Trouble, log_change
from hailod.pipeline.pacing import Backoff, Pacer, RateMeter
from hailod.pipeline.quality import Quality
from hailod.sources import create_source
from hailod.sources.base import Captured, Source
from hailod.sources.faults import AWAY
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


SourceFactory = Callable[[str, CameraSettings, Clock], Source]

# Over all cameras and workers, so that a state of a worker that was replaced is older than any of its successor.
_serials = itertools.count(1)


@dataclass(slots=True, eq=False)
class _Run:
    """One thread's life. `overdue_at` is when the call it is in should be over, None outside of calls; `wake_at` until
    when it waits, None while it does not or does so for ever."""

    generation: int
    worker: Worker
    start_at: float
    epoch: int = 0
    overdue_at: float | None = None
    wake_at: float | None = None
    online_at: float | None = None


@dataclass(slots=True)
class _Stats:
    quality: Quality
    rate: RateMeter = field(default_factory=RateMeter)
    number: int = 0
    # Whether the source was opened anew since the picture hangs.
    reopened: bool = False


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
        self._stats = _Stats(Quality(settings.frozen_after))
        phase = Phase.STARTING if settings.enabled else Phase.DISABLED
        self._state = CameraState(name, phase, clock.monotonic(), serial=next(_serials))
        self._taker: Callable[[Frame], None] | None = None

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
                self._taker = None
                self._changed.notify_all()

    def set_max_fps(self, max_fps: float | None) -> None:
        with self._changed:
            self._pacer.set_max_fps(max_fps)

    def next_picture(self, taker: Callable[[Frame], None] | None) -> None:
        """Hand the next picture, offered to a model or not, to `taker`, which is called once on the camera's thread and
        must not block. None: nobody waits for one any more."""
        with self._changed:
            self._taker = taker

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
            run = self._run
            if run is not None and run.wake_at is not None and now >= run.wake_at:
                # The camera thread's waits follow the clock that `now` is read from.
                self._changed.notify_all()
            self._abandoned = [worker for worker in self._abandoned if worker.alive]
            if run is None or self._stopping:
                return
            overdue = now - run.overdue_at if run.overdue_at is not None else 0.0
            dead = not run.worker.alive
            full = len(self._abandoned) >= MAX_ABANDONED
        if dead:
            self._report(run, Phase.LOST, _FAILED, failed=True)
            self._begin(now + self._next_delay(run, _FAILED.code))
        elif overdue > _GRACE and full:
            self._report(run, Phase.STUCK, _STUCK)
        elif overdue > _GRACE:
            self._report(run, Phase.LOST, _HANGS, failed=True)
            log.info("camera thread abandoned", camera=self.name, generation=run.generation)
            with self._changed:
                self._abandoned.append(run.worker)
            self._begin(now + self._next_delay(run, _HANGS.code))
        elif overdue > 0.0:
            self._report(run, Phase.LOST, _HANGS)

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
                if enabled and fresh:
                    self._stats.quality.restart()
            if not enabled:
                self._report(run, Phase.DISABLED)
                self._wait(run, None)
                continue
            if fresh:
                self._report(run, Phase.STARTING)
            try:
                self._watch(run)
            except SourceEnded as error:
                self._report(run, Phase.ENDED, Trouble.of(error))
                self._wait(run, None)
            except SourceError as error:
                again_at = self._clock.monotonic() + self._next_delay(run, error.code)
                self._report(run, Phase.LOST, Trouble.of(error), failed=True)
                self._wait(run, again_at)

    def _watch(self, run: _Run) -> None:
        """Open the source and deliver what it gives until it is to be opened anew; raises SourceError."""
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
                if captured.picture is not None:
                    limit = settings.read_timeout
                if captured.due is not None and not self._wait(run, captured.due):
                    return
                if self._deliver(run, captured):
                    return
                if captured.rest and not self._wait(run, self._clock.monotonic() + captured.rest):
                    return
        finally:
            with self._call(run, settings.read_timeout):
                source.close()

    def _deliver(self, run: _Run, captured: Captured) -> bool:
        """Count what came and offer the picture; says whether the source is to be opened anew, as its picture hangs."""
        now = self._clock.monotonic()
        picture = captured.picture
        taker: Callable[[Frame], None] | None = None
        with self._changed:
            if self._stopping or run.generation != self._generation:
                return False
            state, stats = self._state, self._stats
            stats.rate.count(now, (picture is not None) + captured.skipped + captured.corrupt)
            flaws = stats.quality.observe(captured, now, joined=run.online_at is not None)
            phase, size, frame, admitted = state.phase, (state.width, state.height), None, False
            if picture is not None:
                stats.number += 1
                phase, size = Phase.FROZEN if flaws.frozen else Phase.ONLINE, (picture.width, picture.height)
                frame = Frame(self.name, stats.number, now, self._clock.wall(), picture, run.generation)
                admitted = not flaws.frozen and self._pacer.admit(now)
                if not flaws.frozen and run.epoch == self._epoch:
                    taker, self._taker = self._taker, None
            reopen = flaws.frozen and not stats.reopened
            stats.reopened = flaws.frozen or (stats.reopened and picture is None)
            if run.online_at is None and picture is not None:
                run.online_at = now
        shown = Shown(flaws.behind, flaws.corrupt, *size)
        if phase in (Phase.ONLINE, Phase.FROZEN) and (state.phase is not phase or Shown.of(state) != shown):
            self._report(run, phase, _FROZEN if phase is Phase.FROZEN else None, shown=shown)
        for reason, count in ((Skip.LAG, captured.skipped), (Skip.CORRUPT, captured.corrupt)):
            if count:
                self._mailboxes.skip(self.name, reason, count)
        if frame is not None and admitted:
            self._mailboxes.offer(frame)
        elif frame is not None:
            self._mailboxes.skip(self.name, Skip.FROZEN if flaws.frozen else Skip.PACED)
        if frame is not None and taker is not None:
            taker(frame)
        return reopen

    def _next_delay(self, run: _Run, code: str) -> float:
        """How long to wait before the camera is tried again, which failed with `code`."""
        settings = self._settings
        if code in _REFUSALS or (settings.sleeps and code in AWAY):
            return settings.backoff_max
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
                run.wake_at = until
                self._changed.wait(left)
                run.wake_at = None
            return False

    def _interrupted(self, run: _Run) -> bool:
        return self._stopping or run.generation != self._generation or run.epoch != self._epoch

    def _report(
        self,
        run: _Run,
        phase: Phase,
        trouble: Trouble | None = None,
        *,
        failed: bool = False,
        shown: Shown | None = None,
    ) -> None:
        """Make this the state, unless the run counts no more, and tell of it when it is news.

        `failed`: one more attempt was in vain. `shown`: what its pictures are like.
        """
        code, reason, fix = trouble or (None, None, "")
        if phase is Phase.LOST and self._settings.sleeps and code in AWAY:
            phase = Phase.ASLEEP
        with self._changed:
            old = self._state
            if self._stopping or run.generation != self._generation:
                return
            new = replace(
                old,
                phase=phase,
                since=old.since if phase is old.phase else self._clock.monotonic(),
                code=code,
                reason=reason,
                fix=fix,
                failures=0 if phase in (Phase.ONLINE, Phase.FROZEN) else old.failures + failed,
                **(shown or Shown(False, False, old.width, old.height))._asdict(),
            )
            news = replace(new, failures=0, reason=None) != replace(old, failures=0, reason=None)
            if news:
                rate = self._stats.rate.rate(self._clock.monotonic())
                new = replace(new, serial=next(_serials), fps_in=rate)
            self._state = replace(new, fps_in=0.0)
        if news:
            self._on_state(new)
        log_change(old, new)


_FAILED = Trouble("internal", "the camera's thread failed", "report the traceback that is in the log")
_FROZEN = Trouble(
    "frozen", "it sends the same picture again and again", "restart the camera, or what relays its stream"
)
_HANGS = Trouble("timeout", "it does not answer within its time-out", "check that the camera is on and reachable")
_STUCK = Trouble("stuck", "calls into the camera do not return", "reconnect the camera, or restart the daemon")

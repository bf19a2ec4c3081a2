"""The camera's thread and its supervision, with a source written by hand and a clock turned by hand."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from hailod.clock import FakeClock
from hailod.config.model import CameraSettings
from hailod.errors import SourceEnded, SourceLost, SourceUnavailable
from hailod.mailbox import Mailboxes, Outcome, Skip
from hailod.pipeline.camera import MAX_ABANDONED, CameraWorker
from hailod.pipeline.camera_state import CameraState, Phase
from hailod.sources.base import Captured
from hailod.types import Frame, Picture, PixelFormat
from tests.support.waiting import wait_for

PICTURE = Picture(PixelFormat.GRAY, 32, 16, (np.zeros((16, 32), np.uint8),))
REFUSED = SourceUnavailable("rtsp://***@host/cam: nothing listens there", code="refused")
BROKEN = SourceLost("rtsp://***@host/cam: the connection broke", code="lost")
ENDED = SourceEnded("/clip.mp4: at its end", code="ended")
WRONG = SourceUnavailable("rtsp://***@host/cam: user name or password refused", code="unauthorised")


class Hang:
    """A call that does not return until it is let go, as a name look-up may."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def wait(self) -> None:
        self.entered.set()
        self.let_go.wait(30.0)


Step = Captured | Exception | Hang


class ScriptedCamera:
    """Makes sources that do what the script says, one step a call; without a step, `read` waits for the next."""

    def __init__(self) -> None:
        self._steps: deque[Step] = deque()
        self._more = threading.Condition()
        self._closing = False
        self.opened = 0
        self.closed = 0
        self.slow_close: Hang | None = None

    def script(self, *steps: Step) -> None:
        with self._more:
            self._steps.extend(steps)
            self._more.notify_all()

    def end(self) -> None:
        """Let every call return."""
        with self._more:
            self._closing = True
            self._more.notify_all()

    def __call__(self, _name: str, _settings: CameraSettings, _clock: object) -> ScriptedCamera:
        return self

    def open(self) -> None:
        with self._more:
            self.opened += 1
            step = self._steps.popleft() if self._steps and not isinstance(self._steps[0], Captured) else None
        if isinstance(step, Hang):
            step.wait()
        elif isinstance(step, Exception) and step is not ENDED:
            raise step

    def read(self) -> Captured:
        with self._more:
            self._more.wait_for(lambda: self._steps or self._closing)
            step = self._steps.popleft() if self._steps else BROKEN
        if isinstance(step, Hang):
            step.wait()
            raise BROKEN
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        with self._more:
            self.closed += 1
            hang = self.slow_close
        if hang is not None:
            hang.wait()


class Rig:
    """One camera worker with everything around it."""

    def __init__(self, **settings: object) -> None:
        self.clock = FakeClock()
        self.camera = ScriptedCamera()
        self.states: list[CameraState] = []
        self.mailboxes = Mailboxes(self.clock)
        self.hangs: list[Hang] = []
        # Time-outs far longer than any step of the clock: only tests of time-outs are to meet them.
        patient = {"open_timeout": 120.0, "read_timeout": 120.0}
        fields = {"source": SecretStr("synthetic:"), "backoff_initial": 1.0, **patient, **settings}
        self.worker = CameraWorker(
            "front",
            CameraSettings.model_validate(fields),
            self.mailboxes,
            self.clock,
            self.states.append,
            source_factory=self.camera,
            rng=random.Random(1),
        )

    def phases(self) -> list[Phase]:
        """The phases reported so far, without repetitions."""
        found: list[Phase] = []
        for state in self.states:
            if not found or found[-1] is not state.phase:
                found.append(state.phase)
        return found

    def hang(self) -> Hang:
        hang = Hang()
        self.hangs.append(hang)
        self.camera.script(hang)
        return hang

    def tick(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        self.worker.check(self.clock.monotonic())

    def reach(self, phase: Phase, *, tick: float = 0.0) -> None:
        """Tick until the camera is in `phase`."""

        def there() -> bool:
            self.tick(tick)
            return self.worker.state.phase is phase

        wait_for(there, what=f"camera {phase}")

    def show(self, picture: Picture, *, seconds: float, fps: float = 2.0) -> None:
        """Deliver the same picture for so long."""
        for _ in range(round(seconds * fps)):
            before = self.captured()
            self.camera.script(Captured(picture))
            wait_for(lambda: self.captured() > before, what="the frame is taken")  # noqa: B023 -- called at once
            self.tick(1.0 / fps)

    def skipped(self) -> dict[str, int]:
        return dict(self.mailboxes.snapshot().cameras["front"].skipped)

    def captured(self) -> int:
        counts = self.mailboxes.snapshot().cameras.get("front")
        return counts.captured if counts is not None else 0


@pytest.fixture
def make() -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def build(**settings: object) -> Rig:
        rigs.append(Rig(**settings))
        return rigs[-1]

    yield build
    for rig in rigs:
        for hang in rig.hangs:
            hang.let_go.set()
        rig.camera.end()
        rig.worker.stop(5.0)


def frame(**fields: object) -> Captured:
    return Captured(PICTURE, **fields)  # type: ignore[arg-type]


def test_a_camera_is_online_only_after_its_first_frame(make: Callable[..., Rig]) -> None:
    """An open connection without a picture is not a working camera."""
    rig = make()
    rig.worker.start()
    wait_for(lambda: rig.camera.opened == 1)
    assert rig.worker.state.phase is Phase.STARTING
    rig.camera.script(frame())
    rig.reach(Phase.ONLINE)
    assert rig.phases() == [Phase.STARTING, Phase.ONLINE]
    assert (rig.worker.state.width, rig.worker.state.height) == (32, 16)


def test_frames_are_numbered_and_offered(make: Callable[..., Rig]) -> None:
    """Each frame goes to the camera's model with its number, time and generation."""
    rig = make()
    rig.mailboxes.route("front", ["model"])
    rig.worker.start()
    rig.camera.script(frame(), frame(), frame())
    wait_for(lambda: rig.captured() == 3)
    (item,) = rig.mailboxes.take("model", 8, per_camera=8, max_age=60.0)
    assert (item.frame.camera, item.frame.number, item.frame.generation) == ("front", 3, 1)
    assert item.frame.captured == rig.clock.monotonic()
    rig.mailboxes.finish([item], Outcome.DONE)


def test_a_lost_camera_is_opened_again_after_its_delay(make: Callable[..., Rig]) -> None:
    """Loss is reported with its code and reason; the camera comes back by itself, not before its back-off is over."""
    rig = make()
    rig.worker.start()
    rig.camera.script(frame(), BROKEN)
    rig.reach(Phase.LOST)
    assert (rig.worker.state.code, rig.worker.state.reason) == ("lost", str(BROKEN))
    assert rig.camera.opened == 1
    rig.camera.script(frame())
    rig.reach(Phase.ONLINE, tick=0.1)
    assert rig.camera.opened == 2
    assert rig.camera.closed == 1
    assert rig.worker.state.code is None
    assert rig.phases() == [Phase.STARTING, Phase.ONLINE, Phase.LOST, Phase.ONLINE]


def test_repeated_failures_fill_neither_the_log_nor_mqtt(make: Callable[..., Rig]) -> None:
    """The first failure is a warning and a state; those after it are told at debug level only."""
    rig = make()
    with capture_logs() as logs:
        rig.camera.script(*[REFUSED] * 6)
        rig.worker.start()
        rig.reach(Phase.LOST)

        def six_failures() -> bool:
            rig.tick(1.0)
            return rig.worker.state.failures == 6

        wait_for(six_failures)
    lost = [line for line in logs if line.get("code") == "refused"]
    assert [line["log_level"] for line in lost] == ["warning"] + ["debug"] * 5
    assert len([state for state in rig.states if state.phase is Phase.LOST]) == 1


def test_the_end_of_a_file_ends_the_camera_until_it_is_enabled_again(make: Callable[..., Rig]) -> None:
    """A file that ended is neither lost nor read again, and costs nothing; switching it off and on plays it again."""
    rig = make()
    rig.worker.start()
    rig.camera.script(frame(), ENDED)
    rig.reach(Phase.ENDED)
    rig.tick(1000.0)
    assert rig.camera.opened == 1
    rig.worker.set_enabled(False)
    rig.reach(Phase.DISABLED)
    rig.worker.set_enabled(True)
    rig.camera.script(frame())
    rig.reach(Phase.ONLINE)
    assert rig.camera.opened == 2


def test_disabling_closes_the_source(make: Callable[..., Rig]) -> None:
    """A camera that is switched off is not connected to."""
    rig = make()
    rig.worker.start()
    rig.camera.script(frame())
    rig.reach(Phase.ONLINE)
    rig.worker.set_enabled(False)
    rig.camera.script(frame())
    rig.reach(Phase.DISABLED)
    assert rig.camera.closed == 1
    rig.tick(100.0)
    assert rig.camera.opened == 1


def test_a_camera_that_starts_disabled_is_not_opened(make: Callable[..., Rig]) -> None:
    """`enabled = false` means that nothing is connected to."""
    rig = make(enabled=False)
    rig.worker.start()
    rig.reach(Phase.DISABLED)
    assert rig.camera.opened == 0
    rig.worker.set_enabled(True)
    rig.camera.script(frame())
    rig.reach(Phase.ONLINE)
    assert rig.phases() == [Phase.DISABLED, Phase.STARTING, Phase.ONLINE]


def test_a_long_delay_does_not_hold_up_the_stop(make: Callable[..., Rig]) -> None:
    """Back-off ends at once when the camera is stopped."""
    rig = make(backoff_initial=60.0, backoff_max=600.0)
    rig.camera.script(REFUSED)
    rig.worker.start()
    rig.reach(Phase.LOST)
    assert rig.worker.stop(5.0)


def test_frames_passed_over_are_counted_by_reason(make: Callable[..., Rig]) -> None:
    """The books balance: what was skipped to keep up, what was corrupt, and what the pace did not want."""
    rig = make(max_fps=1.0)
    rig.mailboxes.route("front", ["model"])
    rig.worker.start()
    rig.camera.script(frame(), frame(skipped=30), frame(corrupt=2))
    wait_for(lambda: rig.captured() == 35)
    counts = rig.mailboxes.snapshot().cameras["front"]
    assert counts.balanced
    # After a pause the pacer lets two frames follow each other.
    assert (counts.offered, counts.skipped) == (1, {Skip.LAG: 30, Skip.CORRUPT: 2, Skip.PACED: 2})


def test_a_camera_behind_its_stream_says_so_until_it_keeps_up(make: Callable[..., Rig]) -> None:
    """Skipped frames make the camera `behind` for a while."""
    rig = make()
    rig.worker.start()
    rig.camera.script(frame(), frame(skipped=30))
    wait_for(lambda: rig.worker.state.behind)
    rig.clock.advance(11.0)
    rig.camera.script(frame())
    wait_for(lambda: not rig.worker.state.behind)
    assert [state.behind for state in rig.states if state.phase is Phase.ONLINE] == [False, True, False]


def test_a_picture_is_used_when_it_is_due(make: Callable[..., Rig]) -> None:
    """Stored video keeps its pace: a picture read early waits, and so does the next poll."""
    rig = make()
    rig.worker.start()
    due = rig.clock.monotonic() + 5.0
    rig.camera.script(frame(due=due))
    rig.tick(4.9)
    assert rig.captured() == 0
    rig.reach(Phase.ONLINE, tick=0.05)
    assert rig.captured() == 1
    assert rig.clock.monotonic() >= due


def test_a_thread_that_hangs_is_given_up_and_replaced(make: Callable[..., Rig]) -> None:
    """A call that outlasts its time-out makes the camera lost; two seconds later another thread takes over, and what
    the first one says when it returns counts no more."""
    rig = make(open_timeout=5.0, read_timeout=5.0)
    first = rig.hang()
    rig.worker.start()
    assert first.entered.wait(5.0)
    rig.tick(5.5)
    assert rig.worker.state.phase is Phase.LOST
    assert (rig.worker.state.code, rig.worker.state.generation) == ("timeout", 1)
    rig.tick(1.6)
    assert rig.worker.state.generation == 2
    rig.camera.script(frame())
    rig.reach(Phase.ONLINE, tick=0.1)
    first.let_go.set()
    wait_for(lambda: rig.camera.closed == 1, what="the abandoned thread closes its source")
    assert rig.worker.state.phase is Phase.ONLINE
    assert rig.captured() == 1


def test_a_camera_with_too_many_hanging_threads_is_stuck(make: Callable[..., Rig]) -> None:
    """Threads do not pile up: with two abandoned ones alive the camera is stuck, and it recovers when one returns."""
    rig = make(open_timeout=5.0, read_timeout=5.0)
    hangs = [rig.hang() for _ in range(MAX_ABANDONED + 1)]
    rig.worker.start()
    for number, hang in enumerate(hangs):

        def entered(hang: Hang = hang) -> bool:
            rig.tick(0.1)
            return hang.entered.is_set()

        wait_for(entered, what=f"thread {number} hangs")
        rig.tick(7.1)
    assert rig.worker.state.phase is Phase.STUCK
    assert rig.worker.state.generation == MAX_ABANDONED + 1
    rig.tick(100.0)
    assert rig.worker.state.generation == MAX_ABANDONED + 1
    rig.camera.script(frame())
    hangs[0].let_go.set()
    rig.reach(Phase.ONLINE, tick=0.1)
    assert rig.worker.state.generation == MAX_ABANDONED + 2


def test_stop_does_not_wait_for_a_hanging_camera(make: Callable[..., Rig]) -> None:
    """The daemon ends in time even when a camera's driver does not return, and says that a thread is left."""
    rig = make()
    hang = rig.hang()
    rig.worker.start()
    assert hang.entered.wait(5.0)
    assert not rig.worker.stop(0.05)


def test_a_thread_that_fails_by_our_own_fault_is_replaced(make: Callable[..., Rig]) -> None:
    """A bug in a source costs a traceback in the log, not the camera."""
    rig = make()
    with capture_logs() as logs:
        rig.camera.script(frame(), KeyError("a bug"))
        rig.worker.start()
        rig.reach(Phase.LOST)
    assert rig.worker.state.code == "internal"
    assert any(line["event"] == "worker failed" for line in logs)
    rig.camera.script(frame())
    rig.reach(Phase.ONLINE, tick=0.1)
    assert rig.worker.state.generation == 2


def test_the_delay_starts_over_after_a_healthy_while(make: Callable[..., Rig]) -> None:
    """A camera that delivered for long is tried again soon, however often it had failed before."""
    rig = make(backoff_initial=1.0, backoff_max=600.0)
    rig.camera.script(*[REFUSED] * 8)
    rig.worker.start()

    def eight_failures() -> bool:
        rig.tick(50.0)
        return rig.worker.state.failures == 8

    wait_for(eight_failures)
    rig.camera.script(frame())
    rig.reach(Phase.ONLINE, tick=50.0)
    rig.clock.advance(11.0)
    rig.camera.script(BROKEN, frame())
    wait_for(lambda: rig.worker.state.phase is Phase.LOST)
    opened = rig.camera.opened
    rig.tick(1.0)
    wait_for(lambda: rig.camera.opened == opened + 1)


def other() -> Picture:
    return Picture(PixelFormat.GRAY, 32, 16, (np.full((16, 32), 99, np.uint8),))


def test_a_picture_that_hangs_is_not_used_and_the_camera_opened_once(make: Callable[..., Rig]) -> None:
    """After `frozen_after` seconds of the same picture the camera is frozen: its frames are counted and not offered, it
    is opened anew once, and it is online again by itself with the first picture that differs."""
    rig = make(frozen_after=5.0)
    rig.mailboxes.route("front", ["model"])
    rig.worker.start()
    rig.show(PICTURE, seconds=5.0)
    assert rig.worker.state.phase is Phase.ONLINE
    rig.show(PICTURE, seconds=30.0)
    state = rig.worker.state
    assert (state.phase, state.code, state.failures) == (Phase.FROZEN, "frozen", 0)
    assert state.fix
    assert (rig.camera.opened, rig.camera.closed) == (2, 1)
    assert rig.skipped() == {Skip.FROZEN: 60}
    rig.show(other(), seconds=1.0)
    assert rig.worker.state.phase is Phase.ONLINE
    assert rig.skipped() == {Skip.FROZEN: 60}
    assert rig.phases() == [Phase.STARTING, Phase.ONLINE, Phase.FROZEN, Phase.ONLINE]
    rig.show(other(), seconds=9.0)
    assert rig.camera.opened == 3


def test_a_picture_may_stand_still_unless_it_is_forbidden(make: Callable[..., Rig]) -> None:
    """By default a camera that shows the same for an hour is online."""
    rig = make()
    rig.worker.start()
    rig.show(PICTURE, seconds=3600.0, fps=0.01)
    assert rig.phases() == [Phase.STARTING, Phase.ONLINE]


def test_a_frozen_camera_that_cannot_be_opened_anew_is_lost(make: Callable[..., Rig]) -> None:
    """What is wrong last is told: lost while it cannot be had, frozen again when it is back with the same picture."""
    rig = make(frozen_after=5.0)
    rig.worker.start()
    rig.show(PICTURE, seconds=5.0)
    rig.camera.script(frame(), REFUSED)
    rig.reach(Phase.LOST)
    rig.camera.script(frame())
    rig.reach(Phase.FROZEN, tick=0.1)
    assert rig.camera.opened == 3


def test_a_sleeping_camera_is_away_without_a_fault(make: Callable[..., Rig]) -> None:
    """A camera that sleeps is `asleep`, not lost; nothing of it is a warning, and it is tried at the set distance."""
    rig = make(sleeps=True, backoff_max=20.0)
    with capture_logs() as logs:
        rig.camera.script(frame(), BROKEN, REFUSED, SourceUnavailable("x", code="dns"))
        rig.worker.start()
        rig.reach(Phase.ASLEEP)
        for attempt in (2, 3):
            rig.tick(19.9)
            assert rig.camera.opened == attempt - 1
            rig.tick(0.1)
            wait_for(lambda: rig.worker.state.failures == attempt)  # noqa: B023 -- called at once
        rig.camera.script(frame())
        rig.reach(Phase.ONLINE, tick=1.0)
    assert rig.phases() == [Phase.STARTING, Phase.ONLINE, Phase.ASLEEP, Phase.ONLINE]
    assert not [line for line in logs if line["log_level"] not in ("info", "debug")]


def test_a_sleeping_camera_that_refuses_is_a_fault(make: Callable[..., Rig]) -> None:
    """A wrong password is told by a camera that is awake; it is lost like any other."""
    rig = make(sleeps=True)
    rig.camera.script(WRONG)
    rig.worker.start()
    rig.reach(Phase.LOST)
    assert rig.worker.state.code == "unauthorised"


def test_a_wrong_password_is_tried_rarely(make: Callable[..., Rig]) -> None:
    """Cameras lock accounts: after a refusal the longest delay is waited for, each time."""
    rig = make(backoff_initial=0.1, backoff_max=30.0)
    rig.camera.script(*[WRONG] * 4)
    rig.worker.start()
    for failures in range(1, 5):
        wait_for(lambda: rig.worker.state.failures == failures)  # noqa: B023 -- called at once
        rig.tick(29.9)
        assert rig.camera.opened == failures
        rig.tick(0.1)


def test_broken_frames_are_counted_when_nothing_else_comes(make: Callable[..., Rig]) -> None:
    """What cannot be decoded is in the books before and without a picture, and does not make the camera online."""
    rig = make()
    rig.worker.start()
    rig.camera.script(Captured(None, corrupt=25), Captured(None, corrupt=25, skipped=3), BROKEN)
    rig.reach(Phase.LOST)
    assert rig.captured() == 53
    assert rig.skipped() == {Skip.CORRUPT: 50, Skip.LAG: 3}
    assert rig.phases() == [Phase.STARTING, Phase.LOST]


def test_a_camera_that_is_mostly_broken_says_so_until_it_is_well(make: Callable[..., Rig]) -> None:
    """When most frames of some seconds cannot be decoded the camera is `corrupt`, and online all the while."""
    rig = make()
    rig.worker.start()
    for corrupt in [3] * 5 + [0] * 20:
        before = rig.captured()
        rig.camera.script(frame(corrupt=corrupt))
        wait_for(lambda: rig.captured() == before + 1 + corrupt)  # noqa: B023 -- called at once
        rig.tick(1.0)
    assert [state.corrupt for state in rig.states if state.phase is Phase.ONLINE] == [False, True, False]
    assert rig.phases() == [Phase.STARTING, Phase.ONLINE]


def test_a_close_that_hangs_is_given_up_like_any_other_call(make: Callable[..., Rig]) -> None:
    """A driver that does not return from closing costs a thread for a while, not the camera."""
    rig = make(read_timeout=5.0)
    hang = rig.camera.slow_close = Hang()
    rig.hangs.append(hang)
    rig.worker.start()
    rig.camera.script(frame(), BROKEN)
    assert hang.entered.wait(5.0)
    rig.camera.slow_close = None
    rig.tick(7.1)
    assert rig.worker.state.phase is Phase.LOST
    rig.camera.script(frame())
    rig.reach(Phase.ONLINE, tick=0.1)
    assert rig.worker.state.generation == 2


def test_the_wall_clock_decides_nothing(make: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set by years, either way, neither freezes nor loses a camera nor delays its next attempt."""
    rig = make(frozen_after=5.0, backoff_max=20.0)
    rig.worker.start()
    for jump in (-1e9, 1e9):
        monkeypatch.setattr(rig.clock, "wall", lambda: rig.clock.monotonic() + jump)  # noqa: B023 -- of this turn
        rig.show(PICTURE, seconds=1.0)
        rig.show(other(), seconds=1.0)
    rig.camera.script(BROKEN)
    rig.reach(Phase.LOST)
    rig.camera.script(frame())
    rig.reach(Phase.ONLINE, tick=0.1)
    assert rig.phases() == [Phase.STARTING, Phase.ONLINE, Phase.LOST, Phase.ONLINE]


def test_later_states_have_higher_serials(make: Callable[..., Rig]) -> None:
    """Two threads report; whoever hears them can tell the later state, also over a worker and its successor."""
    told: list[CameraState] = []
    for _ in range(2):
        rig = make()
        rig.worker.start()
        rig.camera.script(frame(), BROKEN)
        rig.reach(Phase.LOST)
        told += rig.states
    serials = [state.serial for state in told]
    assert serials == sorted(set(serials))


def test_next_picture_is_handed_over_once(make: Callable[..., Rig]) -> None:
    """Who asks gets the next picture, also one that is too many for the model, and then no more."""
    rig = make(max_fps=0.001)
    rig.worker.start()
    rig.camera.script(frame())
    rig.reach(Phase.ONLINE)
    taken: list[Frame] = []
    rig.worker.next_picture(taken.append)
    rig.camera.script(frame(), frame())
    wait_for(lambda: rig.captured() == 3, what="all came")
    assert [shown.picture for shown in taken] == [PICTURE]


def test_camera_that_is_switched_off_hands_nothing_over(make: Callable[..., Rig]) -> None:
    """What was read before the switch was turned is not given to who waited for a picture."""
    rig = make()
    rig.worker.start()
    rig.camera.script(frame())
    rig.reach(Phase.ONLINE)
    taken: list[Frame] = []
    rig.worker.next_picture(taken.append)
    rig.worker.set_enabled(False)
    rig.camera.script(frame())
    rig.reach(Phase.DISABLED)
    assert taken == []

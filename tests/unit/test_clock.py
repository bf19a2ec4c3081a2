"""The wall clock: whether it is set, and what is told of moments when it is set later."""

from __future__ import annotations

from pathlib import Path

import pytest

from hailod.clock import STEP_S, FakeClock, SystemClock, Timeline
from hailod.timesync import RELEASED, TimeSync, kernel_says


def test_moments_keep_their_time_until_the_clock_is_set() -> None:
    """A moment has the same wall time however the clocks drift, and the right one after the wall clock was set."""
    clock = FakeClock(monotonic=50.0, wall=0.0)
    timeline = Timeline(clock)
    for _ in range(5):
        clock.advance(100.0)
        clock.set_wall(clock.wall() + STEP_S / 10)
        assert timeline.wall(50.0) == 0.0
    clock.set_wall(1_800_000_000.0)
    assert timeline.wall(50.0) == 1_800_000_000.0 - 500.0
    assert timeline.wall(60.0) == 1_800_000_000.0 - 490.0


@pytest.mark.parametrize("step", [3600.0, -3600.0, 1_795_000_000.0, 1.5])
def test_each_setting_is_seen_once(step: float) -> None:
    """Looking tells by how much the clock was set since the last look."""
    clock = FakeClock()
    timeline = Timeline(clock)
    clock.advance(1.0)
    assert timeline.look() == 0.0
    clock.set_wall(clock.wall() + step)
    assert timeline.look() == pytest.approx(step)
    assert timeline.look() == 0.0


def test_small_steps_add_up() -> None:
    """A clock that is set by half a second again and again is followed as soon as that makes a difference."""
    clock = FakeClock()
    timeline = Timeline(clock)
    seen = []
    for _ in range(6):
        clock.set_wall(clock.wall() + 0.5)
        seen.append(timeline.look())
    assert seen == pytest.approx([0.0, 0.0, 1.5, 0.0, 0.0, 1.5])


class Interrupted(FakeClock):
    """Its reader is stopped for a minute between two readings."""

    def wall(self) -> float:
        self.advance(60.0)
        return super().wall()


def test_a_process_that_was_stopped_sees_no_step() -> None:
    """Readings between which the process was stopped say nothing about the clocks."""
    clock = Interrupted()
    timeline = Timeline(clock)
    clock.advance(5.0)
    assert timeline.look() == 0.0


def test_real_clocks_agree() -> None:
    """With the machine's clocks the present moment has the present time."""
    clock = SystemClock()
    assert Timeline(clock).wall(clock.monotonic()) == pytest.approx(clock.wall(), abs=1.0)


class Kernel:
    """Answers as adjtimex would, and counts how often it is asked."""

    def __init__(self, answer: bool | None) -> None:
        self.answer = answer
        self.asked = 0

    def __call__(self) -> bool | None:
        self.asked += 1
        return self.answer


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    return tmp_path / "synchronized"


def test_clock_counts_as_set_once_the_kernel_says_so_and_then_for_good(flag: Path) -> None:
    """It is asked once a second at most; what is set once stays so, as a clock without a server is not far out."""
    clock, kernel = FakeClock(), Kernel(False)
    sync = TimeSync(clock, kernel=kernel, flag=flag)
    for _ in range(30):
        assert not sync.synced()
        clock.advance(0.1)
    assert kernel.asked == 3
    kernel.answer = True
    clock.advance(1.0)
    assert sync.synced()
    kernel.answer = False
    clock.advance(100_000.0)
    assert sync.synced()
    assert kernel.asked == 4


def test_word_of_timesyncd_is_enough(flag: Path) -> None:
    """The file that systemd-timesyncd makes is believed, whatever the kernel says."""
    clock = FakeClock()
    sync = TimeSync(clock, kernel=Kernel(False), flag=flag)
    assert not sync.synced()
    flag.touch()
    clock.advance(1.0)
    assert sync.synced()


@pytest.mark.parametrize(("wall", "synced"), [(100.0, False), (RELEASED - 1.0, False), (RELEASED + 1.0, True)])
def test_where_nobody_may_be_asked_the_date_decides(flag: Path, wall: float, synced: bool) -> None:
    """Where the system call is refused a clock is taken for set, unless it shows a time before this program was."""
    assert TimeSync(FakeClock(wall=wall), kernel=Kernel(None), flag=flag).synced() is synced


def test_the_kernel_can_be_asked_by_anybody() -> None:
    """Asking changes nothing and needs no privilege; where it is refused that is no error."""
    assert kernel_says() in (True, False, None)
    assert kernel_says() == kernel_says()


def test_a_flag_that_cannot_be_seen_is_no_flag() -> None:
    """A path that cannot exist is not an error either."""
    assert not TimeSync(FakeClock(), kernel=Kernel(False), flag=Path("/dev/null/synchronized")).synced()

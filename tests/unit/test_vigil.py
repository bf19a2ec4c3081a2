"""Threads that are dead or hang for good end the daemon; those that are only held up do not."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from hailod.clock import FakeClock
from hailod.control.vigil import OWN_GAP_S, SILENCE_S, Vigil
from hailod.worker import Worker

BOUND = 5.0


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.vigil = Vigil(self.clock)
        self.release = threading.Event()
        self.worker = Worker("results", self.hang_here, self.clock, bound=BOUND)
        self.worker.start()

    def hang_here(self, _: Worker) -> None:
        self.release.wait()

    def pass_time(self, seconds: float) -> str | None:
        """Look ten times a second meanwhile, as the control loop does."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            if reason := self.vigil.look([self.worker]):
                return reason
        return None


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.release.set()
    assert made.worker.join(10.0)


def test_thread_that_hangs_is_named_with_its_stack(rig: Rig) -> None:
    """A worker that is silent for its bound and 15 s more is a reason to end; the log names it and where it hangs."""
    assert rig.pass_time(BOUND + SILENCE_S - 0.2) is None
    with capture_logs() as lines:
        reason = rig.pass_time(0.5)
    assert reason == "worker results was silent for 20 s"
    (line,) = lines
    assert (line["log_level"], line["worker"]) == ("error", "results")
    assert "hang_here" in line["exception"]


def test_sign_of_life_begins_the_count_anew(rig: Rig) -> None:
    """A worker that beats now and then is only late."""
    for _ in range(3):
        assert rig.pass_time(BOUND + SILENCE_S - 1.0) is None
        rig.worker.beat()


def test_who_slept_itself_accuses_nobody(rig: Rig) -> None:
    """After a suspend, or a SIGSTOP, every worker has its full time again."""
    rig.clock.advance(3600.0)
    assert rig.vigil.look([rig.worker]) is None
    assert rig.pass_time(BOUND + SILENCE_S - 0.2) is None
    with capture_logs() as lines:
        assert rig.pass_time(0.5) is not None
    assert [line["event"] for line in lines] == ["worker hangs"]
    assert OWN_GAP_S < BOUND


@pytest.mark.parametrize("how", ["failed", "ended"])
def test_thread_that_is_gone_ends_the_daemon(rig: Rig, how: str) -> None:
    """A worker that raised, and one that returned when nobody had asked it to, are both missed at once."""

    def go(_: Worker) -> None:
        if how == "failed":
            raise RuntimeError("bug")

    gone = Worker("mqtt", go, rig.clock)
    gone.start()
    assert gone.join(10.0)
    assert rig.vigil.look([rig.worker, gone]) == f"worker mqtt {how}"

"""The end of the daemon: every part is ended, in order, whatever becomes of the others."""

from __future__ import annotations

import signal
import sys

import pytest

from hailod.app import SWITCH_INTERVAL_S, Daemon, exit_code
from hailod.clock import SystemClock
from hailod.control.inbox import Inbox
from hailod.mailbox import Mailboxes


class Part:
    """Any part of the daemon: notes what it is told, and fails where the test wants it to."""

    def __init__(self, name: str, calls: list[str], faults: set[str]) -> None:
        self._name = name
        self._calls = calls
        self._faults = faults
        self.mailboxes = Mailboxes(SystemClock())

    def _note(self, what: str) -> None:
        self._calls.append(f"{self._name} {what}")
        if f"{self._name} {what}" in self._faults:
            raise RuntimeError(f"{self._name} {what} fails")

    def start(self) -> None:
        self._note("start")

    def serve(self, _: float | None) -> str:
        self._note("serve")
        return "received SIGTERM"

    def stop(self, deadline: float = 0.0) -> bool | list[str]:
        self._note("stop")
        return [] if self._name == "cameras" else True

    def end_within(self, seconds: float) -> None:
        self._note("end_within")


STARTS = ["chores start", "control start", "mqtt start", "control serve"]
ENDS = [
    "switch end_within",
    "cameras stop",
    "engine stop",
    "chores stop",
    "saver stop",
    "recorder stop",
    "mqtt stop",
]


def run(*faults: str) -> tuple[str | None, list[str]]:
    """Why a daemon with these faults ended, None by an exception, and what its parts were told."""
    calls: list[str] = []
    names = ("control", "engine", "cameras", "mqtt", "saver", "recorder", "chores", "switch")
    parts = {name: Part(name, calls, set(faults)) for name in names}
    daemon = Daemon(inbox=Inbox(), clock=SystemClock(), **parts)  # type: ignore[arg-type]
    try:
        return daemon.run({}), calls
    except RuntimeError:
        return None, calls


def test_frames_wait_for_no_long_turn_of_another_thread() -> None:
    """While the daemon runs a thread with much to do gives way within a millisecond, so that a flood of commands does
    not hold up the frames."""
    before = sys.getswitchinterval()
    try:
        run()
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)
        assert SWITCH_INTERVAL_S <= 0.001
    finally:
        sys.setswitchinterval(before)


def test_parts_end_in_the_order_of_the_flow() -> None:
    """Cameras end first and the farewell is said last; before all of that the time is set in which it must be over."""
    assert run() == ("received SIGTERM", STARTS + ENDS)


@pytest.mark.parametrize("fault", [*STARTS, "cameras stop", "saver stop", "recorder stop", "chores stop", "mqtt stop"])
def test_every_part_is_ended_whatever_fails(fault: str) -> None:
    """An exception of the control thread, in a start or in the end of another part keeps no part from being ended."""
    reason, calls = run(fault)
    assert reason is None
    assert calls[-len(ENDS) :] == ENDS


def test_engine_that_fails_to_end_is_logged_and_passed_by() -> None:
    """The engine ends on a thread of its own: what it raises is in the log, and the farewell is said."""
    assert run("engine stop") == ("received SIGTERM", STARTS + ENDS)


def test_quitting_sets_the_time_and_tells_the_control_thread() -> None:
    """A signal before `run` is not lost, and another one is no other end."""
    calls: list[str] = []
    inbox = Inbox()
    parts = {
        name: Part(name, calls, set())
        for name in ("control", "engine", "cameras", "mqtt", "saver", "recorder", "chores", "switch")
    }
    daemon = Daemon(inbox=inbox, clock=SystemClock(), **parts)  # type: ignore[arg-type]
    daemon.quit(f"received {signal.SIGTERM.name}")
    assert calls == ["switch end_within"]
    assert inbox.get(0.0) is not None


def test_code_makes_systemd_start_a_daemon_that_failed() -> None:
    """0 after a signal; 1 when a part failed, and never 78, after which nobody starts it again."""
    assert exit_code("received SIGINT") == 0
    assert exit_code("worker results was silent for 20 s") == 1

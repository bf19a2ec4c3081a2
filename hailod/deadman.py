"""A dead man's switch for the whole process: unless it is held again in time, the process ends.

It must work when nothing else does, so it is no Python thread: first faulthandler's own thread, which needs no GIL,
writes every thread's stack to standard error and ends the process with code 1; should that write block too, as on a
terminal that was stopped or a journal that hangs, the kernel's alarm ends the process a moment later. Device hosts do
not outlive it: their parent-death signal kills them.

A process that was stopped for longer than the switch waits (SIGSTOP, a frozen container) ends when it goes on, as one
under systemd's watchdog would.
"""

from __future__ import annotations

import faulthandler
import signal

from hailod.clock import Clock

# How much later the kernel's alarm goes off.
ALARM_AFTER_S = 0.2
# Each arming costs a native thread.
_REARM_S = 1.0
_STANDARD_ERROR = 2


class DeadMansSwitch:
    """Held by the control thread: `hold` every so often, or the process ends `bound` seconds after the last time.

    For the main thread and its signal handlers.
    """

    def __init__(self, bound: float, clock: Clock) -> None:
        self._bound = bound
        self._clock = clock
        self._next = 0.0
        self._deadline: float | None = None

    def hold(self) -> None:
        """Everything is well; once the end has begun it changes nothing."""
        now = self._clock.monotonic()
        if self._deadline is None and now >= self._next:
            self._next = now + _REARM_S
            _arm(self._bound)
            # A signal may have come in between, and have begun the end.
            self._arm_for_the_end()

    def end_within(self, seconds: float) -> None:
        """The process is to be over in so many seconds, whatever happens. The first call decides when."""
        if self._deadline is None:
            self._deadline = self._clock.monotonic() + seconds
        self._arm_for_the_end()

    def release(self) -> None:
        """Nobody watches any more."""
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _arm_for_the_end(self) -> None:
        if self._deadline is not None:
            _arm(max(self._deadline - self._clock.monotonic(), 0.001))


def _arm(seconds: float) -> None:
    # The action by default is to end the process, and not by Python's leave.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds + ALARM_AFTER_S)
    faulthandler.dump_traceback_later(seconds, exit=True, file=_STANDARD_ERROR)

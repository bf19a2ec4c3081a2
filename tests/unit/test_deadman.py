"""The dead man's switch, in processes of their own: it works when nothing else does."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys

import pytest

from hailod.clock import FakeClock
from hailod.deadman import DeadMansSwitch

BEGIN = """
import ctypes, os, signal, sys, time
from hailod.clock import SystemClock
from hailod.deadman import DeadMansSwitch
def with_the_gil(): ctypes.PyDLL(None).usleep(60_000_000)
"""


def ended(program: str, *, stderr: int = subprocess.PIPE) -> tuple[int, str]:
    """The exit code and standard error of a process that runs this program."""
    done = subprocess.run([sys.executable, "-c", BEGIN + program], stderr=stderr, text=True, timeout=30, check=False)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("hang", ["time.sleep(60)", "with_the_gil()"])
def test_process_that_hangs_is_ended_with_its_stacks(hang: str) -> None:
    """Asleep or inside a library that keeps the interpreter to itself: the process says where and ends with code 1."""
    code, said = ended(f"DeadMansSwitch(0.1, SystemClock()).hold()\ndef hang_here(): {hang}\nhang_here()")
    assert code == 1
    assert "hang_here" in said


def test_who_cannot_even_say_so_is_ended_by_the_kernel() -> None:
    """Standard error that nobody reads does not keep the process."""
    reader, writer = os.pipe()
    os.write(writer, b"x" * fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ))
    code, _ = ended("DeadMansSwitch(0.1, SystemClock()).hold()\nsys.stderr.write('x')", stderr=writer)
    os.close(reader)
    os.close(writer)
    assert code == -signal.SIGALRM


def test_who_holds_it_goes_on() -> None:
    """A process that holds the switch lives, and one that released it too."""
    program = """
switch = DeadMansSwitch(1.5, SystemClock())
until = time.monotonic() + 2.5
while time.monotonic() < until:
    switch.hold()
    time.sleep(0.05)
switch.release()
time.sleep(2.0)
sys.exit(7)
"""
    assert ended(program) == (7, "")


@pytest.mark.parametrize("how", ["switch.hold()", "switch.end_within(60)"])
def test_end_that_has_begun_comes(how: str) -> None:
    """Once the end has begun neither holding the switch nor beginning the end again puts it off."""
    program = f"""
switch = DeadMansSwitch(60, SystemClock())
switch.hold()
switch.end_within(0.3)
while True:
    {how}
    time.sleep(0.01)
"""
    assert ended(program)[0] == 1


def test_signal_in_the_middle_of_holding_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that begins while the switch is being held is not overwritten by it."""
    armed: list[float] = []
    clock = FakeClock()
    switch = DeadMansSwitch(30.0, clock)

    def arm(seconds: float) -> None:
        armed.append(seconds)
        if len(armed) == 1:
            switch.end_within(4.0)

    monkeypatch.setattr("hailod.deadman._arm", arm)
    switch.hold()
    assert armed[-1] == 4.0
    clock.advance(1.0)
    switch.end_within(4.0)
    assert armed[-1] == 3.0

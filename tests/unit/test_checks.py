"""The runner of checks: in order, side by side, and never held up."""

from __future__ import annotations

import threading

import pytest

from hailod.checks import Check, Result, Status, run_checks
from hailod.clock import SystemClock
from hailod.errors import SourceLost


def ok(subject: str) -> Result:
    return Result(Status.OK, subject, "fine")


def test_told_in_order() -> None:
    """A later check that ends first is told in its turn."""
    second_done = threading.Event()

    def first() -> Result:
        assert second_done.wait(10)
        return ok("first")

    def second() -> Result:
        second_done.set()
        return ok("second")

    results = list(run_checks([Check("first", first), Check("second", second)], SystemClock()))
    assert [result.subject for result in results] == ["first", "second"]


def test_one_that_hangs_fails_alone() -> None:
    """A check that never answers is given up after its time; the others are told."""
    for_ever = threading.Event()

    def hang() -> Result:
        for_ever.wait(30)
        return ok("late")

    checks = [Check("hangs", hang, timeout=0.05), *(Check(f"c{n}", lambda: ok("c")) for n in range(3))]
    try:
        results = list(run_checks(checks, SystemClock(), parallel=1))
    finally:
        for_ever.set()
    assert [result.status for result in results] == [Status.FAIL, Status.OK, Status.OK, Status.OK]
    assert results[0].text == "no answer within 0.05 s"


def test_errors_are_answers() -> None:
    """An error of ours is told as it is; of a foreign one only the type, for its text may hold a password."""

    def ours() -> Result:
        raise SourceLost("no picture for 5 s")

    def foreign() -> Result:
        raise OSError("rtsp://u:geheim@h")

    results = list(run_checks([Check("a", ours), Check("b", foreign)], SystemClock()))
    assert [result.text for result in results] == ["no picture for 5 s", "the check itself failed with OSError"]
    assert {result.status for result in results} == {Status.FAIL}


@pytest.mark.parametrize("count", [0, 1, 30])
def test_never_more_than_allowed_at_once(count: int) -> None:
    """Thirty cameras are not opened at the same moment."""
    lock, running, most = threading.Lock(), 0, 0

    def run() -> Result:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1
        return ok("x")

    assert len(list(run_checks([Check("x", run)] * count, SystemClock(), parallel=4))) == count
    assert most <= 4

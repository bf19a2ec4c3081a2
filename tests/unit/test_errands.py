"""What takes time is done elsewhere, and its end is always told."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from hailod.clock import SystemClock
from hailod.control.errands import MAX_ERRANDS, ErrandDone, Errands
from hailod.errors import CommandError, ModelError


@pytest.fixture
def done() -> queue.SimpleQueue[ErrandDone]:
    return queue.SimpleQueue()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


def test_outcome_comes_back_with_its_ticket(done: queue.SimpleQueue[ErrandDone]) -> None:
    """A result, an error of ours and one of the system each arrive as what they are."""
    errands = Errands(SystemClock(), done.put)
    error = ModelError("damaged")

    def fails() -> object:
        raise error

    def no_disk() -> object:
        raise PermissionError(13, "Permission denied", "/secret/place")

    assert errands.run(lambda: 42) == 1
    assert done.get(timeout=10) == ErrandDone(1, 42)
    assert errands.run(fails) == 2
    assert done.get(timeout=10) == ErrandDone(2, error=error)
    errands.run(no_disk)
    assert str(done.get(timeout=10).error) == "Permission denied"


def test_unexpected_failure_is_told_too(done: queue.SimpleQueue[ErrandDone]) -> None:
    """Whoever waits is told that it failed, whatever it was."""

    def bug() -> object:
        raise KeyError("x")

    Errands(SystemClock(), done.put).run(bug)
    error = done.get(timeout=10).error
    assert isinstance(error, CommandError)
    assert error.code == "internal"


def test_errands_are_few(done: queue.SimpleQueue[ErrandDone], gate: threading.Event) -> None:
    """Those that nobody waits for any more do not pile up: more than a few are refused until one has ended."""
    errands = Errands(SystemClock(), done.put)
    for _ in range(MAX_ERRANDS):
        errands.run(gate.wait)
    with pytest.raises(CommandError) as caught:
        errands.run(gate.wait)
    assert (caught.value.code, caught.value.retryable) == ("busy", True)
    gate.set()
    for _ in range(MAX_ERRANDS):
        done.get(timeout=10)

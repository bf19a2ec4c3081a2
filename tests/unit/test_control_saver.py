"""The thread that writes to disk: the newest wins, nobody waits for it, and what fails is told and tried again."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from hailod.clock import FakeClock
from hailod.config.store import Edit, Overrides, StoreError
from hailod.control.saver import PATIENCE_S, RETRY_S, Saver, SaverEvent, StateSaved, StateUnsaved
from tests.support.store import FakeStore
from tests.support.waiting import wait_for

FULL = StoreError("cannot be written: No space left on device", "make room")
A = Edit({"cameras.front.threshold": 0.6})
B = Edit({"cameras.front.max_fps": 5.0})


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = FakeStore()
        self.events: queue.SimpleQueue[SaverEvent] = queue.SimpleQueue()
        self.saver = Saver(self.store, Overrides(4, {"model": "one"}), self.clock, self.events.put)

    def start(self) -> None:
        self.saver.start()
        assert self.next() == StateSaved(0)

    def next(self) -> SaverEvent:
        return self.events.get(timeout=10.0)

    def tick(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.saver.tick(self.clock.monotonic())

    def hang(self) -> None:
        """From here on the disk does not answer, until the gate is set."""
        while self.store.entered.acquire(blocking=False):
            pass
        self.store.gate.clear()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.store.gate.set()
    made.store.trouble = None
    if made.saver.worker.alive:
        assert made.saver.stop(10.0)


def test_change_is_told_when_it_is_on_the_disk(rig: Rig) -> None:
    """What is set is written over what was kept, and told with its ticket; the same again needs no write."""
    rig.start()
    assert rig.saver.keep(A, 5) == 1
    assert rig.next() == StateSaved(1)
    assert rig.store.written == [Overrides(5, {"model": "one", **A.values})]
    assert rig.saver.keep(A, 5) is None
    assert rig.saver.stop(10.0)
    assert len(rig.store.written) == 1


def test_newest_wins(rig: Rig) -> None:
    """Changes that come while the disk is busy are written together, as the newest of them, and all are told."""
    rig.start()
    rig.hang()
    rig.saver.keep(A, 5)
    assert rig.store.entered.acquire(timeout=10.0)
    assert [rig.saver.keep(Edit({**B.values, "cameras.front.threshold": 0.1 * n}), 5 + n) for n in (1, 2, 3)] == [
        2,
        3,
        4,
    ]
    rig.store.gate.set()
    assert [rig.next(), rig.next()] == [StateSaved(1), StateSaved(4)]
    assert [written.revision for written in rig.store.written] == [5, 8]
    assert rig.store.written[-1].values == {"model": "one", **B.values, "cameras.front.threshold": pytest.approx(0.3)}


def test_failed_write_is_tried_again_by_the_minute(rig: Rig) -> None:
    """What cannot be written is told with the remedy, tried again a minute later, and told when it is well."""
    rig.start()
    rig.store.trouble = FULL
    rig.saver.keep(A, 5)
    assert rig.next() == StateUnsaved(1, str(FULL), FULL.fix)
    rig.tick(RETRY_S + 1.0)
    assert rig.next() == StateUnsaved(1, str(FULL), FULL.fix)
    rig.store.trouble = None
    rig.tick(RETRY_S - 1.0)
    assert rig.store.written == []
    rig.tick(2.0)
    assert rig.next() == StateSaved(1)
    assert rig.store.written == [Overrides(5, {"model": "one", **A.values})]


def test_failed_write_is_tried_again_with_the_next_change(rig: Rig) -> None:
    """A change does not wait for the minute, and takes along what could not be written before it."""
    rig.start()
    rig.store.trouble = FULL
    rig.saver.keep(A, 5)
    assert isinstance(rig.next(), StateUnsaved)
    rig.store.trouble = None
    assert rig.saver.keep(B, 6) == 2
    assert rig.next() == StateSaved(2)
    assert rig.store.written == [Overrides(6, {"model": "one", **A.values, **B.values})]


def test_setting_what_is_not_on_the_disk_yet_is_no_success(rig: Rig) -> None:
    """The same value set again is written again, as long as it is not on the disk."""
    rig.start()
    rig.store.trouble = FULL
    rig.saver.keep(A, 5)
    assert isinstance(rig.next(), StateUnsaved)
    assert rig.saver.keep(A, 5) == 2


def test_disk_that_does_not_answer_is_told(rig: Rig) -> None:
    """A write that hangs is told once for every change that waits for it, and success is told when it comes."""
    rig.start()
    rig.hang()
    rig.saver.keep(A, 5)
    assert rig.store.entered.acquire(timeout=10.0)
    rig.tick(PATIENCE_S - 0.1)
    assert rig.events.empty()
    rig.tick(0.2)
    told = rig.next()
    assert isinstance(told, StateUnsaved)
    assert (told.ticket, "has not answered" in told.text) == (1, True)
    rig.tick(1.0)
    assert rig.events.empty()
    rig.saver.keep(B, 6)
    rig.tick(0.1)
    told = rig.next()
    assert (isinstance(told, StateUnsaved), told.ticket) == (True, 2)
    assert not rig.saver.worker.late
    rig.store.gate.set()
    assert [rig.next(), rig.next()] == [StateSaved(1), StateSaved(2)]


def test_folder_that_cannot_be_had_is_told_at_the_start(rig: Rig) -> None:
    """That nothing could be kept is told before anybody sets anything, and over as soon as the folder is there."""
    rig.store.trouble = FULL
    rig.saver.start()
    assert rig.next() == StateUnsaved(0, str(FULL), FULL.fix)
    rig.store.trouble = None
    rig.tick(RETRY_S + 1.0)
    assert rig.next() == StateSaved(0)
    assert rig.store.written == []


def test_file_that_cannot_be_used_is_put_aside_once(rig: Rig) -> None:
    """The broken file makes room before the first write, and no good one ever does."""
    rig.saver = Saver(rig.store, Overrides(), rig.clock, rig.events.put, put_aside=True)
    rig.start()
    rig.store.trouble = FULL
    rig.saver.keep(A, 2)
    assert isinstance(rig.next(), StateUnsaved)
    rig.store.trouble = None
    rig.saver.keep(A, 2)
    assert rig.next() == StateSaved(2)
    assert rig.store.prepared == [True, False]


def test_end_is_a_last_attempt(rig: Rig) -> None:
    """What could not be written, and the number of settings that were not to be kept, are written at the end."""
    rig.start()
    rig.store.trouble = FULL
    rig.saver.keep(A, 5)
    assert isinstance(rig.next(), StateUnsaved)
    rig.store.trouble = None
    rig.saver.note(9)
    assert rig.saver.stop(10.0)
    assert rig.store.written == [Overrides(9, {"model": "one", **A.values})]


def test_end_tells_what_is_lost(rig: Rig) -> None:
    """Where the last attempt fails, or the disk hangs, the end comes all the same and says that something is lost."""
    rig.start()
    rig.store.trouble = FULL
    rig.saver.keep(A, 5)
    assert isinstance(rig.next(), StateUnsaved)
    assert not rig.saver.stop(10.0)
    assert not rig.saver.worker.alive

    other = Rig()
    other.start()
    other.hang()
    other.saver.keep(A, 5)
    assert other.store.entered.acquire(timeout=10.0)
    assert not other.saver.stop(0.01)
    other.store.gate.set()
    wait_for(lambda: not other.saver.worker.alive)


def test_nobody_waits_for_the_disk(rig: Rig) -> None:
    """While the disk hangs, every call of the control thread returns."""
    rig.start()
    rig.hang()
    rig.saver.keep(A, 5)
    assert rig.store.entered.acquire(timeout=10.0)
    done = threading.Event()

    def call_all() -> None:
        rig.saver.keep(B, 6)
        rig.saver.note(7)
        rig.tick(1.0)
        done.set()

    caller = threading.Thread(target=call_all)
    caller.start()
    assert done.wait(10.0)
    caller.join()

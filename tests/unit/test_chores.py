"""Chores: what would hold up the control thread is done on another, one after the other."""

from __future__ import annotations

import queue
import threading
from functools import partial

from hailod.clock import SystemClock
from hailod.control.chores import MAX_WAITING, Chores
from tests.support.waiting import wait_for


def test_chores_are_done_in_order_and_bounded() -> None:
    """What is asked is done in its order; while one takes long only so many wait, and at the end none is begun."""
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    entered, gate = threading.Event(), threading.Event()

    def slow() -> int:
        entered.set()
        gate.wait(10.0)
        return 0

    chores = Chores(SystemClock(), done.put)
    chores.start()
    assert chores.ask(slow)
    assert entered.wait(10.0)
    accepted = [chores.ask(partial(int, number)) for number in range(1, MAX_WAITING + 2)]
    assert accepted == [True] * MAX_WAITING + [False]
    gate.set()
    wait_for(lambda: done.qsize() == MAX_WAITING + 1, what="all are done")
    assert [done.get() for _ in range(MAX_WAITING + 1)] == list(range(MAX_WAITING + 1))
    assert chores.stop(10.0)
    assert not chores.ask(slow)

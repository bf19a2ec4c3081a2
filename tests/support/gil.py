"""Whether a call lets other Python threads run."""

from __future__ import annotations

import threading
from collections.abc import Callable


def turns_during(call: Callable[[], object]) -> int:
    """How often another thread had its turn, of a millisecond each at best, while `call` ran."""
    turns = 0
    running, over = threading.Event(), threading.Event()

    def take_turns() -> None:
        nonlocal turns
        while not over.wait(0.001):
            turns += 1
            running.set()

    thread = threading.Thread(target=take_turns, name="counts its turns")
    thread.start()
    try:
        running.wait()
        before = turns
        call()
        return turns - before
    finally:
        over.set()
        thread.join()

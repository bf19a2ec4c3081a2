"""What follows Home Assistant's birth: everything is told once more, in its order. Pure: it is told the time.

Home Assistant has most of it from what the broker retains; after a broker that has lost its store, only from here. Many
nodes hear the same birth, so each waits a while of its own. The states come a moment after discovery: until Home
Assistant has made the entities, it does not listen.
"""

from __future__ import annotations

import random
from enum import Enum, auto

_SHORTEST_WAIT, _LONGEST_WAIT = 1.0, 5.0
_PAUSE = 1.0


class Step(Enum):
    """What is to be told now."""

    DISCOVERY = auto()
    STATES = auto()


class Birth:
    """One birth at a time; those that come meanwhile are answered by it."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._next: tuple[Step, float] | None = None

    def heard(self, now: float) -> None:
        """Home Assistant has started."""
        if self._next is None:
            self._next = Step.DISCOVERY, now + self._rng.uniform(_SHORTEST_WAIT, _LONGEST_WAIT)

    def due(self, now: float) -> Step | None:
        """The step whose time has come; each is given once."""
        if self._next is None or now < self._next[1]:
            return None
        step = self._next[0]
        self._next = (Step.STATES, now + _PAUSE) if step is Step.DISCOVERY else None
        return step

"""Commands that change nothing: they run beside the queue of those that do, and are answered when they are done."""

from __future__ import annotations

from typing import Protocol

from hailod.control.transactions import Desk, Verdict
from hailod.mqtt.commands import Request


class Answer(Protocol):
    """How one command is answered."""

    def accept(self) -> None:
        """Say that it will take its time; once."""

    def give(self, verdict: Verdict) -> None:
        """Answer it for good; once."""


class Beside(Protocol):
    """One kind of command that runs beside the queue. Used by the control thread."""

    def begin(self, request: Request, desk: Desk, answer: Answer) -> None:
        """Start it; raises CommandError where it cannot be."""

    def hear(self, event: object) -> None:
        """Something happened that one of these commands may have waited for."""

    def tick(self, now: float) -> None:
        """Look at the clock (monotonic)."""

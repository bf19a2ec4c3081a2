"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], *, timeout: float = 10.0, what: str = "", every: float = 0.01) -> T:
    """Call `condition` until its answer is true and return that answer.

    Raises AssertionError that says what did not happen, after `timeout` seconds and a last look.
    """
    deadline = time.monotonic() + timeout
    while True:
        over = time.monotonic() >= deadline
        answer = condition()
        if answer:
            return answer
        if over:
            described = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"not within {timeout:g} s: {described} (last answer: {answer!r})")
        time.sleep(every)

"""Waiting as long as a machine may need that has much else to do: how long it took is what the table tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tests.support import waiting

T = TypeVar("T")

PATIENCE_S = 45.0


def wait_for(condition: Callable[[], T], *, timeout: float = PATIENCE_S, what: str = "") -> T:
    """As `tests.support.waiting.wait_for`, and looks less often: what is heard is kept with its time."""
    return waiting.wait_for(condition, timeout=timeout, what=what, every=0.02)

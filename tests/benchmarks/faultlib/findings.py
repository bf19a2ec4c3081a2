"""What a trial came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Evidence(NamedTuple):
    """The first word about a fault: when it was heard, and what health said."""

    at: float
    code: str
    text: str


@dataclass(slots=True)
class Findings:
    """What a trial came to. `problems` make it fail; `missed` (figures that depend on the machine) if they repeat."""

    detected: float | None = None
    recovered: float | None = None
    frames_lost: int | None = None
    messages_lost: int = 0
    streams_dropped: int = 0
    said: str = ""
    stopped: float | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

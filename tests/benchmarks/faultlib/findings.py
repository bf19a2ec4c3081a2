"""What a trial came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Evidence(NamedTuple):
    """The first word about a fault: when it was heard, and what health said."""

    at: float
    code: str
    text: str


class Unable(Exception):
    """This machine, or this user, does not allow what a row needs; the text says what."""


@dataclass(slots=True)
class Findings:
    """What a trial came to. `problems` make it fail; `missed` (figures that depend on the machine) if they repeat.

    `others_lost` are frames that cameras lost which had nothing to do with it, `heard` the messages that were read,
    `empty` those of them that told of no objects, `seconds` what it all took. `unable`: why it could
    not be played here at all.
    """

    detected: float | None = None
    recovered: float | None = None
    frames_lost: int | None = None
    messages_lost: int = 0
    streams_dropped: int = 0
    said: str = ""
    stopped: float | None = None
    others_lost: int | None = None
    heard: int = 0
    empty: int = 0
    unable: str = ""
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

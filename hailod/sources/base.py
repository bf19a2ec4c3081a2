"""The seam between cameras and everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hailod.types import Picture


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """One picture and what it cost to get.

    `skipped` frames were passed over since the last one to keep up with the stream (see `CameraSettings.max_lag`), and
    `corrupt` ones could not be decoded. `picture` is None where only these are to be told: data comes that cannot be
    decoded, or the stream broke off. A source that has its own timing does not wait: `due` is the monotonic second at
    which the picture is to be used (None: now), and the next `read` is to be `rest` seconds after this one's use.
    """

    picture: Picture | None
    skipped: int = 0
    corrupt: int = 0
    due: float | None = None
    rest: float = 0.0


class Source(Protocol):
    """Where frames come from. Used by one thread; `close` may be called by any and is idempotent.

    `open` blocks for up to its open time-out and raises SourceUnavailable. `read` blocks until the next picture, for up
    to the read time-out, and raises SourceLost, or SourceEnded at the end of a file. Neither can be relied on to return
    in time: what they call (name look-up, drivers) cannot be interrupted, so the caller watches the clock. No message
    of an error holds a user name, a password or a query value of the URL; what a person can do is the error's note.
    """

    def open(self) -> None: ...

    def read(self) -> Captured: ...

    def close(self) -> None: ...

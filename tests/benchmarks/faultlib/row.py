"""A row of the fault matrix, and the list of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.faultlib.trial import Trial

Play = Callable[[Trial], None]


@dataclass(frozen=True, slots=True)
class Row:
    """A fault. `about` is what breaks: device, camera, broker, daemon, lend. `detect` and `recover` are the seconds
    within which it must be found and over, `undisturbed` the cameras that may not lose a frame by it; `slow` rows are
    begun first. `target` names the figure of the summary that it is a measurement of: crash, hang, completion."""

    name: str
    about: str
    play: Play
    short: bool = False
    detect: float | None = None
    recover: float | None = None
    undisturbed: tuple[str, ...] = ()
    slow: bool = False
    target: str = ""

    @property
    def measures(self) -> bool:
        """Whether what else runs would spoil its figures."""
        return self.detect is not None or self.recover is not None or bool(self.undisturbed)


class Rows:
    """The rows of one subject, in the order in which they are written."""

    def __init__(self, about: str) -> None:
        self.about = about
        self.rows: list[Row] = []

    def __call__(
        self,
        name: str,
        *,
        short: bool = False,
        detect: float | None = None,
        recover: float | None = None,
        undisturbed: tuple[str, ...] = (),
        slow: bool = False,
        target: str = "",
    ) -> Callable[[Play], Play]:
        """Make the decorated function a row."""

        def register(play: Play) -> Play:
            self.rows.append(Row(name, self.about, play, short, detect, recover, undisturbed, slow, target))
            return play

        return register

"""What stands before one camera: how many of each label, up at once and down only after a while. Pure.

Detectors miss an object in single frames. A count that followed every frame would switch lights on and off, so a count
rises with the first frame that shows more and falls when for `off_delay` seconds no frame showed as many: then to the
most that was seen in that time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

OFF_DELAY_S = 3.0


@dataclass(slots=True)
class _Count:
    value: int = 0
    below_since: float | None = None
    most_below: int = 0


class Scene:
    """The counts of one camera. `labels` are always present, 0 included; others appear once seen."""

    def __init__(self, labels: Iterable[str] = (), *, off_delay: float = OFF_DELAY_S) -> None:
        self._off_delay = off_delay
        self._counts = {label: _Count() for label in labels}

    def see(self, seen: Mapping[str, int], now: float) -> None:
        """A frame showed these counts at `now`."""
        for label in seen.keys() - self._counts.keys():
            self._counts[label] = _Count()
        for label, count in self._counts.items():
            self._note(count, seen.get(label, 0), now)

    def counts(self) -> dict[str, int]:
        """How many of each label, as of the last frame."""
        return {label: count.value for label, count in sorted(self._counts.items())}

    def _note(self, count: _Count, seen: int, now: float) -> None:
        if seen >= count.value:
            count.value, count.below_since, count.most_below = seen, None, 0
            return
        if count.below_since is None:
            count.below_since = now
        count.most_below = max(count.most_below, seen)
        if now - count.below_since >= self._off_delay:
            count.value, count.below_since, count.most_below = count.most_below, None, 0

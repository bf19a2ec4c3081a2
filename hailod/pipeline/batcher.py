"""When to send, and how many: the batch rule.

The device must never be without work while frames wait, and no frame may wait for the sake of a batch while the device
could have run it. So batches are not waited for, they form by themselves while the device is busy:

    nothing waits, or the window has no room     wait; a frame or a completion will wake us
    a full batch waits                           send it
    less than a batch waits                      send it just before the device runs dry: when the predicted end of
                                                 what is on the device is no further away than the time that a batch
                                                 takes from here to the device. Until then a fuller batch may form.
    and the user allows a delay                  wait for a full batch until frames have waited for so long, although
                                                 the device is idle. Nothing is gained by that but fewer and fuller
                                                 batches, for models that are much quicker in batches; so it is 0
                                                 unless somebody asks for it.

The window is two batches. With one the device idles while the host turns round; with more nothing is gained but
latency, since frames grow old on the device instead of being superseded in the mailbox. For a batch size of 1 every
batch is full and the rule is: send while there is room.
"""

from __future__ import annotations

from typing import NamedTuple


class Situation(NamedTuple):
    """What the rule looks at. Counts are frames, times seconds.

    `dry_in`: predicted time until the device has finished everything it holds, 0 when it is idle.
    `turnaround`: measured time from taking frames to their arrival at the device. `waited`: how long a partial batch
    has waited, `max_delay`: how long it may, for more frames alone.
    """

    waiting: int
    room: int
    batch_size: int
    dry_in: float
    turnaround: float
    waited: float = 0.0
    max_delay: float = 0.0


class Send(NamedTuple):
    """Take `frames` frames and send them as one batch."""

    frames: int


class Wait(NamedTuple):
    """Look again after `seconds`, or when a frame or completion comes; None: only then."""

    seconds: float | None


def decide(situation: Situation) -> Send | Wait:
    """The batch rule; its reasons stand above."""
    batch = min(situation.waiting, situation.batch_size)
    if batch == 0 or situation.room < batch:
        return Wait(None)
    if batch == situation.batch_size:
        return Send(batch)
    slack = max(situation.dry_in - situation.turnaround, situation.max_delay - situation.waited)
    return Send(batch) if slack <= 0 else Wait(slack)


class RateCap:
    """Spreads what is sent so that it stays below a rate; used by one thread."""

    def __init__(self) -> None:
        self._free_at = 0.0

    def rest(self, max_rate: float | None, now: float) -> float:
        """Seconds until something may be sent; 0 for now, and without a limit."""
        return 0.0 if max_rate is None else max(self._free_at - now, 0.0)

    def sent(self, frames: int, max_rate: float | None, now: float) -> None:
        """So many frames were sent. A time in which nothing was sent is not made up for."""
        if max_rate is not None:
            self._free_at = max(self._free_at, now) + frames / max_rate


class Pace:
    """How fast a model's frames run and how long they take to get there: moving averages over completed batches.

    Written by the results thread, read by the dispatcher; each figure is one float, so no reader sees half a value.
    """

    WEIGHT = 0.1

    def __init__(self) -> None:
        self.per_frame = 0.0
        self.turnaround = 0.0
        self._last_end = 0.0

    def completed(self, frames: int, *, taken: float, started: float, ended: float) -> None:
        """A batch of `frames` was taken from the mailbox, reached the host and came back at these times."""
        busy_since = max(started, self._last_end)
        self._last_end = ended
        self.per_frame = self._blend(self.per_frame, max(ended - busy_since, 0.0) / frames)
        self.turnaround = self._blend(self.turnaround, max(started - taken, 0.0))

    def dry_in(self, now: float, in_flight: int) -> float:
        """Seconds until `in_flight` frames are through, 0 for none."""
        if not in_flight:
            return 0.0
        return max(in_flight * self.per_frame - max(now - self._last_end, 0.0), 0.0)

    def _blend(self, average: float, value: float) -> float:
        return average + self.WEIGHT * (value - average) if average else value

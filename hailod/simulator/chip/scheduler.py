"""Which model's frames go to the chip next: the rules of HailoRT's round-robin scheduler, without threads or clock.

A chip works on one model at a time. The scheduler looks whenever frames are asked for, frames are done or a time-out
has passed, and grants frames by two rules, tried in this order until neither applies:

1. *Streaming.* The model on the chip sends one more frame, unless its frames go in batches, its place on the chip is
   full, or another model is due: the turn's burst is used up and a model of at least its priority is ready.
2. *Switching.* Once the chip is idle the next model's turn begins. Priorities from high to low, within a priority in
   turn, the first ready model sends what it has, up to its burst. If none is ready, then the first that has any frame:
   an idle chip waits for no threshold (HAILO_DISABLE_IDLE_OPT turns that off).

A model is ready when it has frames, and either as many as its threshold or its last turn began at least its time-out
ago. The time-out is 0 unless set, so that a threshold without a time-out changes nothing. The burst is the batch size
if one was set, else all that fits on the chip. Models in several contexts with a batch size go in batches, which end
together and are never added to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

PRIORITY_NORMAL = 16
PRIORITY_MAX = 31


@dataclass(slots=True, eq=False)
class ScheduledModel:
    """A configured model as the scheduler sees it. `place` is how many of its frames the chip takes at once."""

    burst: int
    place: int
    batched: bool = False
    priority: int = PRIORITY_NORMAL
    threshold: int = 0
    timeout: float = 0.0
    requested: int = 0
    turn_began: float = 0.0

    def ready(self, now: float) -> bool:
        """Whether it has frames, and enough of them or waited long enough."""
        return self.requested > 0 and (
            self.requested >= self.threshold or now - self.turn_began >= self.timeout - _ROUNDING
        )


# A time-out that is due at t is due when asked at t, whatever adding and subtracting did to its last bits.
_ROUNDING = 1e-9


@dataclass(slots=True)
class _Group:
    """The models of one priority; `next` is whose turn it is."""

    models: list[ScheduledModel] = field(default_factory=list)
    next: int = 0

    def in_turn(self) -> list[ScheduledModel]:
        return self.models[self.next :] + self.models[: self.next]


class Grant(NamedTuple):
    """Frames that go to the chip now, all of one model."""

    model: ScheduledModel
    frames: int


class Scheduler:
    """The scheduler of one chip. Every grant must be answered by `completed`, frame by frame or at once."""

    def __init__(self, *, idle_optimisation: bool = True) -> None:
        self._idle_optimisation = idle_optimisation
        self._groups: dict[int, _Group] = {}
        self._current: ScheduledModel | None = None
        self._burst_left = 0
        self._ongoing = 0

    @property
    def idle(self) -> bool:
        """Whether the chip has nothing to do."""
        return not self._ongoing

    def add(self, model: ScheduledModel, now: float) -> None:
        """Take part from now on, last in its priority."""
        model.turn_began = now
        self._groups.setdefault(model.priority, _Group()).models.append(model)

    def remove(self, model: ScheduledModel) -> None:
        """Take part no more; what of it is on the chip is gone, too."""
        self._leave_group(model)
        model.requested = 0
        if self._current is model:
            self._current = None
            self._ongoing = 0

    def set_priority(self, model: ScheduledModel, priority: int) -> None:
        """Change groups; both begin their rounds anew where they lost or stand."""
        self._leave_group(model)
        model.priority = priority
        self._groups.setdefault(priority, _Group()).models.append(model)

    def completed(self, frames: int) -> None:
        """So many of the granted frames are done."""
        self._ongoing -= frames

    def next(self, now: float) -> Grant | None:
        """The next frames to send, None when nothing may go before something happens."""
        current = self._current
        if current is not None and self._may_stream(current, now):
            frames = 1 if self._idle_optimisation else max(1, current.threshold)
            return self._grant(current, frames)
        if self._ongoing or not any(model.requested for group in self._groups.values() for model in group.models):
            return None
        chosen = self._choose(now, any_frame=False)
        if chosen is None and self._idle_optimisation:
            chosen = self._choose(now, any_frame=True)
        if chosen is None:
            return None
        self._current = chosen
        self._burst_left = chosen.burst
        chosen.turn_began = now
        return self._grant(chosen, min(chosen.requested, chosen.burst, chosen.place))

    def wakes_at(self) -> float | None:
        """When a time-out will next make an idle chip work; None when only frames can."""
        if self._idle_optimisation or self._ongoing:
            return None
        models = (model for group in self._groups.values() for model in group.models)
        return min((model.turn_began + model.timeout for model in models if model.requested), default=None)

    def _may_stream(self, model: ScheduledModel, now: float) -> bool:
        least = 1 if self._idle_optimisation else max(1, model.threshold)
        return (
            not model.batched
            and min(model.requested, model.place - self._ongoing) >= least
            and (self._burst_left > 0 or not self._another_is_due(model, now))
        )

    def _another_is_due(self, current: ScheduledModel, now: float) -> bool:
        return any(
            model is not current and model.ready(now)
            for priority, group in self._groups.items()
            if priority >= current.priority
            for model in group.models
        )

    def _choose(self, now: float, *, any_frame: bool) -> ScheduledModel | None:
        for priority in sorted(self._groups, reverse=True):
            group = self._groups[priority]
            for place, model in enumerate(group.in_turn()):
                if model.requested > 0 if any_frame else model.ready(now):
                    group.next = (group.next + place + 1) % len(group.models)
                    return model
        return None

    def _grant(self, model: ScheduledModel, frames: int) -> Grant:
        model.requested -= frames
        self._burst_left = max(0, self._burst_left - frames)
        self._ongoing += frames
        return Grant(model, frames)

    def _leave_group(self, model: ScheduledModel) -> None:
        group = self._groups[model.priority]
        group.models.remove(model)
        group.next = 0
        if not group.models:
            del self._groups[model.priority]

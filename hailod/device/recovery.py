"""What is done about a fault of the device: the ladder, as a table of states and triggers. Pure.

Rungs, from the least to the most, and why each is there:

    wait       A job is late, but the host's heart beats and the job is younger than `stall_timeout` (3 s, below
               HailoRT's own 10 s). The frame is late, not lost. Nothing is done; it is counted.
    retry      A frame whose inference failed is sent once more if it is still fresh: the fault was rarely the frame's.
               Twice would serve only frames that kill the device.
    session    A completion or `run_async` failed. HailoRT has then shut the configured model down for good, and only
               that model: it is dropped (by its destructor, under a deadline; `shutdown()` would hold the GIL) and
               configured anew in the same host. The other models go on, but for the moment of configuring.
    host       That did not help, or the driver failed, or there is no sign of life: the process is killed and another
               one started. It frees whatever the library held, and is the only cure for a call that does not return.
               The first new start after a time of health has no delay, because most faults are over with the process
               that had them. From the second on the delay is drawn from 0 to a ceiling that doubles (full jitter), so
               that nothing that shares the device can fall into step with us.
    back-off   No device, or another program has it: there is nothing to kill. Try again for ever, ever less often.
    cool       The chip's firmware stopped all dataflow because it was too hot. A new session would be stopped again:
               wait for the temperature first.
    hold       Wrong file, chip or versions. Trying again changes nothing: name the fix, look whether driver, library
               or file change, and try rarely in any case.

A model that keeps failing while others on the same device are well is itself the fault: instead of climbing on, which
would cost the others, it goes into quarantine (`ModelFaults`). A minute of health begins the ladder anew.

A killed host that does not die is held by its driver and still has the device: nothing is started beside it, nothing
waits for it, and only its end (a reboot, mostly) leads out of that state.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hailod.device.statuses import Fault


class Rung(StrEnum):
    """How far the ladder was climbed."""

    WAIT = "wait"
    RETRY = "retry"
    SESSION = "session"
    HOST = "host"
    BACK_OFF = "back_off"
    COOL = "cool"
    HOLD = "hold"
    QUARANTINE = "quarantine"


RUNGS: Mapping[Fault, Rung] = {
    Fault.SESSION_LOST: Rung.SESSION,
    Fault.DEVICE_LOST: Rung.HOST,
    Fault.HUNG: Rung.HOST,
    Fault.UNAVAILABLE: Rung.BACK_OFF,
    Fault.REJECTED: Rung.HOLD,
    Fault.TOO_HOT: Rung.COOL,
}
"""Where each class of fault enters the ladder."""


class State(StrEnum):
    """Where a device is, as its link sees it."""

    OFF = "off"
    STARTING = "starting"
    UP = "up"
    COOLING = "cooling"
    DYING = "dying"
    STUCK = "stuck"
    WAITING = "waiting"
    HELD = "held"
    RELEASED = "released"


class Trigger(StrEnum):
    """What may happen to it. A host is reaped towards what is to come next: another one, none yet, or none at all."""

    START = "start"
    OPENED = "opened"
    TOO_HOT = "too_hot"
    COOLED = "cooled"
    LOST = "lost"
    OVERDUE = "overdue"
    REAPED = "reaped"
    REAPED_REJECTED = "reaped_rejected"
    REAPED_RELEASED = "reaped_released"
    DUE = "due"
    CHANGED = "changed"
    RESTART = "restart"
    RELEASE = "release"
    ACQUIRE = "acquire"
    CLOSE = "close"


class Action(StrEnum):
    """What the link does when it goes over to a new state."""

    SPAWN = "spawn"
    KILL = "kill"
    REST = "rest"
    RESUME = "resume"
    SCHEDULE = "schedule"
    HOLD = "hold"
    SAY_STUCK = "say_stuck"
    SAY_RELEASED = "say_released"


@dataclass(frozen=True, slots=True)
class Step:
    """The state that follows, and what is done on the way."""

    state: State
    actions: tuple[Action, ...] = ()


_SPAWN = Step(State.STARTING, (Action.SPAWN,))
_KILL = Step(State.DYING, (Action.KILL,))
_GIVE_BACK = Step(State.RELEASED, (Action.SAY_RELEASED,))
_REAPED = {
    Trigger.REAPED: Step(State.WAITING, (Action.SCHEDULE,)),
    Trigger.REAPED_REJECTED: Step(State.HELD, (Action.HOLD,)),
    Trigger.REAPED_RELEASED: _GIVE_BACK,
}
_AGAIN = {
    Trigger.DUE: _SPAWN,
    Trigger.RESTART: _SPAWN,
    Trigger.ACQUIRE: _SPAWN,
    Trigger.RELEASE: _GIVE_BACK,
}
_ALIVE = {Trigger.LOST: _KILL, Trigger.RESTART: _KILL, Trigger.RELEASE: _KILL}

_TABLE: Mapping[State, Mapping[Trigger, Step]] = {
    State.OFF: {Trigger.START: _SPAWN},
    # Reaped without having been killed: the process could not be started at all.
    State.STARTING: {Trigger.OPENED: Step(State.UP), **_ALIVE, **_REAPED},
    State.UP: {Trigger.TOO_HOT: Step(State.COOLING, (Action.REST,)), **_ALIVE},
    State.COOLING: {Trigger.COOLED: Step(State.UP, (Action.RESUME,)), **_ALIVE},
    # What is wished for meanwhile (a restart, the device for oneself or for others) is heeded when it is dead.
    State.DYING: {Trigger.OVERDUE: Step(State.STUCK, (Action.SAY_STUCK,)), **_REAPED},
    State.STUCK: _REAPED,
    State.WAITING: _AGAIN,
    State.HELD: {**_AGAIN, Trigger.CHANGED: _SPAWN},
    State.RELEASED: {Trigger.ACQUIRE: _SPAWN},
}

LADDER: Mapping[tuple[State, Trigger], Step] = {
    **{(state, trigger): step for state, steps in _TABLE.items() for trigger, step in steps.items()},
    **{(state, Trigger.CLOSE): Step(State.OFF) for state in State},
}
"""Every step there is. A trigger that has none in a state changes nothing there."""

HAS_HOST = frozenset({State.STARTING, State.UP, State.COOLING})
"""The states in which a host lives that may be spoken to."""


class Respawn:
    """How long to wait before the next host is started. Told the time, owns only the count of failures."""

    def __init__(self, initial: float, ceiling: float, healthy_after: float, rng: random.Random) -> None:
        self._rng = rng
        self._failures = 0
        self._healthy_since: float | None = None
        self.configure(initial, ceiling, healthy_after)

    def configure(self, initial: float, ceiling: float, healthy_after: float) -> None:
        self._initial = initial
        self._ceiling = ceiling
        self._healthy_after = healthy_after

    @property
    def failures(self) -> int:
        """How many starts have failed since the last time of health."""
        return self._failures

    def succeeded(self, now: float) -> None:
        """The device is in service; the count is forgotten after `healthy_after` of it."""
        if self._healthy_since is None:
            self._healthy_since = now
        elif now - self._healthy_since >= self._healthy_after:
            self._failures = 0

    def delay(self, fault: Fault) -> float:
        """Count a failure; seconds until the next start."""
        self._healthy_since = None
        self._failures += 1
        if self._failures == 1 and fault is not Fault.UNAVAILABLE:
            return 0.0
        ceiling = min(self._ceiling, self._initial * 2.0 ** min(self._failures - 1, 30))
        return self._rng.uniform(0.0, ceiling)


class ModelFaults:
    """Which rung a model's loss calls for: of each model, how often in a row it was lost soon after it had come.

    Whether the fault is the model's or the device's shows by the others on it. One that was delivering when this model
    was lost before, and delivers still, has survived a fault that was not the device's. One that has not delivered yet
    proves nothing, but is worth another session before its process is taken from it.
    """

    def __init__(self) -> None:
        # Losses in a row, and when the last one was.
        self._losses: dict[str, tuple[int, float]] = {}

    def lost(
        self, model: str, now: float, *, settled: bool, others: Sequence[float | None], losses_to_quarantine: int
    ) -> Rung:
        """`settled`: it had delivered for long enough. `others`: since when each other living model has delivered."""
        before, last = (0, now) if settled else self._losses.get(model, (0, now))
        losses = before + 1
        self._losses[model] = losses, now
        if losses == 1 or (others and losses < losses_to_quarantine):
            return Rung.SESSION
        survived = any(since is not None and since < last for since in others)
        return Rung.QUARANTINE if survived else Rung.HOST

    def forget(self, model: str) -> None:
        """It begins anew: somebody asked for it, or it is no longer wanted."""
        self._losses.pop(model, None)

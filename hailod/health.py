"""What is wrong now, by stable codes: the source of `health` on MQTT, of systemd's status line and of the log. Pure.

`ok` when no condition stands. `failed` when one stands that does not pass by itself and stops the work of the node;
everything else is `degraded`: a missing camera or device is waited for, not died of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum

MAX_REASONS = 32
MAX_TEXT = 240


class State(StrEnum):
    """The node as a whole."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


class Code(StrEnum):
    """The closed list of conditions; machines rely on the values."""

    DEVICE_UNAVAILABLE = "device_unavailable"
    DEVICE_LOST = "device_lost"
    DEVICE_HUNG = "device_hung"
    DEVICE_STARTING = "device_starting"
    DEVICE_CONFIGURING = "device_configuring"
    DEVICE_STUCK = "device_stuck"
    DEVICE_REJECTED = "device_rejected"
    DEVICE_HOT = "device_hot"
    DEVICE_RELEASED = "device_released"
    THERMAL_THROTTLE = "thermal_throttle"
    CAMERA_LOST = "camera_lost"
    CAMERA_ENDED = "camera_ended"
    CAMERA_BEHIND = "camera_behind"
    CAMERA_STUCK = "camera_stuck"
    CAMERA_STALE = "camera_stale"
    CAMERA_FROZEN = "camera_frozen"
    CAMERA_CORRUPT = "camera_corrupt"
    BROKER_DOWN = "broker_down"
    BROKER_UNSTABLE = "broker_unstable"
    BROKER_LIMITED = "broker_limited"
    MODEL_FAILED = "model_failed"
    MODEL_LOST = "model_lost"
    MODEL_QUARANTINED = "model_quarantined"
    DECODE_ERRORS = "decode_errors"
    HOST_BOUND = "host_bound"
    SIMULATED = "simulated"
    WORKER_LATE = "worker_late"
    STATE_UNSAVED = "state_unsaved"
    STATE_DISCARDED = "state_discarded"
    CLOCK_UNSYNCED = "clock_unsynced"


DEVICE_CODES = frozenset(code for code in Code if code.startswith("device_"))

# A person must act: reboot, replace the HEF or the versions.
_FAILED = frozenset({Code.DEVICE_STUCK, Code.DEVICE_REJECTED})
# Said, but nothing is wrong.
_HARMLESS = frozenset({Code.SIMULATED, Code.CLOCK_UNSYNCED})


@dataclass(frozen=True, slots=True)
class Reason:
    """One condition: `since` in monotonic seconds, `subject` the camera or model it concerns, `text` what is wrong.

    `doing` is what hailod does about it, `fix` what a person can do; `count` is how often it has come since the start.
    """

    code: Code
    since: float
    text: str
    subject: str | None = None
    doing: str = ""
    fix: str = ""
    count: int = 1

    @property
    def state(self) -> State:
        """What the node would be with this condition alone."""
        if self.code in _HARMLESS:
            return State.OK
        return State.FAILED if self.code in _FAILED else State.DEGRADED

    def document(self, wall: Callable[[float], float]) -> dict[str, object]:
        """As an entry of `reasons` in the health message; `wall` gives the Unix time of a monotonic moment."""
        entry: dict[str, object] = {
            "code": str(self.code),
            "since": round(wall(self.since), 3),
            "count": self.count,
            "text": self.text,
        }
        optional = {"subject": self.subject or "", "doing": self.doing, "fix": self.fix}
        return entry | {key: value for key, value in optional.items() if value}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All conditions at one instant, the gravest and then the oldest first; `hidden` more did not fit."""

    state: State = State.OK
    reasons: tuple[Reason, ...] = ()
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class Transition:
    """A condition that came (`raised`) or went, and the node's state before and after: one log line."""

    reason: Reason
    raised: bool
    before: State
    after: State


class Health:
    """The conditions that stand. Used by one thread; what it hands out is immutable."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[Code, str | None], Reason] = {}
        self._counts: Counter[tuple[Code, str | None]] = Counter()

    @property
    def state(self) -> State:
        return _worst(self._reasons.values())

    def raise_(
        self, code: Code, text: str, now: float, subject: str | None = None, *, doing: str = "", fix: str = ""
    ) -> Transition | None:
        """Note that a condition stands; a repeat keeps `since`, takes the new words and is no transition.

        `now` is monotonic, as the wall clock may be set while the condition stands.
        """
        key = (Code(code), subject)
        known = self._reasons.get(key)
        before = self.state
        if known is None:
            self._counts[key] += 1
        since = known.since if known else now
        words = [_bounded(said) for said in (text, doing, fix)]
        reason = Reason(key[0], since, words[0], subject, words[1], words[2], self._counts[key])
        self._reasons[key] = reason
        return None if known else Transition(reason, True, before, self.state)

    def clear(self, code: Code, subject: str | None = None) -> Transition | None:
        """Note that a condition has passed; None if it did not stand."""
        before = self.state
        reason = self._reasons.pop((Code(code), subject), None)
        return Transition(reason, False, before, self.state) if reason else None

    def clear_all(self, codes: Collection[Code], subject: str | None = None) -> tuple[Transition, ...]:
        """Clear every one of `codes` for `subject`; for groups of which one at most stands, such as DEVICE_CODES."""
        cleared = (self.clear(code, subject) for code in sorted(codes))
        return tuple(transition for transition in cleared if transition is not None)

    def forget(self, subject: str) -> tuple[Transition, ...]:
        """Clear all that concerns a camera or model that is no more, and how often it was."""
        codes = [code for code, other in self._reasons if other == subject]
        cleared = self.clear_all(codes, subject)
        for key in [key for key in self._counts if key[1] == subject]:
            del self._counts[key]
        return cleared

    def counts(self) -> dict[str, int]:
        """How often each code has come since the start, over all subjects that are still known."""
        totals: Counter[str] = Counter()
        for (code, _), count in self._counts.items():
            totals[str(code)] += count
        return dict(totals)

    def snapshot(self) -> Snapshot:
        """The state and its reasons, at most MAX_REASONS of them."""
        gravity = list(State)
        ordered = sorted(
            self._reasons.values(), key=lambda r: (-gravity.index(r.state), r.since, r.code, r.subject or "")
        )
        return Snapshot(self.state, tuple(ordered[:MAX_REASONS]), max(0, len(ordered) - MAX_REASONS))


def _worst(reasons: Collection[Reason]) -> State:
    states = {reason.state for reason in reasons}
    return next((state for state in (State.FAILED, State.DEGRADED) if state in states), State.OK)


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"

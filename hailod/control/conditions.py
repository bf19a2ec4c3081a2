"""Conditions of health as the control thread raises and clears them: noted, logged and told to systemd."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from hailod.clock import Clock
from hailod.health import Code, Health, State, Transition
from hailod.sd import Notifier

log = structlog.get_logger(__name__)

# A start is no trouble, and neither is a loan, but until it is over the node does not do its work.
_PASSING = frozenset({Code.DEVICE_STARTING, Code.DEVICE_CONFIGURING, Code.DEVICE_RELEASED})
_LEVELS = {State.OK: "info", State.DEGRADED: "warning", State.FAILED: "error"}


class Conditions:
    """One log line for each change of health, and systemd's status line."""

    def __init__(self, health: Health, clock: Clock, notifier: Notifier) -> None:
        self._health = health
        self._clock = clock
        self._notifier = notifier

    def raise_(self, code: Code, text: str, subject: str | None = None, *, doing: str = "", fix: str = "") -> None:
        """The condition stands: what is wrong, what is being done about it, what people can do."""
        now = self._clock.monotonic()
        self.note(self._health.raise_(code, text, now, subject, doing=doing, fix=fix))

    def clear(self, code: Code, subject: str | None = None) -> None:
        """The condition has passed, if it stood."""
        self.note(self._health.clear(code, subject))

    def clear_all(self, codes: Collection[Code], subject: str | None = None) -> None:
        """Every one of these has passed."""
        for transition in self._health.clear_all(codes, subject):
            self.note(transition)

    def stand(self, code: Code) -> frozenset[str]:
        """The subjects of which the condition stands."""
        return frozenset(r.subject for r in self._health.snapshot().reasons if r.code is code and r.subject is not None)

    def note(self, transition: Transition | None) -> None:
        """Log a change and tell it to systemd."""
        if transition is None:
            return
        reason = transition.reason
        level = _LEVELS[reason.state] if transition.raised and reason.code not in _PASSING else "info"
        said = "health condition" if transition.raised else "health condition over"
        words = {"text": reason.text, "doing": reason.doing, "fix": reason.fix} if transition.raised else {}
        told = {key: value for key, value in words.items() if value}
        getattr(log, level)(said, code=reason.code.value, state=transition.after.value, **told)
        state = transition.after.value
        self._notifier.status(f"{state}: {reason.text}" if transition.raised else state)

"""What the firmware announces, and the library's thread that tells it."""

from __future__ import annotations

import threading
from _thread import start_new_thread
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hailod.simulator.chip.foreign import terminate

TEMPERATURE_ALARM, DATAFLOW_SHUTDOWN, OVERCURRENT_ALARM, CLOCK_CHANGED = 1, 2, 3, 10

_BODIES = (
    "rx_error_notification",
    "health_monitor_temperature_alarm_notification",
    "health_monitor_dataflow_shutdown_notification",
    "health_monitor_overcurrent_alert_notification",
    "health_monitor_lcu_ecc_error_notification",
    "health_monitor_lcu_ecc_error_notification",
    "health_monitor_cpu_ecc_notification",
    "health_monitor_cpu_ecc_notification",
    "debug_notification",
    "context_switch_breakpoint_reached_notification",
    "health_monitor_clock_changed_notification",
)


@dataclass(frozen=True, slots=True)
class Notification:
    """One message of the firmware, at a moment of the monotonic clock; `id` as in `NotificationId`, counted from 1."""

    at: float
    id: int
    fields: Mapping[str, bool | int | float]
    sequence: int = 0

    @property
    def body(self) -> str:
        """The member of the message's body that holds the fields."""
        return _BODIES[self.id] if self.id < len(_BODIES) else "debug_notification"


Listener = Callable[[Notification], None]
Due = Callable[[float, float], Sequence[Notification]]
"""What was announced after one moment up to another."""
Next = Callable[[], float]
"""When something may next be announced by itself (inf: never)."""


class Notifier:
    """Calls listeners from one thread that Python did not start, which lives while there are any.

    An exception that leaves a listener ends the process, as in HailoRT. `poll` seconds is how long news of other
    processes may take, None where there are none.
    """

    def __init__(self, now: Callable[[], float], due: Due, following: Next, poll: float | None) -> None:
        self._now = now
        self._due = due
        self._following = following
        self._poll = poll
        self._lock = threading.RLock()
        self._listeners: dict[int, Listener] = {}
        self._count = 0
        self._wake: threading.Event | None = None

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` everything from now on; call what is returned to end that."""
        with self._lock:
            self._count += 1
            number = self._count
            self._listeners[number] = listener
            if self._wake is None:
                self._wake = threading.Event()
                start_new_thread(self._work, (self._wake, self._now()))

        def unsubscribe() -> None:
            with self._lock:
                self._listeners.pop(number, None)
                if not self._listeners:
                    self.poke()
                    self._wake = None

        return unsubscribe

    def poke(self) -> None:
        """Something may have been announced just now."""
        with self._lock:
            if self._wake is not None:
                self._wake.set()

    def close(self) -> None:
        """Tell nobody any more."""
        with self._lock:
            self._listeners.clear()
            self.poke()
            self._wake = None

    def _work(self, wake: threading.Event, since: float) -> None:
        while True:
            wake.clear()
            now = self._now()
            with self._lock:
                if self._wake is not wake:
                    return
                listeners = list(self._listeners.values())
            for notification in self._due(since, now):
                for listener in listeners:
                    try:
                        listener(notification)
                    except BaseException as error:  # noqa: BLE001 - the process ends here, as it does in HailoRT
                        terminate(error)
            since = now
            # What falls between now and this question is asked about at once.
            wait = min(self._following() - self._now(), float("inf") if self._poll is None else self._poll)
            wake.wait(None if wait == float("inf") else max(0.0, wait))

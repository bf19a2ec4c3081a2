"""The control thread's only input."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass

from hailod.control.errands import ErrandDone
from hailod.control.profile import ProfileWritten
from hailod.control.saver import SaverEvent
from hailod.control.snapshots import SnapshotReady, SnapshotSent
from hailod.device.events import LinkEvent
from hailod.device.flight import FlightEvent
from hailod.device.spawner import HostEvent
from hailod.mqtt.messages import Inbound, LinkState
from hailod.pipeline.camera_state import CameraState
from hailod.pipeline.results import ModelTrouble

MAX_INBOUND = 64

BesideEvent = SnapshotReady | SnapshotSent | ProfileWritten


@dataclass(frozen=True, slots=True)
class Quit:
    """Shut down."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reload:
    """Read the configuration files again."""


Event = (
    Inbound
    | LinkState
    | HostEvent
    | FlightEvent
    | LinkEvent
    | CameraState
    | ModelTrouble
    | SaverEvent
    | ErrandDone
    | Reload
    | BesideEvent
    | Quit
)


class Inbox:
    """Events for the control thread, in order. `put` never blocks and may be called in a signal handler.

    What the daemon's own parts report is bounded by how many parts there are. What strangers send is bounded here: of
    more than `MAX_INBOUND` messages that wait, the newest is dropped and counted.
    """

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._inbound = 0
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Messages from outside that found the inbox full."""
        return self._dropped

    def put(self, event: Event) -> None:
        self._events.put(event)

    def put_inbound(self, message: Inbound) -> None:
        """Queue a message from the broker, or drop and count it."""
        with self._lock:
            if self._inbound >= MAX_INBOUND:
                self._dropped += 1
                return
            self._inbound += 1
        self._events.put(message)

    def get(self, timeout: float) -> Event | None:
        """The next event, None if none comes within `timeout` seconds."""
        try:
            event = self._events.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            return None
        if isinstance(event, Inbound):
            with self._lock:
                self._inbound -= 1
        return event

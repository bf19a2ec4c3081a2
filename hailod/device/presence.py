"""What is known of the device hosts: the present one, its control channel, and what all of them have used."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from hailod.device.protocol import Message, number, send_control

_IDENTITY = ("arch", "name", "serial_tail", "firmware", "hailort")


class Presence:
    """The present host. `pid` is 0 without one; `identity` is the device's, empty before it first said who it is."""

    def __init__(self) -> None:
        self.pid = 0
        self.identity: Message = {}
        self.last_beat = 0.0
        self._control: socket.socket | None = None
        self._cpu_s = self._cpu_s_before = 0.0
        self._rss_kb = 0

    def begin(self, pid: int, control: socket.socket, now: float) -> None:
        """Another host is the present one."""
        self.pid, self._control, self.last_beat = pid, control, now
        self._cpu_s_before += self._cpu_s
        self._cpu_s, self._rss_kb = 0.0, 0

    def end(self) -> None:
        """It is gone, or of no interest any more."""
        self.pid = 0
        if self._control is not None:
            self._control.close()
            self._control = None

    def send(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """Send it a control message; False if it does not take it."""
        return self._control is not None and send_control(self._control, message, fds)

    def beat(self, message: Message) -> None:
        """Its heart beat, and it told what it uses."""
        self._cpu_s = number(message.get("cpu_s"))
        self._rss_kb = int(number(message.get("rss_kb")))

    def identify(self, told: object) -> None:
        """It told who the device is; nonsense is nobody."""
        self.identity = {key: told.get(key) for key in _IDENTITY} if isinstance(told, dict) else {}

    @property
    def cpu_s(self) -> float:
        """Processor seconds of all hosts so far."""
        return self._cpu_s_before + self._cpu_s

    @property
    def rss_mb(self) -> float:
        """Resident memory of the present one."""
        return self._rss_kb / 1024

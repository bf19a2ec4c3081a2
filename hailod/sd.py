"""systemd's side of a service: readiness, status and watchdog as datagrams to NOTIFY_SOCKET. Nothing outside systemd.

systemd accepts these from the main process alone, so only the daemon notifies and no child inherits the variables.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from hailod.clock import Clock, SystemClock

MAX_STATUS = 200


class Notifier:
    """Tells systemd how the service fares. Every method returns whether systemd was told and never blocks or raises.

    `address` is NOTIFY_SOCKET: a path, or `@name` in the abstract namespace; None outside systemd. What could not be
    sent is counted in `failed`.
    """

    def __init__(self, address: str | None, clock: Clock | None = None) -> None:
        self._address = address
        self._clock = clock or SystemClock()
        self.failed = 0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Notifier:
        """The notifier of this process; the environment is left as it is, or later messages would be lost."""
        return cls(env.get("NOTIFY_SOCKET") or None)

    def ready(self) -> bool:
        """Start-up or reload is complete."""
        return self._send("READY=1")

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(f"STATUS={' '.join(text.split())[:MAX_STATUS]}")

    def stopping(self) -> bool:
        """The shutdown has begun."""
        return self._send("STOPPING=1")

    def watchdog(self) -> bool:
        """The service is alive: to be called only when its workers are."""
        return self._send("WATCHDOG=1")

    def reloading(self) -> bool:
        """The configuration is being read again; `ready` ends it."""
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={int(self._clock.monotonic() * 1e6)}")

    def extend_timeout(self, seconds: float) -> bool:
        """Start, reload or stop may take that much longer from now."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, message: str) -> bool:
        if self._address is None:
            return False
        # A leading NUL is how the kernel writes the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as peer:
                peer.sendto(message.encode(), address)
        except OSError:
            self.failed += 1
            return False
        return True


def watchdog_interval(env: Mapping[str, str], pid: int | None = None) -> float | None:
    """Seconds between two calls of `Notifier.watchdog`, a third of what systemd allows; None when unwatched."""
    owner = env.get("WATCHDOG_PID")
    if owner and owner != str(os.getpid() if pid is None else pid):
        return None
    allowed = env.get("WATCHDOG_USEC", "")
    return int(allowed) / 3e6 if allowed.isascii() and allowed.isdigit() and int(allowed) > 0 else None

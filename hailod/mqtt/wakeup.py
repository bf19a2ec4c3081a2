"""Wakes a thread that polls."""

from __future__ import annotations

import os
import threading


class Wakeup:
    """A file descriptor that is readable once `set` was called; `set` is safe at any time, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fd: int | None = None

    def open(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def set(self) -> None:
        with self._lock:
            if self._fd is not None:
                os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        os.eventfd_read(self.fileno())

    def fileno(self) -> int:
        if self._fd is None:
            raise ValueError("the wakeup is not open")
        return self._fd

    def close(self) -> None:
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

"""A handle of a foreign library that one thread uses and any thread may close."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class Guard:
    """Use as `with guard:` around each call into the library; `close` releases the handle once nobody is inside.

    Freeing a handle while another thread reads from it is a crash in most C libraries. Called while the handle is in
    use, `close` returns at once and whoever leaves last releases it.
    """

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._lock = threading.Lock()
        self._inside = False
        self._released = False
        self.closed = False

    def __enter__(self) -> None:
        with self._lock:
            assert not self._inside, "a source is used by one thread"
            self._inside = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with self._lock:
            self._inside = False
        if self.closed:
            self._release_once()

    def close(self) -> None:
        """Never blocks on the library's calls of other threads."""
        self.closed = True
        self._release_once()

    def _release_once(self) -> None:
        with self._lock:
            if self._inside or self._released:
                return
            self._released = True
        self._release()

"""What is installed for the device (driver, library, firmware, models), as a stamp that changes when any of it does.

What was refused once stays refused until something of this changes, so looking here replaces trying again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[tuple[str, int, int, int], ...]
"""Of each file that is there: its path, inode, size and time of change (ns)."""

_PATTERNS = (
    "sys/module/hailo*/version",
    "dev/hailo*",
    "usr/lib/libhailort.so*",
    "usr/lib/*/libhailort.so*",
    "usr/local/lib/libhailort.so*",
    "lib/firmware/hailo/*",
)
_MODULE = "hailo_platform/__init__.py"


class Installation:
    """Looks below `root`, and along `search_path` for the Python module."""

    def __init__(self, root: Path = Path("/"), search_path: Iterable[str] | None = None) -> None:
        self._root = root
        self._search_path = search_path

    def stamp(self, files: Iterable[Path] = ()) -> Stamp:
        """The present stamp of what is installed and of these files; what cannot be looked at is not there."""
        search = sys.path if self._search_path is None else self._search_path
        found = [path for pattern in _PATTERNS for path in self._root.glob(pattern)]
        found += [Path(folder, _MODULE) for folder in search if folder]
        return tuple(entry for path in sorted({*found, *files}) if (entry := _entry(path)) is not None)


def _entry(path: Path) -> tuple[str, int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return str(path), status.st_ino, status.st_size, status.st_mtime_ns

"""Reading of files that anybody may have written: bounded, regular, UTF-8, and errors that say what to do."""

from __future__ import annotations

import getpass
import grp
import os
import re
import shlex
import stat
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from hailod.errors import ConfigError

MAX_FILE_BYTES = 1_000_000
MAX_PASSWORD_BYTES = 4_096


def read_toml(path: Path, limit: int = MAX_FILE_BYTES) -> dict[str, Any]:
    """The tables of a TOML file. Raises ConfigError with file and reason, for bad syntax with line and column."""
    text = read_text(path, limit)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    except ValueError as error:
        what, _, position = str(error).partition(" (at ")
        found = re.match(r"line \d+, column \d+", position)
        place = found[0] if found else f"line {text.count(chr(10)) + 1} or before"
        hint = ' (text stands in "quotes")' if what == "Invalid value" else ""
        raise ConfigError(f"{path}: not valid TOML at {place}: {what[:1].lower()}{what[1:]}{hint}") from None


def read_text(path: Path, limit: int, *, follow: bool = True, private: bool = False) -> str:
    """The text of a regular UTF-8 file of at most `limit` bytes. Raises ConfigError that names file and remedy.

    Unless `follow`, a symbolic link is not read; with `private` only what others cannot read.
    """
    try:
        with open(path, "rb", opener=_open if follow else _open_itself) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path}: is not a regular file")
            if private and not _private(status):
                raise ConfigError(f"{path}: others than its owner can use it; run: chmod 600 {shlex.quote(str(path))}")
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file{'' if private else '; name another with --config'}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is not a regular file") from None
    except PermissionError:
        raise ConfigError(f"{path}: user {_user()} may not read it; see its owner and mode with ls -l") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise ConfigError(f"{path}: larger than {limit} bytes; is it the right file?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: line {line} is not UTF-8; is it the right file?") from None


def read_password(path: Path) -> str:
    """The one line of a file that others than its owner cannot read. Raises ConfigError that names file and remedy.

    A symbolic link is not read. `root:hailod` with mode 640 is as good as one's own with mode 600.
    """
    with suppress(OSError):
        # Looked at before it is read, so that the remedy comes before "permission denied"; `read_text` looks again.
        if stat.S_ISLNK(os.lstat(path).st_mode):
            raise ConfigError(f"{path}: is a symbolic link; name the file itself")
    text = read_text(path, MAX_PASSWORD_BYTES, follow=False, private=True)
    password = text.removesuffix("\n").removesuffix("\r")
    if not password.strip():
        raise ConfigError(f"{path}: is empty; write the password into it")
    if "\n" in password or "\0" in password:
        raise ConfigError(f"{path}: has more than the one line of a password; is it the right file?")
    return password


def _private(status: os.stat_result) -> bool:
    """Whether its owner alone, or root and our own group, can read it."""
    mode = stat.S_IMODE(status.st_mode)
    if not mode & 0o077:
        return True
    return status.st_uid == 0 and not mode & 0o037 and status.st_gid in _own_groups()


def _own_groups() -> set[int]:
    groups = {os.getegid()}
    with suppress(KeyError):
        groups.add(grp.getgrnam("hailod").gr_gid)
    return groups


def _open(path: str, flags: int) -> int:
    # Without O_NONBLOCK a FIFO would hold us until somebody writes to it.
    return os.open(path, flags | os.O_NONBLOCK)


def _open_itself(path: str, flags: int) -> int:
    return _open(path, flags | os.O_NOFOLLOW)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())

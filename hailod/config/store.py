"""What was set over MQTT, on disk: `<state_dir>/overrides.json`, the top layer of the settings.

    {"v":1,"revision":7,"set":{"cameras.front.threshold":0.6,"model":"yolov8m"},
     "tables":{"cameras.porch":{"source":"rtsp://..."},"cameras.back":null}}

`tables` holds what was added while hailod ran, and null for what was removed. A source may hold a password: the file is
for its owner alone, and nothing of a source is ever shown.

A file is either the one before or the one after a change, whatever ends the writer: it is written beside its place,
synced, renamed over the old one, and the folder is synced. Nothing in it is believed when it is read: `load` puts it
through the same checks as the files of `/etc`, and only settings that may be set over MQTT are looked at, so that
whoever may write here can neither point hailod at another broker, nor one of its cameras elsewhere, nor read a secret.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hailod.config.diff import ANY_NAME, KeyPath, leaves
from hailod.config.explain import Grammar
from hailod.config.files import read_text
from hailod.config.model import Reach, Settings
from hailod.errors import ConfigError, HailodError

FILE = "overrides.json"
BROKEN = f"{FILE}.broken"
VERSION = 1
# A thousand settings of names as long as they may be.
MAX_BYTES = 262_144
MAX_SET = 1_024
_MAX_REVISION = 2**53
# More than a writer that was killed again and again can have left; the rest goes at the next start.
_MAX_LEFTOVERS = 1_000

# The parts of the settings that may be set, and what may restart for that, if anything. A new part is not among them
# before somebody has thought about what a stranger could do with it.
_ROOTS = {
    "log_level": Reach.LIVE,
    "model": Reach.LIVE,
    "privacy": Reach.LIVE,
    "device": Reach.LIVE,
    "pipeline": Reach.LIVE,
    "cameras": Reach.CAMERA,
    "models": Reach.MODEL,
}

_FIXES = {
    errno.ENOSPC: "make room on the file system of {directory}",
    errno.EDQUOT: "raise the quota of the user that hailod runs as",
    errno.EFBIG: "raise the limit on the size of files (LimitFSIZE=) that hailod runs with",
    errno.EROFS: "mount the file system of {directory} writable, or set another state_dir",
    errno.EACCES: "give the folder {directory} to the user that hailod runs as",
    errno.EPERM: "give the folder {directory} to the user that hailod runs as",
    errno.ENOENT: "create {directory} for the user that hailod runs as, or set another state_dir",
    errno.ENOTDIR: "set a state_dir that is a folder",
}


class StoreError(HailodError):
    """What was set over MQTT cannot be kept; `fix` is what a person can do."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


Table = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Edit:
    """A change to what is kept: first all that lies at or below a path of `forget` goes ("" is everything), then
    `values` of leaves and whole `tables` come, of which None is one that is removed."""

    values: Mapping[str, object] = field(default_factory=dict)
    forget: tuple[str, ...] = ()
    tables: Mapping[str, Table | None] = field(default_factory=dict)

    def forgets(self, key: str) -> bool:
        return any(path in ("", key) or key.startswith(f"{path}.") for path in self.forget)


@dataclass(frozen=True, slots=True)
class Overrides:
    """The values of leaves by their dotted path, and the number of the settings they were last a part of."""

    revision: int = 1
    values: Mapping[str, object] = field(default_factory=dict)
    tables: Mapping[str, Table | None] = field(default_factory=dict)

    def changed(self, edit: Edit, revision: int) -> Overrides:
        """These with `edit` made, at `revision`."""
        values = {key: value for key, value in self.values.items() if not edit.forgets(key)}
        tables = {key: table for key, table in self.tables.items() if not edit.forgets(key)}
        return Overrides(revision, {**values, **edit.values}, {**tables, **edit.tables})

    def encode(self) -> bytes:
        """As in the file. Raises StoreError where it would not be read again."""
        if len(self.values) + len(self.tables) > MAX_SET:
            raise StoreError(f"more than {MAX_SET} settings were set over MQTT", "write some of them into hailod.toml")
        document = {"v": VERSION, "revision": self.revision, "set": dict(sorted(self.values.items()))}
        if self.tables:
            document["tables"] = dict(sorted(self.tables.items()))
        text = json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n"
        if len(text) > MAX_BYTES:
            raise StoreError(f"{FILE} would have more than {MAX_BYTES} bytes", "write some of it into hailod.toml")
        return text.encode()


@dataclass(frozen=True, slots=True)
class Found:
    """What was read; `problem` says why the file as a whole cannot be used, then there are no values."""

    overrides: Overrides = Overrides()
    problem: str = ""


class StateFile:
    """A file of the state directory that is replaced as a whole. `text` changes nothing on disk; `prepare` and
    `replace` raise StoreError, and may take as long as the disk does.

    `mode` is what others may do with it, whatever the mask of the process. Files that follow one another under changing
    names share one `temporary` prefix, so that each removes what the writer of another left behind.
    """

    def __init__(self, directory: Path, name: str, *, mode: int = 0o600, temporary: str | None = None) -> None:
        self.directory = directory
        self.name = name
        self._mode = mode
        self._temporary = temporary or f".{name}."
        self._numbers = itertools.count(1)

    @property
    def path(self) -> Path:
        return self.directory / self.name

    def text(self, max_bytes: int) -> str | None:
        """What the file holds, unchecked; None where there is none. Raises ConfigError for what is no such file."""
        try:
            os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read: {error.strerror}") from None
        return read_text(self.path, max_bytes, follow=False)

    def prepare(self, *, put_aside: bool = False) -> None:
        """Make the folder if its parent is there, and remove what a killed writer left behind.

        `put_aside`: the file cannot be used; it becomes `<name>.broken`, in the place of an earlier one.
        """
        try:
            os.mkdir(self.directory, 0o750)
        except FileExistsError:
            pass
        except OSError as error:
            raise self._refusal(error, errno.EROFS if error.errno == errno.EROFS else errno.ENOENT) from None
        try:
            with self._folder() as folder:
                for name in itertools.islice(_leftovers(folder, self._temporary), _MAX_LEFTOVERS):
                    with suppress(OSError):
                        os.unlink(name, dir_fd=folder)
                if put_aside:
                    # Whatever keeps it in its place, the next write tells.
                    with suppress(OSError):
                        os.rename(self.name, f"{self.name}.broken", src_dir_fd=folder, dst_dir_fd=folder)
                if os.fstatvfs(folder).f_flag & os.ST_RDONLY:
                    raise OSError(errno.EROFS, os.strerror(errno.EROFS))
                if not os.access(self.directory, os.W_OK | os.X_OK):
                    raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise self._refusal(error) from None

    def replace(self, data: bytes) -> None:
        """Replace the file. When this returns it is on the disk; when it raises, the file is the one before it, or,
        if only the sync of the folder failed, perhaps already this one."""
        try:
            with self._folder() as folder:
                temporary = f"{self._temporary}{os.getpid()}-{next(self._numbers)}"
                try:
                    _write_synced(folder, temporary, data, self._mode)
                    os.rename(temporary, self.name, src_dir_fd=folder, dst_dir_fd=folder)
                except OSError:
                    with suppress(OSError):
                        os.unlink(temporary, dir_fd=folder)
                    raise
                os.fsync(folder)
        except OSError as error:
            raise self._refusal(error) from None

    @contextmanager
    def _folder(self) -> Iterator[int]:
        """A descriptor of the folder: what it names stays the same while a file in it is made and renamed."""
        folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)

    def _refusal(self, error: OSError, cure_of: int | None = None) -> StoreError:
        words = _FIXES.get(cure_of or error.errno or 0, "look at the disk of {directory}")
        fix = words.format(directory=self.directory)
        return StoreError(f"{self.path} cannot be written: {error.strerror}", fix)


class Store(StateFile):
    """`overrides.json` in its folder."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, FILE)

    def read(self) -> Found:
        """What the file holds, unchecked but for its form."""
        try:
            text = self.text(MAX_BYTES)
            return Found() if text is None else Found(parse(text))
        except ConfigError as error:
            return Found(problem=str(error))
        except ValueError as error:
            return Found(problem=f"{self.path}: {error}")

    def write(self, overrides: Overrides) -> None:
        """Replace the file, as `replace` does."""
        self.replace(overrides.encode())


def parse(text: str) -> Overrides:
    """The document of a file. Raises ValueError, without anything of the text, for one that is not of our form."""
    try:
        document = json.loads(text, object_pairs_hook=unique_keys)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except json.JSONDecodeError as fault:
        raise ValueError(f"is not JSON: {fault.msg} in line {fault.lineno}") from None
    except ValueError:
        raise ValueError("is not JSON that can be used") from None
    version = document.get("v") if isinstance(document, dict) else None
    if not isinstance(version, int) or version < 1 or isinstance(version, bool):
        raise ValueError("is not a file of hailod's settings")
    if version > VERSION:
        raise ValueError(f"is of version {version}, from a later hailod; this one reads version {VERSION}")
    revision, values = document.get("revision"), document.get("set")
    if not isinstance(revision, int) or isinstance(revision, bool) or not 1 <= revision <= _MAX_REVISION:
        raise ValueError("has no revision")
    if not isinstance(values, dict):
        raise ValueError("has no table of what was set")
    tables = document.get("tables", {})
    if not isinstance(tables, dict) or not all(table is None or isinstance(table, dict) for table in tables.values()):
        raise ValueError("has no tables of what was added")
    if len(values) + len(tables) > MAX_SET:
        raise ValueError(f"sets more than {MAX_SET} things")
    return Overrides(revision, values, tables)


def may_be_set(path: KeyPath, value: object = None) -> bool:
    """Whether a leaf may be set over MQTT, and stand in the file: it takes effect while hailod runs, stopping nothing
    but its own camera or model, and neither it nor `value` names a secret, a file or a host."""
    if path[0] == "models" and path[2:] == ("labels",) and isinstance(value, str):
        return False
    return path in _settable() or (len(path) > 2 and (path[0], ANY_NAME, *path[2:]) in _settable())


def may_be_added(path: KeyPath, value: object = None) -> bool:
    """Whether a leaf may stand in a table of its own: besides what may be set, that without which there is none."""
    return path[:1] + path[2:] in {("cameras", "source"), ("models", "path")} or may_be_set(path, value)


@cache
def _settable() -> frozenset[KeyPath]:
    grammar = Grammar(Settings)
    return frozenset(
        path
        for path, reach in leaves(Settings).items()
        if path[0] in _ROOTS and reach in (Reach.LIVE, _ROOTS[path[0]]) and not grammar.is_secret(path)
    ) - {("models", ANY_NAME, "path")}


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`: a table in which no key occurs twice; ValueError otherwise."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key occurs twice")
    return document


def _leftovers(folder: int, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(prefix)]
    yield from names


def _write_synced(folder: int, name: str, data: bytes, mode: int) -> None:
    """Make a new file of that name and have it on the disk. A link that lies in wait there is not followed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        if mode != 0o600:
            os.fchmod(file, mode)
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    finally:
        os.close(file)

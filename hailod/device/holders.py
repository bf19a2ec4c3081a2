"""Who holds the device: found among the open files of all processes, as far as this user may look into them.

A real device is held by whoever has /dev/hailo* open; the simulated one by whoever owns its name, an abstract socket.
Of a program its number and name are told, never its arguments, which may hold secrets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from hailod.clock import Clock
from hailod.config.model import DeviceSettings

log = structlog.get_logger(__name__)

# Of more processes, and beyond so much time, the search is given up: the control thread waits for it.
MAX_PROCESSES = 4096
BUDGET_S = 0.02
# A device that is in use is tried again and again; who holds it does not change as often.
KEEP_S = 5.0

_DEVICE_FILES = ("/dev/hailo", "/dev/h1x-")
_HOST_MODULE = b"hailod.device.host"
_OWN_NAME = "hailod"
_MAX_NAME = 32
_LISTED = 3
# HailoRT's words for a device that another program holds, and for one that is held or missing.
_IN_USE = 73
_OUT_OF_DEVICES = 74


HELD = "held by"


@dataclass(frozen=True, slots=True, order=True)
class Holder:
    """A process that holds the device; `name` is what the kernel calls it, `hailod` for a device host of a daemon."""

    pid: int
    name: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What a search found. `hidden`: there were processes that this user may not look into; `rest`: those with lower
    numbers than this were not looked at, because there were too many."""

    holders: tuple[Holder, ...] = ()
    hidden: bool = False
    rest: int | None = None


def find_holders(
    device: DeviceSettings, clock: Clock, *, own: int = 0, below: int | None = None, proc: Path = Path("/proc")
) -> Survey:
    """Look through the processes, the youngest first, for those that hold the device; `own` is left out.

    Takes BUDGET_S and little more; `below` goes on with the `rest` of a search that was given up. Processes that end
    meanwhile are passed over.
    """
    wanted = _links(device, proc)
    if not wanted:
        return Survey()
    deadline = clock.monotonic() + BUDGET_S
    holders: list[Holder] = []
    hidden = False
    try:
        pids = [int(name) for name in os.listdir(proc) if name.isdecimal()]
    except OSError as error:
        log.debug("processes cannot be listed", reason=error.strerror)
        return Survey(hidden=True)
    pids = sorted((pid for pid in pids if below is None or pid < below), reverse=True)
    for looked, pid in enumerate(pids):
        if looked >= MAX_PROCESSES or clock.monotonic() > deadline:
            return Survey(tuple(sorted(holders)), hidden, rest=pid + 1)
        if pid == own:
            continue
        try:
            held = any(link.startswith(wanted) for link in _open_files(f"{proc}/{pid}/fd"))
        except PermissionError:
            hidden = True
            continue
        if held:
            holders.append(Holder(pid, _name(proc / str(pid))))
    return Survey(tuple(sorted(holders)), hidden)


def describe_holders(survey: Survey) -> str:
    """`held by python3 (pid 4242)`; without a holder, where one may be hidden, how to see it; otherwise nothing."""
    if survey.holders:
        named = [f"{holder.name} (pid {holder.pid})" for holder in survey.holders[:_LISTED]]
        more = len(survey.holders) - len(named)
        return f"{HELD} {', '.join(named)}" + (f" and {more} more" if more else "")
    if survey.hidden or survey.rest is not None:
        return "who holds it is not visible to this user: sudo fuser -v /dev/hailo0"
    return ""


class HolderLookup:
    """`describe` for whoever meets a device in use again and again: what was found is kept for KEEP_S."""

    def __init__(self, device: DeviceSettings, clock: Clock, *, proc: Path = Path("/proc")) -> None:
        self._device = device
        self._clock = clock
        self._proc = proc
        self._found = Survey()
        self._found_at: float | None = None

    def describe(self, status: int | None, *, own: int = 0) -> str:
        """Who holds the device, when HailoRT's `status` says that somebody may; else, and if nobody is known to,
        nothing."""
        if status not in (_IN_USE, _OUT_OF_DEVICES):
            return ""
        now = self._clock.monotonic()
        if self._found_at is None or now - self._found_at >= KEEP_S:
            below = None if self._found.holders else self._found.rest
            self._found = find_holders(self._device, self._clock, own=own, below=below, proc=self._proc)
            self._found_at = now
        # A device that may just as well be missing is not said to be held by somebody whom nobody can see.
        return describe_holders(self._found) if self._found.holders or status == _IN_USE else ""


def _links(device: DeviceSettings, proc: Path) -> tuple[str, ...]:
    """How the open files that hold the device read in /proc; none when nobody can hold it."""
    if device.backend == "simulated":
        # As `hailod.simulator` names it; the kernel writes the leading zero byte of an abstract name as @.
        name = f"@hailod-simulator/{os.getuid()}/{device.simulated.serial}"
        return tuple(f"socket:[{inode}]" for inode in _sockets(proc / "net" / "unix", name))
    return _DEVICE_FILES


def _sockets(table: Path, name: str) -> Iterator[str]:
    """The inodes of the sockets of this name."""
    try:
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        log.debug("sockets cannot be listed", reason=error.strerror)
        return
    for line in lines:
        # Num RefCount Protocol Flags Type St Inode Path
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7] == name:
            yield fields[6]


def _open_files(folder: str) -> Iterator[str]:
    """What each open file of a process is. Raises PermissionError for a process of somebody else."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return
    for name in names:
        try:
            yield os.readlink(f"{folder}/{name}")
        except (FileNotFoundError, ProcessLookupError):
            continue


def _name(process: Path) -> str:
    """The kernel's name of a process, as far as it can be shown."""
    try:
        if _HOST_MODULE in (process / "cmdline").read_bytes().split(b"\0"):
            return _OWN_NAME
        name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "a program"
    return "".join(character for character in name if character.isprintable())[:_MAX_NAME] or "a program"

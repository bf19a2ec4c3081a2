"""What a test left behind: processes, file descriptors, shared mappings, threads.

Take a `census()` before a test and ask for its `leftovers()` afterwards. The test process becomes the reaper of all its
descendants, so that a grandchild whose parent died is still found. What ends by itself has a moment to do so: nothing
is reported that is gone after `SETTLE` seconds.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SETTLE = 3.0

PR_SET_CHILD_SUBREAPER = 36

# Descriptors that a library opens once for the life of the process, by what they point to.
LIBRARY_DESCRIPTORS = {
    "/dev/urandom": "random number generators of C libraries keep it open",
}


@dataclass(frozen=True, slots=True, order=True)
class Process:
    """A process of one life: its id together with when it started, as ids are used again."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True, order=True)
class Descriptor:
    """An open file descriptor and what it points to."""

    number: int
    target: str


@dataclass(frozen=True, slots=True)
class Census:
    """All that a test could leave behind, at one moment."""

    processes: frozenset[Process]
    descriptors: frozenset[Descriptor]
    mappings: frozenset[str]
    threads: frozenset[int]

    def since(self, before: Census) -> Census:
        """What is here and was not there before."""
        return Census(
            self.processes - before.processes,
            self.descriptors - before.descriptors,
            self.mappings - before.mappings,
            self.threads - before.threads,
        )

    def __bool__(self) -> bool:
        return bool(self.processes or self.descriptors or self.mappings or self.threads)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for process in sorted(self.processes):
            yield f"process {process.pid}: {_describe(process.pid)}"
        for descriptor in sorted(self.descriptors):
            yield f"file descriptor {descriptor.number}: {descriptor.target}"
        for mapping in sorted(self.mappings):
            yield f"shared mapping: {mapping}"
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        for tid in sorted(self.threads):
            yield f"thread {tid}: {names.get(tid, 'not of the threading module (native code or _thread)')}"


def become_reaper() -> None:
    """Make this process the parent of descendants whose own parent died (PR_SET_CHILD_SUBREAPER)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def census() -> Census:
    """Count what this process holds now."""
    return Census(
        processes=frozenset(_descendants("self")),
        descriptors=frozenset(_descriptors()),
        mappings=frozenset(_memfd_mappings()),
        threads=frozenset(int(tid) for tid in os.listdir("/proc/self/task")),
    )


def leftovers(before: Census, *, settle: float = SETTLE) -> Census:
    """What is here since `before` and did not go away by itself within `settle` seconds."""
    deadline = time.monotonic() + settle
    pause = 0.001
    while left := census().since(before):
        # Buffers and sockets held by a reference cycle are garbage, not leaks.
        gc.collect()
        if time.monotonic() >= deadline:
            return left
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
    return left


def end_processes(processes: Iterable[Process], *, timeout: float = 5.0) -> None:
    """Kill and reap descendants, and those of theirs that come to us by it."""
    deadline = time.monotonic() + timeout
    remaining = set(processes)
    while remaining and time.monotonic() < deadline:
        for process in remaining:
            _kill(process)
        heirs = {heir for process in remaining for heir in _descendants(str(process.pid))}
        remaining = {process for process in remaining | heirs if not _reap(process)}
        time.sleep(0.005 if remaining else 0)


def _descendants(pid: str) -> Iterator[Process]:
    """All below `pid`, zombies included."""
    for task in _listdir(f"/proc/{pid}/task"):
        for child in _read(f"/proc/{pid}/task/{task}/children").split():
            started = _started(child)
            if started is not None:
                yield Process(int(child), started)
                yield from _descendants(child)


def _descriptors() -> Iterator[Descriptor]:
    for number in _listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue  # the descriptor of this very listing
        if target not in LIBRARY_DESCRIPTORS:
            yield Descriptor(int(number), target)


def _memfd_mappings() -> Iterator[str]:
    """Mappings of memfds, which outlive their descriptor; one that nobody ever touched goes unnoticed."""
    # The list of mappings costs 2 ms to read, the resident size of the shared ones 0.05 ms.
    if _read("/proc/self/status").partition("RssShmem:")[2].split(maxsplit=1)[:1] == ["0"]:
        return
    for line in _read("/proc/self/maps").splitlines():
        if "/memfd:" in line:
            _range, _permissions, _offset, _device, inode, path = line.split(maxsplit=5)
            yield f"{path} inode {inode}"


def _started(pid: str) -> int | None:
    stat = _read(f"/proc/{pid}/stat")
    # The name in brackets may hold anything; the fields after it are numbered from 3 on in proc(5), start time is 22.
    return int(stat.rpartition(")")[2].split()[19]) if stat else None


def _describe(pid: int) -> str:
    command = _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    state = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()[:1]
    return "zombie" if state == ["Z"] else command or "gone by now"


def _kill(process: Process) -> None:
    if _started(str(process.pid)) == process.started:
        os.kill(process.pid, signal.SIGKILL)


def _reap(process: Process) -> bool:
    """Whether the process is gone; collects it if it is a dead child of ours."""
    try:
        os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return _started(str(process.pid)) != process.started
    return _started(str(process.pid)) != process.started


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, ProcessLookupError):
        return []


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""

"""All that could grow, counted at one moment."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from tests.benchmarks.machine import rss_mb


class Counted(Protocol):
    """What must be asked of the engine itself."""

    @property
    def host(self) -> int:
        """The process id of the device host, 0 for none."""

    @property
    def slots(self) -> tuple[int, int]:
        """How many slots are free, and how many there are."""

    @property
    def waiting(self) -> int:
        """How many messages wait in the outbox."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Figures at `at` seconds. Memory is MB: resident, and proportional, as daemon and host share slots."""

    at: float
    rss_mb: float
    pss_mb: float
    host_pss_mb: float
    threads: int
    descriptors: int
    children: int
    mappings: int
    free_slots: int
    slots: int
    outbox: int

    @property
    def missing_slots(self) -> int:
        """Slots that nobody has and that are not free."""
        return self.slots - self.free_slots

    def document(self) -> dict[str, float]:
        return asdict(self)


def sample(at: float, counted: Counted) -> Sample:
    """Count now."""
    free, slots = counted.slots
    tasks = os.listdir("/proc/self/task")
    children = sum(len(_read(f"/proc/self/task/{task}/children").split()) for task in tasks)
    return Sample(
        at=round(at, 1),
        rss_mb=rss_mb(),
        pss_mb=pss_mb("self"),
        host_pss_mb=pss_mb(str(counted.host)),
        threads=len(tasks),
        descriptors=len(os.listdir("/proc/self/fd")),
        children=children,
        mappings=_read("/proc/self/maps").count("/memfd:"),
        free_slots=free,
        slots=slots,
        outbox=counted.waiting,
    )


def pss_mb(pid: str) -> float:
    """The proportional set size of a process, 0 for one that is gone.

    Without pages of files: those of libraries are shared with whatever else runs, and count for more when that ends.
    """
    figures = dict(line.split()[:2] for line in _read(f"/proc/{pid}/smaps_rollup").splitlines()[1:])
    return sum(int(figures.get(name, 0)) for name in ("Pss_Anon:", "Pss_Shmem:")) / 1024


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""

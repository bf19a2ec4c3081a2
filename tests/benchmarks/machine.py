"""What a benchmark must know of the machine it runs on: how much of it was stolen, and what a process used."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Steal:
    """Share of the machine's time that the hypervisor gave to others, read from /proc/stat at both ends of a run."""

    stolen: int
    total: int

    @staticmethod
    def now() -> Steal:
        fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return Steal(fields[7], sum(fields))

    def percent_until_now(self) -> float:
        later = Steal.now()
        return 100.0 * (later.stolen - self.stolen) / max(later.total - self.total, 1)


def cpu_seconds(pid: int | None = None) -> float:
    """User and system time of a process (None: this one), all of its threads."""
    if pid is None:
        return time.process_time()
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int | str = "self") -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20

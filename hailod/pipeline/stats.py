"""How fast and how late: counts and latencies of the results since they were last read."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hailod.pipeline.results import Timing

# At 500 results a second this is 8 s; of longer intervals the last part is what is told.
SAMPLES = 4096
PARTS = ("total", "waiting", "device", "host")
# What a recording holds at most: a minute at 800 results a second.
MAX_RECORDED = 50_000


@dataclass(frozen=True, slots=True)
class Recording:
    """Every frame of some time: its camera, when it was captured (monotonic), and the seconds of each of PARTS.

    `left_out` counts those beyond MAX_RECORDED.
    """

    frames: Sequence[tuple[str, float, tuple[float, ...]]]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened between two readings. Latencies are milliseconds, percentiles by name; empty without results."""

    seconds: float
    results: int
    batches: int
    by_camera: Mapping[str, int]
    latency_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        return self.results / self.seconds if self.seconds > 0 else 0.0

    @property
    def batch_mean(self) -> float:
        return self.results / self.batches if self.batches else 0.0

    def camera_fps(self, camera: str) -> float:
        return self.by_camera.get(camera, 0) / self.seconds if self.seconds > 0 else 0.0


class Stats:
    """Collects timings from the results thread; `read` may be called by any other.

    `overtaken` counts results that were not told, because a newer frame's was there first.
    """

    def __init__(self, now: float) -> None:
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, float, float, float]] = deque(maxlen=SAMPLES)
        self._last_ended = 0.0
        self._record: list[tuple[str, float, tuple[float, ...]]] | None = None
        self._left_out = 0
        self.overtaken = 0
        self._clear(now)

    def add(self, camera: str, timing: Timing) -> None:
        """One frame is finished."""
        parts = (timing.total, timing.waiting, timing.device, timing.host)
        with self._lock:
            self._samples.append(parts)
            if self._record is not None and len(self._record) < MAX_RECORDED:
                self._record.append((camera, timing.captured, parts))
            elif self._record is not None:
                self._left_out += 1
            self._results += 1
            self._cameras[camera] += 1
            # Frames of one batch come one after the other and share the moment at which it ended.
            self._batches += timing.ended != self._last_ended
            self._last_ended = timing.ended

    def record(self) -> None:
        """Keep the timings of each frame from now on, until `recorded`; beside what `read` tells."""
        with self._lock:
            self._record, self._left_out = [], 0

    def recorded(self) -> Recording:
        """What was kept since `record`; nothing more is."""
        with self._lock:
            frames, self._record = self._record or [], None
            return Recording(frames, self._left_out)

    def read(self, now: float) -> Interval:
        """What happened since the last reading, and begin anew."""
        with self._lock:
            count, batches, cameras, since = self._results, self._batches, dict(self._cameras), self._since
            samples = list(self._samples)
            self._clear(now)
        latency: dict[str, dict[str, float]] = {}
        if count:
            for name, percentiles in zip(PARTS, np.percentile(samples, (50, 95, 99), axis=0).T * 1000, strict=True):
                latency[name] = dict(zip(("p50", "p95", "p99"), (float(value) for value in percentiles), strict=True))
        return Interval(now - since, count, batches, cameras, latency)

    def _clear(self, now: float) -> None:
        self._since = now
        self._samples.clear()
        self._results = self._batches = 0
        self._cameras: Counter[str] = Counter()


class Rate:
    """Events a second, over windows of at least two seconds; what it says ages to 0 when none come."""

    WINDOW = 2.0

    def __init__(self) -> None:
        self._since: float | None = None
        self._count = 0
        self._value = 0.0

    def add(self, now: float) -> None:
        """One event."""
        if self._since is None:
            self._since = now
            return
        self._count += 1
        if now - self._since >= self.WINDOW:
            self._value = self._count / (now - self._since)
            self._since, self._count = now, 0

    def value(self, now: float) -> float:
        """The rate of the last full window, or what the present one has come to if it grows long."""
        if self._since is None:
            return 0.0
        elapsed = now - self._since
        return self._count / elapsed if elapsed > 2 * self.WINDOW else self._value

"""What the results say to the world: detections per frame, and each camera's state when it changes.

`publish` runs on the results thread, so it only builds small documents and stores them in the outbox.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from hailod.clock import Clock, Timeline
from hailod.mqtt import payloads
from hailod.mqtt.outbox import CAMERA_STATE, Outbox
from hailod.mqtt.topics import Topics
from hailod.pipeline.results import Result
from hailod.pipeline.scene import Scene
from hailod.pipeline.stats import Rate, Stats


@dataclass(slots=True, eq=False)
class _Camera:
    scene: Scene
    # Monotonic; None while results come. Before the first one nothing is known, which is not an empty scene.
    stale_since: float | None
    model: str | None = None
    rate: Rate = field(default_factory=Rate)
    last_result: float | None = None
    # When the newest frame was captured of which the result was told.
    newest: float = 0.0
    next_detections: float = 0.0
    # Nothing of what it shows may be told.
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What a camera's newest frame, of `at` (Unix seconds), makes of its counts by label."""

    objects: Mapping[str, int]
    at: float


class Publisher:
    """Scenes and rates of all cameras. `publish` is the results thread's, the rest the control thread's."""

    def __init__(self, outbox: Outbox, topics: Topics, clock: Clock, stats: Stats) -> None:
        self._outbox = outbox
        self._topics = topics
        self._clock = clock
        self._timeline = Timeline(clock)
        self._stats = stats
        self._lock = threading.Lock()
        self._cameras: dict[str, _Camera] = {}
        self._detections_max_hz = 0.0

    def configure(self, detections_max_hz: float) -> None:
        """How often detections of each camera are sent, at most; 0: never."""
        self._detections_max_hz = detections_max_hz

    def add(self, camera: str, labels: list[str]) -> None:
        """Begin (again) with an empty scene; `labels` are counted even when there are none."""
        with self._lock:
            self._cameras[camera] = _Camera(Scene(labels), self._clock.monotonic())

    def mute(self, camera: str, *, muted: bool) -> None:
        """Tell nothing of what the camera shows from now on, results that are on their way included; or tell it again.

        The counts from before stay, and are stale.
        """
        now = self._clock.monotonic()
        with self._lock:
            entry = self._cameras.get(camera)
            if entry is None or entry.muted == muted:
                return
            entry.muted = muted
            if muted and entry.stale_since is None:
                entry.stale_since = now
            # What is under way was captured before the switch was turned back, and stays untold.
            entry.newest = max(entry.newest, now)
        self.publish_state(camera)

    def remove(self, camera: str) -> None:
        """Forget a camera, here and at the broker."""
        with self._lock:
            self._cameras.pop(camera, None)
        self._outbox.forget(self._topics.camera(camera).state)

    def publish(self, result: Result) -> None:
        """One frame is finished: note it, send its detections if it is their turn, and the counts if they changed."""
        now = result.timing.finished
        self._stats.add(result.frame.camera, result.timing)
        seen = Counter(result.lane.label(int(class_id)) for class_id in result.detections.classes)
        with self._lock:
            camera = self._cameras.get(result.frame.camera)
            if camera is None or camera.muted:
                return
            if result.frame.captured < camera.newest:
                # A frame that was sent again: what it shows is older than what was told.
                self._stats.overtaken += 1
                return
            camera.newest = result.frame.captured
            before = camera.scene.counts()
            camera.scene.see(seen, now)
            first = camera.stale_since is not None
            camera.model = result.lane.name
            camera.last_result = now
            camera.stale_since = None
            camera.rate.add(now)
            changed = first or camera.scene.counts() != before
            send = self._detections_max_hz > 0 and now >= camera.next_detections
            if send:
                # On a grid of its own, so that a camera's own rhythm does not halve the rate.
                period = 1.0 / self._detections_max_hz
                camera.next_detections = max(camera.next_detections + period, now)
        if send:
            document = _detections(result)
            self._outbox.stream(self._topics.camera(result.frame.camera).detections, document, self._detections_max_hz)
        if changed:
            self.publish_state(result.frame.camera)

    def last_result(self, camera: str) -> float | None:
        """When the camera's last result came, monotonic; None before the first."""
        with self._lock:
            entry = self._cameras.get(camera)
            return entry.last_result if entry else None

    def seen(self, camera: str) -> Seen | None:
        """The camera's counts; None where they are not fresh, and nothing can be said."""
        with self._lock:
            entry = self._cameras.get(camera)
            if entry is None or entry.stale_since is not None:
                return None
            return Seen(entry.scene.counts(), self._timeline.wall(entry.newest))

    def mark_stale(self, camera: str, since: float) -> None:
        """The camera's counts are old since then (monotonic), until its next result: nothing else makes them fresh."""
        with self._lock:
            entry = self._cameras.get(camera)
            if entry is None or entry.stale_since is not None:
                return
            entry.stale_since = since
        self.publish_state(camera)

    def publish_state(self, camera: str) -> None:
        """Tell the camera's state; the outbox keeps back what has not changed."""
        with self._lock:
            entry = self._cameras.get(camera)
            if entry is None:
                return
            objects = entry.scene.counts()
            document = payloads.camera_state(
                ts=self._clock.wall(),
                fps=entry.rate.value(self._clock.monotonic()),
                stale=None if entry.stale_since is None else self._timeline.wall(entry.stale_since),
                model=entry.model,
                labels=list(objects),
                objects=objects,
            )
        self._outbox.state(self._topics.camera(camera).state, document, CAMERA_STATE)


def _detections(result: Result) -> payloads.Payload:
    frame = result.frame
    return payloads.detections(
        ts=frame.wall,
        frame=frame.number,
        model=result.lane.name,
        width=frame.picture.width,
        height=frame.picture.height,
        latency_ms=result.timing.total * 1000,
        found=result.detections,
        labels=result.lane.manifest.labels,
    )

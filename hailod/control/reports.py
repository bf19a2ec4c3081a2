"""How things stand, as MQTT documents: identity, health, metrics, settings, models."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hailod import logs
from hailod.clock import Clock, Timeline
from hailod.config.model import MqttSettings, Settings
from hailod.control.log_topic import LogTopic
from hailod.health import Code, Health
from hailod.mailbox import Outcome, Snapshot
from hailod.mqtt import payloads, schema
from hailod.mqtt.commands import MAX_BYTES
from hailod.mqtt.outbox import HEALTH, Outbox
from hailod.mqtt.topics import Topics
from hailod.pipeline.engine import Engine, ModelPlan
from hailod.pipeline.stats import Stats
from hailod.version import VERSION

COMMAND_QUEUE = 16
# What of health may grow with the number of cameras, so that it stays below what a document may have: the reasons in
# bytes, the rest is told as `more`; and so many cameras whose books are told one by one.
REASON_BYTES = 9_000
MAX_BOOKS = 16
_CPU_TEMPERATURE = Path("/sys/class/thermal/thermal_zone0/temp")
_LOST = (Outcome.SUPERSEDED, Outcome.EXPIRED, Outcome.FAILED, Outcome.ABANDONED)


@dataclass(frozen=True, slots=True)
class Connection:
    """What is told of the connection to the broker. `flooded` counts messages from it that found the inbox full."""

    protocol: int | None
    reconnects: int
    flooded: int = 0


# What commands can do beside changing settings, for those who ask before they offer it.
FEATURES = ("privacy", "profile", "snapshot")


class Reports:
    """Builds the node's documents and puts them into the outbox. Used by the control thread."""

    def __init__(
        self,
        *,
        topics: Topics,
        clock: Clock,
        outbox: Outbox,
        engine: Engine,
        health: Health,
        stats: Stats,
        instance: str,
        connection: Callable[[], Connection],
        fps_in: Callable[[], Mapping[str, float]],
    ) -> None:
        self._topics = topics
        self._clock = clock
        self._outbox = outbox
        self._engine = engine
        self._health = health
        self._stats = stats
        self._instance = instance
        self._connection = connection
        self._fps_in = fps_in
        self._started = clock.monotonic()
        self._timeline = Timeline(clock)
        self._log = LogTopic(topics, clock, outbox)
        self._schemas = schema.documents(topics.base, [str(code) for code in Code])
        # Those of an earlier run may still be there.
        self._schemas_told = True
        self._cpu_before = (clock.monotonic(), time.process_time(), 0.0)

    def clock_synced(self, synced: bool) -> None:
        """From now on documents say, or no longer say, that their `ts` comes from a clock that is not set."""
        self._outbox.clock_synced = synced

    def configure(self, settings: MqttSettings) -> None:
        """What beside the documents is told: their schemas, and lines of the log."""
        self._log.configure(settings.log)
        for name, document in self._schemas.items():
            if settings.schemas:
                self._outbox.state(self._topics.schema(name), document)
            elif self._schemas_told:
                self._outbox.forget(self._topics.schema(name))
        self._schemas_told = settings.schemas

    def log(self) -> None:
        """`N/log`: the lines that came since the last time, if they are wanted."""
        self._log.tick()

    def info(self, settings: Settings) -> None:
        """`N/info`: at the start, and when the device, its host, the cameras or the clock change."""
        control = settings.mqtt.allow_control
        document = payloads.info(
            node=settings.node,
            version=VERSION,
            instance=self._instance,
            started_at=self._timeline.wall(self._started),
            clock_synced=self._outbox.clock_synced,
            device=self.identity(settings),
            cameras=sorted(settings.cameras),
            features=["control", *FEATURES] if control else [],
            limits={
                "cmd_bytes": MAX_BYTES if control else 0,
                "cmd_queue": COMMAND_QUEUE if control else 0,
                "detections_max_hz": 30,
            },
            protocol=self._connection().protocol,
            response_prefixes=self._topics.response_prefixes,
        )
        self._outbox.state(self._topics.info, document)

    def repeat_states(self) -> None:
        """Everything that is retained once more, unchanged."""
        self._outbox.repeat_all()

    def health(self) -> None:
        """`N/health`: the outbox keeps back what has not changed for a minute."""
        self._outbox.state(self._topics.health, self.health_document(), HEALTH)

    def health_document(self) -> payloads.Payload:
        """What `N/health` says now."""
        snapshot = self._health.snapshot()
        reasons = _first([reason.document(self._timeline.wall) for reason in snapshot.reasons], REASON_BYTES)
        connection = self._connection()
        dropped, losses = self._outbox.dropped, self._outbox.losses
        if connection.flooded:
            dropped["inbound"], losses["inbound"] = connection.flooded, {"overflow": connection.flooded}
        document = payloads.health(
            ts=self._clock.wall(),
            state=snapshot.state.value,
            reasons=reasons,
            uptime_s=self._clock.monotonic() - self._started,
            device_restarts=self._engine.link.restarts,
            reconnects=connection.reconnects,
            dropped=dropped,
            losses=losses,
        )
        if more := snapshot.hidden + len(snapshot.reasons) - len(reasons):
            document["more"] = more
        books = self._engine.mailboxes.snapshot()
        return {**document, "frames": _books(books)}

    def settings(self, settings: Settings, revision: int, *, lent: bool = False, pending: str | None = None) -> None:
        """`N/settings` and every `C/settings`."""
        document = payloads.settings(revision=revision, settings=settings, lent=lent, pending=pending)
        self._outbox.state(self._topics.settings, document)
        for camera in settings.cameras:
            self.camera_settings(settings, revision, camera)

    def camera_settings(self, settings: Settings, revision: int, camera: str) -> None:
        """`C/settings`."""
        model = settings.model_of(camera)
        document = payloads.camera_settings(
            revision=revision, camera=settings.cameras[camera], models=[model] if model else []
        )
        self._outbox.state(self._topics.camera(camera).settings, document)

    def repeat_settings(self, settings: Settings) -> None:
        """`N/settings` and every `C/settings` once more, unchanged."""
        for topic in (self._topics.settings, *(self._topics.camera(name).settings for name in settings.cameras)):
            self._outbox.repeat(topic)

    def models(self, plans: Mapping[str, ModelPlan]) -> None:
        """`N/models`: what is configured, and what of it is loaded."""
        self._outbox.state(self._topics.models, self.models_document(plans))

    def models_document(self, plans: Mapping[str, ModelPlan]) -> payloads.Payload:
        """What `N/models` says now."""
        sessions = self._engine.sessions
        arch = str(self._engine.link.identity.get("arch") or "") or None
        entries = []
        for name, plan in sorted(plans.items()):
            session = sessions.get(name)
            entries.append(
                payloads.ModelEntry(
                    name=name,
                    arch=arch if session else None,
                    task="detect",
                    input=session.tensors.inputs[0].shape if session else (),
                    labels=len(plan.manifest.labels),
                    loaded=session is not None,
                    sha256=None,
                    bytes=_size(plan.path),
                )
            )
        return payloads.models(entries)

    def metrics(self, settings: Settings) -> None:
        """`N/metrics`: what happened since the last time."""
        now = self._clock.monotonic()
        interval = self._stats.read(now)
        latency = interval.latency_ms.get("total", {})
        books = self._engine.mailboxes.snapshot()
        fps_in = self._fps_in()
        telemetry = self._engine.link.telemetry
        document = payloads.metrics(
            ts=self._clock.wall(),
            interval_s=interval.seconds,
            fps=interval.fps,
            latency_ms=(latency.get("p50"), latency.get("p95"), latency.get("p99")),
            batch_mean=interval.batch_mean,
            queue_depth=sum(pair.waiting for pair in books.pairs.values()),
            frames_total=sum(camera.captured for camera in books.cameras.values()),
            frames_dropped_total=sum(pair.ended.get(why, 0) for pair in books.pairs.values() for why in _LOST),
            device={"temp_c": telemetry["temp_c"]},
            host=self._host(now, telemetry),
            cameras={
                name: payloads.CameraRates(fps_in.get(name), interval.camera_fps(name), _dropped(books, name))
                for name in settings.cameras
            },
            faults={
                "conditions_total": self._health.counts(),
                "rungs_total": self._engine.link.climbed,
                "frames_lost_total": self._engine.results.lost,
                "results_total": {"overtaken": self._stats.overtaken},
                "frames_retried_total": {
                    f"{camera}/{model}": pair.retried for (camera, model), pair in books.pairs.items() if pair.retried
                },
            },
        )
        self._outbox.stream(self._topics.metrics, {**document, "log": logs.tally()}, 1.0)

    def identity(self, settings: Settings) -> payloads.DeviceIdentity:
        """What accelerator this is, as far as it is known."""
        identity = {key: str(value) for key, value in self._engine.link.identity.items() if value}
        return payloads.DeviceIdentity(
            simulated=settings.device.backend == "simulated",
            **{key: identity.get(key) for key in ("arch", "name", "firmware", "serial_tail", "hailort")},
        )

    def _host(self, now: float, telemetry: Mapping[str, float | None]) -> dict[str, float | None]:
        """CPU of both processes since the last time, in per cent of one core; memory; the host's own temperature."""
        cpu, device_cpu = time.process_time(), telemetry["cpu_s"] or 0.0
        then, cpu_then, device_then = self._cpu_before
        self._cpu_before = (now, cpu, device_cpu)
        elapsed = max(now - then, 1e-3)
        return {
            "cpu_pct": 100 * (cpu - cpu_then) / elapsed,
            "device_host_cpu_pct": 100 * max(device_cpu - device_then, 0.0) / elapsed,
            "rss_mb": _rss_mb(),
            "device_host_rss_mb": telemetry["rss_mb"],
            "temp_c": _cpu_temperature(),
        }


def _first(entries: list[dict[str, object]], limit: int) -> list[dict[str, object]]:
    """As many of the entries as fit into `limit` bytes of JSON."""
    sizes = itertools.accumulate(len(json.dumps(entry, ensure_ascii=False).encode()) for entry in entries)
    return [entry for entry, size in zip(entries, sizes, strict=True) if size <= limit]


def _books(books: Snapshot) -> dict[str, object]:
    """The conservation of frames as people can check it: per camera, and per camera and model; of many their sums."""
    if max(len(books.cameras), len(books.pairs)) > MAX_BOOKS:
        ended = Counter[str]()
        for pair in books.pairs.values():
            ended.update(pair.ended)
        return {
            "balanced": books.balanced,
            "captured": sum(camera.captured for camera in books.cameras.values()),
            "offered": sum(pair.offered for pair in books.pairs.values()),
            **ended,
            "in_flight": sum(pair.in_flight for pair in books.pairs.values()),
        }
    return {
        "balanced": books.balanced,
        "cameras": {
            name: {"captured": c.captured, "offered": c.offered, "skipped": dict(c.skipped)}
            for name, c in books.cameras.items()
        },
        "models": {
            f"{camera}/{model}": {"offered": pair.offered, **pair.ended, "in_flight": pair.in_flight}
            for (camera, model), pair in books.pairs.items()
        },
    }


def _dropped(books: Snapshot, camera: str) -> int:
    return sum(pair.ended.get(why, 0) for (name, _), pair in books.pairs.items() if name == camera for why in _LOST)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _rss_mb() -> float:
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * 4096 / 2**20


def _cpu_temperature() -> float | None:
    try:
        return int(_CPU_TEMPERATURE.read_text()) / 1000
    except (OSError, ValueError):
        return None

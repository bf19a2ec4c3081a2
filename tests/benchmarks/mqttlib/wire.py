"""Hostile messages through a real broker to the real daemon, with two cameras at work."""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from hailod.mqtt import commands
from hailod.mqtt.session import MAX_PAYLOAD
from hailod.mqtt.topics import HOME_ASSISTANT_STATUS, Kind, Topics
from tests.benchmarks.faultlib.recorder import retained_by
from tests.benchmarks.mqttlib.corpus import CODES, Hostile, Names, stream
from tests.benchmarks.mqttlib.stage import Heard, Stage
from tests.support.daemon import BASE, NODE
from tests.support.models import sees_two
from tests.support.waiting import wait_for

TOPICS = Topics(NODE)
NAMES = Names(TOPICS, ("front", "back"), ("one", "two"))
CAMERA = 'source = "synthetic:?size=320x240&fps=20"\n'
MODELS = '[models.one]\npath = "one.sim.toml"\n[models.two]\npath = "two.sim.toml"\n'
# Fewer than wait in the daemon's inbox, so that none is dropped for want of room.
WINDOW = 24
CHUNK = 200
# What a broker passes on to the daemon, by what the daemon asked it.
MAX_PACKET = 65_536
PATIENCE_S = 20.0


@dataclass(slots=True)
class Window:
    """Inference as the metrics of some seconds tell it: medians."""

    fps: float
    p99_ms: float
    seconds: int

    @staticmethod
    def of(metrics: list[Mapping[str, Any]]) -> Window:
        latencies = [m["latency_ms"]["p99"] for m in metrics if m["latency_ms"]["p99"] is not None]
        return Window(statistics.median(m["fps"] or 0.0 for m in metrics), statistics.median(latencies), len(metrics))


@dataclass(slots=True)
class Siege:
    """What came of it all."""

    accounted: int = 0
    flooded: int = 0
    withheld: int = 0
    guarded: int = 0
    beyond: int = 0
    flood_s: float = 0.0
    calm: Window | None = None
    beside: Window | None = None
    flood: Window | None = None
    answers: Counter[str] = field(default_factory=Counter)
    replies_in_flood: int = 0
    left_retained: int = 0
    log_lines: int = 0
    rss_before: float = 0.0
    rss_peak: float = 0.0
    rss_after: float = 0.0
    answers_after_s: float = 0.0
    event_after_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def complain(self, text: str) -> None:
        if len(self.problems) < 50:
            self.problems.append(text)


def besiege(paced: int, accounted: int, flooded: int, seed: int, *, seconds: int) -> Siege:
    """`paced` and `accounted` messages of which each answer is awaited, the former slowly; then a flood of `flooded`
    that lasts `seconds` at least."""
    siege = Siege()
    models = {"one.sim.toml": sees_two(96, 128), "two.sim.toml": sees_two(96, 128)}
    kept = (f"{BASE}/reply/", "hailod/client/", f"{BASE}/metrics", f"{BASE}/settings", f"{BASE}/models", f"{BASE}/info")

    def keep(topic: str) -> bool:
        return topic.startswith(kept) or topic.endswith(("/settings", "/status")) or topic == f"{BASE}/event"

    with tempfile.TemporaryDirectory(prefix="hailod-fuzz-") as folder:
        stage = Stage(
            Path(folder),
            cameras=dict.fromkeys(NAMES.cameras, CAMERA),
            models=models,
            head='model = "one"\n',
            body=MODELS,
            mqtt="detections_max_hz = 5\n",
            keep=keep,
        )
        with stage:
            try:
                _Attack(stage, siege, seed).run(paced, accounted, flooded, seconds)
            except AssertionError as error:
                siege.complain(str(error))
                siege.problems += stage.daemon.lines[-5:]
            siege.log_lines = len(stage.daemon.lines)
            code = stage.daemon.stop() if stage.daemon.process.poll() is None else stage.daemon.process.returncode
            log = stage.daemon.output
            if code != 0:
                siege.complain(f"the daemon ended with {code}")
            if "Traceback" in log:
                siege.complain(log[log.index("Traceback") :][:1500])
            if "frames accounted for" not in log:
                siege.complain("its log does not say that all frames are accounted for")
    return siege


class _Attack:
    def __init__(self, stage: Stage, siege: Siege, seed: int) -> None:
        self._stage = stage
        self._siege = siege
        self._draw = stream(NAMES, seed, broker=True)
        self._numbers = 0
        self._process = psutil.Process(stage.daemon.process.pid)

    def run(self, paced: int, accounted: int, flooded: int, seconds: int) -> None:
        stage, siege = self._stage, self._siege
        host = stage.daemon.host
        stage.metrics(1)
        siege.calm = Window.of(stage.metrics(seconds))
        before = self._truth()
        siege.rss_before = self._rss()
        siege.rss_peak = siege.rss_before
        with self._watched():
            for _ in range(paced):
                # Slow enough for the daemon's 10 a second, so that the limit does not answer for everything else.
                self._window(1)
                threading.Event().wait(0.2)
            while siege.accounted < accounted:
                self._window(min(WINDOW, accounted - siege.accounted))
            self._check_cleared()
            # The same flood for a node that there is not: what it costs the machine, without the daemon.
            siege.beside, _ = self._flood(0, seconds, elsewhere=True)
            siege.flood, siege.flood_s = self._flood(flooded, seconds, elsewhere=False)
        siege.answers_after_s = self._answers_again()
        siege.rss_after = self._rss()
        after = self._truth()
        for subject, value in before.items():
            if after[subject] != value:
                siege.complain(f"{subject} changed: {value!r:.300} -> {after[subject]!r:.300}")
        if stage.daemon.hosts() != [host]:
            siege.complain("the device host is another one")
        self._check_topics()
        siege.event_after_s = self._event_again()

    # -- each answered -----------------------------------------------------------------------------------------------

    def _window(self, count: int) -> None:
        """Send some, and a ping behind them: when that is answered, all are."""
        siege, ear = self._siege, self._stage.ear
        began = time.monotonic()
        owed: dict[bytes, Hostile] = {}
        for _ in range(count):
            message = self._next()
            mark = self._mark(message)
            parsed = commands.parse(message.inbound(0.0, MAX_PAYLOAD), TOPICS)
            siege.accounted += 1
            if parsed is None:
                siege.answers["silence: not for us, or empty"] += 1
            elif _size(message) > MAX_PACKET:
                siege.answers["silence: more than the broker passes on"] += 1
            elif parsed.origin.reply_to is None:
                siege.answers["a setting: told by events and documents"] += 1
            elif message.expiry == 0:
                siege.answers["silence: expired at the broker"] += 1
            else:
                owed[mark] = message
            self._send(message, mark)
        marker = self._numbers.to_bytes(8) + b"marker"
        ear.publish(f"{BASE}/cmd/ping", b"{}", CorrelationData=marker)
        last = ear.first(lambda heard: heard.correlation == marker, began, PATIENCE_S)
        assert last is not None, f"a ping is answered after {[m.by for m in owed.values()]}"
        for heard in ear.since(began):
            if heard.correlation in owed:
                del owed[heard.correlation]
                self._judge(heard)
        for message in owed.values():
            siege.complain(
                f"no answer to {message.by}: {message.topic} {message.payload[:100]!r} {_size(message)} bytes"
            )
        ear.forget_but(f"{BASE}/settings", f"{BASE}/models", f"{BASE}/info", *_camera_settings())

    def _judge(self, heard: Heard) -> None:
        document = heard.document
        status = document["status"]
        code = document["error"]["code"] if status == "error" else None
        self._siege.answers[status if code is None else f"refused: {code}"] += 1
        if code is not None and code not in CODES:
            self._siege.complain(f"the code {code!r} is not of the interface")

    def _check_cleared(self) -> None:
        """The broker holds no command any more."""
        left = [topic for topic in _retained(self._stage) if _is_control(topic)]
        if left:
            self._siege.complain(f"{len(left)} retained commands were not cleared, such as {left[0]}")

    # -- as many as the broker takes ---------------------------------------------------------------------------------

    def _flood(self, count: int, seconds: int, *, elsewhere: bool) -> tuple[Window, float]:
        """Send so many, and for so long; returns inference meanwhile and how long it took."""
        siege, ear = self._siege, self._stage.ear
        found: list[Window] = []

        def measure() -> None:
            self._stage.metrics(1)
            found.append(Window.of(self._stage.metrics(seconds)))

        measuring = threading.Thread(target=measure, name="metrics")
        before = sum(ear.counts.values())
        began = time.monotonic()
        measuring.start()
        while siege.flooded < count or measuring.is_alive():
            for _ in range(CHUNK):
                message = self._next()
                if elsewhere:
                    message = replace(message, topic=f"fuzz/{message.topic}", retain=False)
                token = self._send(message, self._mark(message))
                siege.flooded += not elsewhere
            token.wait_for_publish(PATIENCE_S)
        took = time.monotonic() - began
        measuring.join()
        siege.replies_in_flood = sum(ear.counts.values()) - before
        assert found, "the metrics came during the flood"
        return found[0], took

    def _answers_again(self) -> float:
        """How long after the flood a ping is carried out."""
        began = time.monotonic()

        def pinged() -> bool:
            return self._stage.command("ping", timeout=PATIENCE_S)["status"] == "ok"

        wait_for(pinged, timeout=PATIENCE_S, what="a ping is carried out after the flood", every=0.2)
        return time.monotonic() - began

    def _event_again(self) -> float:
        """How long after it happened something of importance is told, with all that the flood left behind."""
        began = time.monotonic()
        reply = self._stage.command("model.swap", {"model": "two"}, persist=False)
        assert reply["status"] == "ok", f"a valid command after the flood: {reply}"
        wanted = '"event_type":"model_changed"'
        told = self._stage.ear.first(lambda heard: wanted.encode() in heard.payload, began, 300.0)
        assert told is not None, "the event of a swap is told"
        return told.at - began

    # -- what is sent ------------------------------------------------------------------------------------------------

    def _next(self) -> Hostile:
        """The next message that must not change anything: one that is still valid is made to ask for nothing."""
        while True:
            message = self._draw()
            parsed = commands.parse(message.inbound(0.0, MAX_PAYLOAD), TOPICS)
            if not isinstance(parsed, commands.Request) or parsed.origin.name == "ping":
                return message
            if parsed.origin.reply_to is not None:
                self._siege.guarded += 1
                return _guarded(message, dry=self._siege.guarded % 2 == 0)
            if parsed.origin.camera is not None and parsed.origin.camera not in NAMES.cameras:
                return message
            self._siege.withheld += 1

    def _mark(self, message: Hostile) -> bytes:
        """Correlation data of the size that was wanted, by which its answer is known."""
        self._numbers += 1
        return self._numbers.to_bytes(8) + (message.correlation or b"")[8:]

    def _send(self, message: Hostile, mark: bytes) -> Any:
        properties: dict[str, object] = {"CorrelationData": mark}
        if message.response_topic is not None:
            properties["ResponseTopic"] = message.response_topic
        if message.expiry is not None:
            properties["MessageExpiryInterval"] = message.expiry
        return self._stage.ear.publish(message.topic, message.payload, retain=message.retain, **properties)

    # -- what must hold ----------------------------------------------------------------------------------------------

    def _truth(self) -> dict[str, object]:
        """All in which a change would show."""
        kept = _retained(self._stage)
        state = self._stage.daemon.state
        files = {str(path.relative_to(state)): path.read_bytes() for path in sorted(state.rglob("*")) if path.is_file()}
        documents = (f"{BASE}/settings", f"{BASE}/models", *_camera_settings())
        return {
            **{topic: json.loads(kept[topic]) for topic in documents},
            "cameras": json.loads(kept[f"{BASE}/info"])["cameras"],
            "overrides.json": files.get("overrides.json"),
            "the device host": json.loads(kept[f"{BASE}/health"])["device_restarts"],
        }

    def _check_topics(self) -> None:
        """Nothing was said where it is not the daemon's to speak."""
        siege = self._siege
        siege.left_retained = sum(_is_control(topic) for topic in _retained(self._stage))
        for topic, count in self._stage.ear.counts.items():
            target = TOPICS.parse(topic)
            own = topic.startswith((f"{BASE}/", "hailod/client/", f"homeassistant/device/hailod_{NODE}"))
            if (target is not None and target.kind is Kind.HOME_ASSISTANT) or not own or set(topic) & set("+#"):
                siege.complain(f"{count} messages on {topic!r}")
        if self._stage.ear.disconnects:
            siege.complain(f"the broker cut our own connection {self._stage.ear.disconnects} times")

    def _rss(self) -> float:
        return float(self._process.memory_info().rss) / 2**20

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Note how large the daemon becomes meanwhile."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.2):
                self._siege.rss_peak = max(self._siege.rss_peak, self._rss())

        watcher = threading.Thread(target=watch, name="memory")
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def _guarded(message: Hostile, *, dry: bool) -> Hostile:
    document = json.loads(message.payload)
    guard = {"dry_run": True} if dry else {"if_revision": 10**9}
    return replace(message, payload=json.dumps({**document, **guard}).encode())


def _camera_settings() -> list[str]:
    return [f"{BASE}/cam/{name}/settings" for name in NAMES.cameras]


def _is_control(topic: str) -> bool:
    return topic != HOME_ASSISTANT_STATUS and TOPICS.parse(topic) is not None


def _size(message: Hostile) -> int:
    """At least so many bytes the packet has."""
    return len(message.payload) + len(message.topic.encode()) + len(message.correlation or b"") + 20


def _retained(stage: Stage) -> dict[str, bytes]:
    """What the broker gives to a client that comes now."""
    return retained_by(stage.broker.port)

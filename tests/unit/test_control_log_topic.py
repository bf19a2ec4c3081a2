"""`N/log`: what of the log is told over MQTT, how often, and that it can do no harm."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import structlog

from hailod import logs
from hailod.clock import FakeClock
from hailod.control.log_topic import MAX_LINES, REPEAT_S, LogTopic
from hailod.logs import SecretFilter
from hailod.mqtt.lanes import Drop
from hailod.mqtt.outbox import MAX_DOCUMENT, Outbox, encode
from hailod.mqtt.topics import Topics
from tests.support.interface import complaints
from tests.support.log import restored

TOPICS = Topics("pi")
log = structlog.get_logger("hailod.pipeline.camera")


class Nowhere:
    """A log that nobody reads."""

    def write(self, level: str, text: str, fields: Mapping[str, str], trace: str) -> None:
        pass


class Rig:
    def __init__(self, level: str = "warning", secrets: SecretFilter | None = None) -> None:
        self.clock = FakeClock()
        self.outbox = Outbox(TOPICS, self.clock)
        self.outbox.online()
        logs.configure("debug", secrets, sink=Nowhere())
        self.topic = LogTopic(TOPICS, self.clock, self.outbox)
        self.topic.configure(level)  # type: ignore[arg-type]
        self.payloads: list[bytes] = []

    def after(self, seconds: float = 0.0) -> list[Any]:
        """What is told until so much later; the control thread looks ten times a second."""
        told: list[Any] = []
        for step in range(max(1, round(seconds * 10))):
            if step or seconds:
                self.clock.advance(0.1)
            self.topic.tick()
            while (outgoing := self.outbox.take()) is not None:
                self.outbox.done(outgoing)
                assert (outgoing.topic, outgoing.qos, outgoing.retain) == (TOPICS.log, 0, False)
                assert not list(complaints("log", json.loads(outgoing.payload)))
                self.payloads.append(outgoing.payload)
                told.append(json.loads(outgoing.payload))
        return told

    def texts(self, seconds: float = 0.0) -> list[tuple[str, int]]:
        return [(line["text"], line["repeated"]) for line in self.after(seconds)]


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    with restored():
        yield


def test_nothing_is_told_unless_it_is_wanted() -> None:
    """Off, no line is kept for it at all."""
    rig = Rig("off")
    log.error("camera lost")
    assert rig.after(1.0) == []
    rig.topic.configure("warning")
    assert rig.after(1.0) == [], "nor is it told later"


@pytest.mark.parametrize(("level", "told"), [("warning", ["two", "three", "four"]), ("error", ["three", "four"])])
def test_level_is_where_it_begins(level: str, told: list[str]) -> None:
    """Lines of the level that was set and of graver ones are told, in order, and no others."""
    rig = Rig(level)
    log.info("one")
    log.warning("two")
    log.error("three")
    log.critical("four")
    assert [text for text, _ in rig.texts(3.0)] == told


def test_a_line_is_told_with_its_fields() -> None:
    """Text, level, fields and the time at which it was logged are told."""
    rig = Rig()
    log.warning("camera lost", camera="front", failures=3)
    (line,) = rig.after()
    assert line.pop("ts") > 0
    assert line == {
        "v": 1,
        "level": "warning",
        "text": "camera lost",
        "fields": {"camera": "front", "failures": "3"},
        "repeated": 0,
    }


def test_two_lines_a_second() -> None:
    """Of many lines at once two go in a second, and none is lost that there is room for."""
    rig = Rig()
    for number in range(10):
        log.warning(f"line {number}")
    assert len(rig.after(2.05)) <= 5
    assert len(rig.after(4.0)) + len(rig.payloads) >= 10
    assert [json.loads(payload)["text"] for payload in rig.payloads] == [f"line {number}" for number in range(10)]
    assert rig.outbox.dropped == {}


def test_what_repeats_is_told_once_a_minute_with_its_number() -> None:
    """The same line again is counted, and told a minute later as so many; one that came once is told once."""
    rig = Rig()
    log.warning("camera lost", camera="front")
    assert rig.texts() == [("camera lost", 0)]
    for _ in range(30):
        log.warning("camera lost", camera="front")
    assert rig.texts(REPEAT_S - 1.0) == []
    assert rig.texts(2.0) == [("camera lost", 29)]
    assert rig.texts(REPEAT_S * 2) == []
    log.warning("camera lost", camera="front")
    assert rig.texts() == [("camera lost", 0)]


def test_another_camera_is_another_line() -> None:
    """Lines that differ in a field are not one."""
    rig = Rig()
    for camera in ("front", "back"):
        log.warning("camera lost", camera=camera)
    assert [line["fields"] for line in rig.after(2.0)] == [{"camera": "front"}, {"camera": "back"}]


@pytest.mark.parametrize("secret", ["p%ss!w#rd@1", "pässwörd☃", "with space", "a/b?c=d&e"])
def test_secrets_are_masked(secret: str) -> None:
    """What the filter of the log hides is hidden here too, in text and fields."""
    secrets = SecretFilter()
    secrets.add(secret)
    rig = Rig(secrets=secrets)
    log.warning(f"cannot open rtsp://user:{secret}@host/x", url=f"rtsp://user:{secret}@host/x", reason=secret)
    (line,) = rig.after()
    assert secret not in json.dumps(line, ensure_ascii=False)
    assert line["fields"]["reason"] == "***"


def test_neither_traces_nor_paths_are_told() -> None:
    """Where an error happened and where files are stays in the machine's own log."""
    rig = Rig()
    try:
        raise LookupError("gone")
    except LookupError:
        log.exception("model failed", path="/home/me/private/yolov8s.hef", url="rtsp://***@host/live/stream1")
    (line,) = rig.after()
    assert line["fields"] == {"path": "…/yolov8s.hef", "url": "rtsp://***@host/live/stream1"}
    assert "Traceback" not in json.dumps(line)


@pytest.mark.parametrize("origin", ["hailod.mqtt.client", "hailod.mqtt.outbox"])
def test_lines_of_the_mqtt_client_are_left_out(origin: str) -> None:
    """What says that a message could not be sent never becomes a message."""
    rig = Rig()
    structlog.get_logger(origin).error("document refused")
    logging.getLogger("paho.mqtt").error("socket closed")
    assert rig.after(2.0) == []


def test_a_flood_is_bounded_and_counted() -> None:
    """Ten thousand different lines cost no more memory than a hundred; the newest are told, the others counted."""
    rig = Rig()
    for number in range(10_000):
        log.warning(f"line {number}")
    told = rig.texts(100.0)
    assert len(told) <= MAX_LINES
    assert told[-1] == ("line 9999", 0)
    lost = rig.outbox.drops["log", Drop.OVERFLOW]
    assert len(told) + lost == 10_000


def test_lines_of_an_outage_are_dropped() -> None:
    """Without a broker lines are given up and counted, not kept."""
    rig = Rig()
    rig.outbox.offline()
    log.warning("camera lost")
    assert rig.after(1.0) == []
    rig.outbox.online()
    assert rig.after(1.0) == []
    assert rig.outbox.dropped == {"log": 1}


def test_long_lines_fit_into_a_document() -> None:
    """A line with many long fields is cut to what a document may have."""
    rig = Rig()
    log.error("☃" * 5_000, **{f"field{number}": '☃"' * 2_000 for number in range(100)})
    (line,) = rig.after()
    assert len(encode(line)) < MAX_DOCUMENT
    assert line["text"].endswith("…")


def test_nobody_who_logs_waits() -> None:
    """A thread logs while the outbox is locked, and goes on."""
    rig = Rig()
    with rig.outbox._lock:
        thread = threading.Thread(target=log.warning, args=("camera lost",))
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    assert rig.texts() == [("camera lost", 0)]

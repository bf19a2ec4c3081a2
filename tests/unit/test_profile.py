"""`profile.capture`: the timings of every frame, for some seconds, as a file that is whole or not there."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hailod.clock import FakeClock
from hailod.control.commands import Commands
from hailod.control.events import Events
from hailod.control.profile import KEPT, Profile, ProfileWritten, write_profile
from hailod.mqtt.commands import CaptureProfile
from hailod.mqtt.messages import Inbound
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics
from hailod.pipeline.results import Timing
from hailod.pipeline.stats import MAX_RECORDED, Recording, Stats
from tests.support.desk import FakeDesk

TOPICS = Topics("pi")
REPLY = TOPICS.reply("profile.capture")


class Rig:
    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.outbox = Outbox(TOPICS, self.clock)
        self.outbox.online()
        self.stats = Stats(self.clock.monotonic())
        self.desk = FakeDesk()
        self.desk.settings = self.desk.settings.model_copy(update={"state_dir": directory})
        self.errands: list[Callable[[], ProfileWritten]] = []
        events = Events(TOPICS, self.clock, self.outbox, "e")
        profile = Profile(
            clock=self.clock,
            stats=self.stats,
            events=events,
            ask=lambda errand: not self.errands.append(errand),  # type: ignore[func-returns-value]
        )
        self.commands = Commands(
            topics=TOPICS, clock=self.clock, outbox=self.outbox, events=events, beside={CaptureProfile: profile}
        )

    def ask(self, **args: object) -> None:
        topic, now = f"{TOPICS.base}/cmd/profile.capture", self.clock.monotonic()
        self.commands.receive(
            Inbound(topic, json.dumps({"id": str(now), "args": args}).encode(), False, now), self.desk
        )

    def result(self, camera: str = "front") -> None:
        now = self.clock.monotonic()
        self.stats.add(camera, Timing(now - 0.1, now - 0.08, now - 0.06, now - 0.02, now))

    def tick(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.commands.tick(self.clock.monotonic())

    def write(self) -> None:
        for errand in self.errands:
            self.commands.beside_event(errand())
        self.errands.clear()

    def told(self) -> list[tuple[str, Any]]:
        found = []
        while (outgoing := self.outbox.take()) is not None:
            self.outbox.done(outgoing)
            found.append((outgoing.topic, json.loads(outgoing.payload)))
        return found


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_profile_is_accepted_written_and_told(rig: Rig, tmp_path: Path) -> None:
    """It is accepted at once; when its time is over the file is there, the reply sums it up, and an event says so."""
    rig.result()
    rig.ask(duration_s=2)
    ((_, accepted),) = rig.told()
    assert accepted["status"] == "accepted"
    for _ in range(10):
        rig.tick(0.1)
        rig.result()
        rig.result("back")
    assert rig.errands == []
    rig.tick(1.5)
    rig.result()
    rig.write()
    told = dict(rig.told())
    data = told[REPLY]["data"]
    assert (data["frames"], data["duration_s"], data["left_out"]) == (20, 2.0, 0)
    assert data["summary"]["total"] == {"p50": 100.0, "p95": 100.0, "p99": 100.0}
    assert data["summary"]["device"]["p50"] == pytest.approx(40.0)
    event = told[TOPICS.event]
    assert (event["event_type"], event["path"]) == ("profile_ready", data["path"])
    path = Path(data["path"])
    assert path.parent == tmp_path / "profiles"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    profile = json.loads(path.read_text())
    assert profile["columns"] == ["camera", "captured_s", "total_ms", "waiting_ms", "device_ms", "host_ms"]
    assert len(profile["frames"]) == 20
    assert profile["cameras"]["back"]["frames"] == 10
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_profile_of_nothing_says_so(rig: Rig) -> None:
    """Without a result there is a file all the same, and its summary is empty, not zero."""
    rig.ask(duration_s=1)
    rig.tick(1.1)
    rig.write()
    data = dict(rig.told())[REPLY]["data"]
    assert (data["frames"], data["summary"]) == (0, {})


def test_one_profile_at_a_time(rig: Rig) -> None:
    """Another is refused while one is captured, and other commands are not held up."""
    rig.ask(duration_s=60)
    rig.told()
    rig.tick(1.0)
    rig.ask(duration_s=1)
    ((_, reply),) = rig.told()
    assert reply["error"]["code"] == "busy"


@pytest.mark.parametrize("duration", [0.5, 61, "10", None])
def test_duration_has_its_range(rig: Rig, duration: object) -> None:
    """From 1 to 60 seconds, as a number."""
    rig.ask(duration_s=duration)
    ((_, reply),) = rig.told()
    assert reply["error"]["code"] in ("out_of_range", "bad_args")


def test_disk_that_refuses_is_told(rig: Rig, tmp_path: Path) -> None:
    """A file that cannot be written is an error with its reason, and the next one is free to try."""
    (tmp_path / "profiles").write_text("in the way")
    rig.ask(duration_s=1)
    rig.tick(1.1)
    rig.write()
    reply = dict(rig.told())[REPLY]
    assert reply["error"]["code"] == "internal"
    assert "cannot be written" in reply["error"]["message"]
    rig.ask(duration_s=1)
    assert rig.told()[-1][1]["status"] == "accepted"


def test_only_the_last_ones_are_kept(tmp_path: Path) -> None:
    """Ten profiles are kept, what a killed writer left is removed, and nothing else in the folder is touched."""
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "mine.json").write_text("{}")
    (folder / ".profile.77").write_text("half")
    names = []
    for number in range(KEPT + 3):
        written = write_profile(folder, Recording([]), node="pi", began=float(number), wall=0.0, duration=1.0)
        os.utime(written.path, (number, number))
        names.append(written.path.name)
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(["mine.json", *names[-KEPT:]])


def test_recording_is_bounded() -> None:
    """Beyond what a recording may hold frames are counted, and those before it do not belong to it."""
    stats = Stats(0.0)
    timing = Timing(0.0, 1.0, 2.0, 3.0, 4.0)
    stats.add("front", timing)
    stats.record()
    for _ in range(MAX_RECORDED + 2):
        stats.add("front", timing)
    recording = stats.recorded()
    assert (len(recording.frames), recording.left_out) == (MAX_RECORDED, 2)
    assert stats.recorded().frames == []

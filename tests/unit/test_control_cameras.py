"""What is told of each camera, with workers that the test plays and a clock turned by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
from pydantic import SecretStr

from hailod.clock import FakeClock
from hailod.config.model import CameraSettings
from hailod.control.cameras import Cameras, Condition
from hailod.control.events import Events
from hailod.health import MAX_TEXT, Code
from hailod.mailbox import Mailboxes
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics
from hailod.pipeline.camera import CameraWorker
from hailod.pipeline.camera_state import Phase
from hailod.pipeline.publisher import Publisher
from hailod.pipeline.results import Result, Timing
from hailod.pipeline.stats import Stats
from hailod.types import Detections
from tests.support.cameras import FakeWorker
from tests.support.desk import settings
from tests.support.device import frame
from tests.support.lanes import lane

TOPICS = Topics("pi")
FRONT = TOPICS.camera("front")
STALE_AFTER = 10.0


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.outbox = Outbox(TOPICS, self.clock)
        self.outbox.online()
        self.publisher = Publisher(self.outbox, TOPICS, self.clock, Stats(self.clock.monotonic()))
        self.workers: list[FakeWorker] = []
        self.lane = lane()
        self.cameras = Cameras(
            topics=TOPICS,
            clock=self.clock,
            outbox=self.outbox,
            mailboxes=Mailboxes(self.clock),
            publisher=self.publisher,
            events=Events(TOPICS, self.clock, self.outbox, "0000"),
            on_state=lambda _: None,
            factory=self._make,
        )

    def _make(self, *arguments: Any) -> CameraWorker:
        self.workers.append(FakeWorker(*arguments))
        return cast(CameraWorker, self.workers[-1])

    def apply(self, **changes: object) -> FakeWorker:
        """Run one camera with these settings; returns its worker."""
        camera = CameraSettings(source=SecretStr("synthetic:")).model_copy(update=changes)
        self.cameras.apply(settings(cameras={"front": camera}))
        return self.workers[-1]

    def phase(self, phase: Phase, *, fps_in: float = 30.0, **facts: Any) -> dict[Code, str]:
        """The camera's worker reports; the health conditions of that by code, empty where they do not hold."""
        worker = self.workers[-1]
        worker.state = replace(worker.state, phase=phase, fps_in=fps_in, **facts)
        return told(self.cameras.handle(worker.state))

    def result(self) -> None:
        """A frame of the camera is finished."""
        now = self.clock.monotonic()
        self.publisher.publish(
            Result(frame(captured=now), self.lane, Detections.none(), Timing(now, now, now, now, now))
        )

    def tick(self, seconds: float = 0.1) -> dict[Code, str]:
        self.clock.advance(seconds)
        return told(self.cameras.tick(STALE_AFTER))

    def messages(self) -> dict[str, Any]:
        """The last message on each topic that goes out now."""
        found: dict[str, Any] = {}
        while (outgoing := self.outbox.take()) is not None:
            self.outbox.done(outgoing)
            text = outgoing.payload.decode()
            found[outgoing.topic] = json.loads(text) if text.startswith("{") else text
        return found

    def events(self) -> list[dict[str, Any]]:
        """The events of the camera that go out now."""
        found = []
        while (outgoing := self.outbox.take()) is not None:
            self.outbox.done(outgoing)
            if outgoing.topic == FRONT.event:
                assert not outgoing.retain
                found.append(json.loads(outgoing.payload))
        return found


def told(conditions: tuple[Condition, ...]) -> dict[Code, str]:
    return {condition.code: condition.text for condition in conditions}


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    # It holds slots.
    del rig.lane


@pytest.mark.parametrize(
    ("phase", "results", "status"),
    [
        (Phase.STARTING, False, "starting"),
        (Phase.ONLINE, False, "starting"),
        (Phase.ONLINE, True, "online"),
        (Phase.LOST, True, "offline"),
        (Phase.ENDED, True, "offline"),
        (Phase.STUCK, True, "offline"),
        (Phase.FROZEN, True, "offline"),
        (Phase.ASLEEP, True, "offline"),
        (Phase.ASLEEP, False, "offline"),
    ],
)
def test_status_says_whether_results_come(rig: Rig, phase: Phase, results: bool, status: str) -> None:
    """A camera is online with its first result, and offline as soon as it delivers no more."""
    rig.apply()
    rig.phase(phase)
    if results:
        rig.result()
    rig.tick()
    assert rig.messages()[FRONT.status] == status


def test_disabled_camera_is_told_as_such(rig: Rig) -> None:
    """A camera that is switched off is disabled whatever its worker does, idle for ever and never stale."""
    rig.apply()
    rig.phase(Phase.ONLINE)
    rig.result()
    worker = rig.apply(enabled=False)
    assert worker.calls[-1] == ("enabled", False)
    rig.tick()
    assert rig.messages()[FRONT.status] == "disabled"
    for _ in range(20):
        assert not rig.tick(10.0)[Code.CAMERA_STALE]
    rig.apply(enabled=True)
    rig.phase(Phase.STARTING)
    rig.tick()
    assert rig.messages()[FRONT.status] == "starting"
    rig.phase(Phase.ONLINE)
    assert not rig.tick()[Code.CAMERA_STALE]


def test_camera_whose_results_cease_is_offline_and_stale(rig: Rig) -> None:
    """When frames come and results do not, status, counts and health say so, and since when; a result ends it."""
    rig.apply()
    rig.phase(Phase.ONLINE)
    rig.result()
    last = rig.clock.wall()
    rig.tick(0.0)
    assert not rig.tick(STALE_AFTER)[Code.CAMERA_STALE]
    assert rig.messages()[FRONT.status] == "online"
    assert rig.tick(1.0)[Code.CAMERA_STALE]
    messages = rig.messages()
    assert messages[FRONT.status] == "offline"
    assert messages[FRONT.state]["stale"] == pytest.approx(last, abs=0.06)

    rig.clock.advance(1.0)
    rig.result()
    assert not rig.tick()[Code.CAMERA_STALE]
    messages = rig.messages()
    assert (messages[FRONT.status], messages[FRONT.state]["stale"]) == ("online", None)


def test_camera_that_never_has_a_result_is_stale_in_time(rig: Rig) -> None:
    """A camera whose frames are never answered is not `starting` for ever."""
    rig.apply()
    rig.phase(Phase.ONLINE)
    rig.tick()
    assert not rig.tick(STALE_AFTER - 1.0)[Code.CAMERA_STALE]
    assert rig.tick(2.0)[Code.CAMERA_STALE]
    assert rig.messages()[FRONT.status] == "offline"


@pytest.mark.parametrize(("fps_in", "max_fps", "patience"), [(0.1, None, 30.0), (30.0, 0.1, 30.0), (30.0, 5.0, 10.0)])
def test_slow_camera_has_three_frames_time(rig: Rig, fps_in: float, max_fps: float | None, patience: float) -> None:
    """A camera that delivers rarely, or is to be looked at rarely, is stale only after three of its intervals."""
    rig.apply(max_fps=max_fps)
    rig.phase(Phase.ONLINE, fps_in=fps_in)
    rig.result()
    rig.tick(0.0)
    assert not rig.tick(patience - 0.5)[Code.CAMERA_STALE]
    assert rig.tick(1.0)[Code.CAMERA_STALE]


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        (Phase.LOST, Code.CAMERA_LOST),
        (Phase.ENDED, Code.CAMERA_ENDED),
        (Phase.STUCK, Code.CAMERA_STUCK),
        (Phase.FROZEN, Code.CAMERA_FROZEN),
    ],
)
def test_what_is_wrong_with_a_camera_is_one_condition(rig: Rig, phase: Phase, code: Code) -> None:
    """Each way of being gone is one condition with its reason, and all of them are over when the camera is back."""
    rig.apply()
    conditions = rig.phase(phase, reason="refused")
    assert {known for known, text in conditions.items() if text} == {code}
    assert conditions[code] == "camera front: refused"
    assert not any(rig.phase(Phase.ONLINE).values())
    assert rig.phase(Phase.ONLINE, behind=True)[Code.CAMERA_BEHIND]
    assert rig.phase(Phase.ONLINE, corrupt=True)[Code.CAMERA_CORRUPT]


def test_every_condition_says_what_is_done_and_what_helps(rig: Rig) -> None:
    """Whatever is wrong with a camera, health has words for what hailod does about it and for what a person can do."""
    rig.apply()
    seen = set()
    for phase in Phase:
        worker = rig.workers[-1]
        facts = {"reason": "it broke", "fix": "mend it", "behind": True, "corrupt": True}
        for condition in rig.cameras.handle(replace(worker.state, phase=phase, **facts)):
            if condition.text:
                seen.add(condition.code)
                assert condition.doing
                assert condition.fix
                assert max(map(len, (condition.text, condition.doing, condition.fix))) < MAX_TEXT
    assert seen == {code for code in Code if code.startswith("camera_")} - {Code.CAMERA_STALE}


def test_a_sleeping_camera_that_is_away_is_no_condition(rig: Rig) -> None:
    """Health stays as it is while a camera sleeps; its counts are flagged old all the same."""
    rig.apply(sleeps=True)
    rig.phase(Phase.ONLINE)
    rig.result()
    rig.tick()
    assert not any(rig.phase(Phase.ASLEEP, code="timeout").values())
    assert not any(rig.tick(STALE_AFTER + 1.0).values())
    messages = rig.messages()
    assert messages[FRONT.status] == "offline"
    assert messages[FRONT.state]["stale"] is not None


def test_a_loss_and_its_end_are_told_once_each(rig: Rig) -> None:
    """However often it is tried and whatever fails then, `camera_lost` and `camera_recovered` come as a pair, with the
    first code and the whole time by the monotonic clock."""
    rig.apply()
    rig.phase(Phase.ONLINE)
    rig.phase(Phase.LOST, code="lost", reason="the connection broke", failures=1)
    for code, phase in (("refused", Phase.LOST), ("stuck", Phase.STUCK), ("frozen", Phase.FROZEN)):
        rig.tick(10.0)
        rig.phase(phase, code=code)
    rig.tick(12.5)
    rig.phase(Phase.ONLINE, code=None)
    rig.phase(Phase.ONLINE, code=None, behind=True)
    lost, recovered = rig.events()
    assert (lost["event_type"], lost["code"], lost["reason"]) == ("camera_lost", "lost", "the connection broke")
    assert (lost["camera"], lost["failures"]) == ("front", 1)
    assert (recovered["event_type"], recovered["code"]) == ("camera_recovered", "lost")
    assert recovered["duration_s"] == pytest.approx(42.5)


def test_a_camera_that_never_came_is_lost_with_its_first_attempt(rig: Rig) -> None:
    """A wrong address is an event too."""
    rig.apply()
    rig.phase(Phase.STARTING)
    rig.phase(Phase.LOST, code="refused")
    assert [event["event_type"] for event in rig.events()] == ["camera_lost"]


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.DISABLED, Phase.ENDED, Phase.ASLEEP])
def test_what_is_not_lost_is_no_event(rig: Rig, phase: Phase) -> None:
    """A start, a file's end and a camera that sleeps are no losses, and to come back from them is no recovery."""
    rig.apply()
    rig.phase(Phase.ONLINE)
    rig.phase(phase)
    rig.phase(Phase.ONLINE)
    assert rig.events() == []


def test_a_camera_that_somebody_switched_off_is_not_lost(rig: Rig) -> None:
    """What its worker says on the way out is no event."""
    rig.apply()
    rig.phase(Phase.ONLINE)
    rig.apply(enabled=False)
    rig.phase(Phase.LOST, code="lost")
    rig.phase(Phase.DISABLED)
    assert rig.events() == []


def test_a_lost_camera_recovers_over_another_source_and_a_pause(rig: Rig) -> None:
    """Whoever corrects the password of a lost camera, or switches it off and on, sees it recover."""
    rig.apply()
    rig.phase(Phase.LOST, code="unauthorised")
    rig.apply(source=SecretStr("rtsp://right@192.0.2.1/"))
    rig.phase(Phase.STARTING)
    rig.apply(source=SecretStr("rtsp://right@192.0.2.1/"), enabled=False)
    rig.phase(Phase.DISABLED)
    rig.apply(source=SecretStr("rtsp://right@192.0.2.1/"))
    rig.phase(Phase.ONLINE)
    assert [event["event_type"] for event in rig.events()] == ["camera_lost", "camera_recovered"]


def test_a_state_that_was_overtaken_is_not_believed(rig: Rig) -> None:
    """Two threads report: the later state holds, whichever comes first."""
    rig.apply()
    rig.phase(Phase.ONLINE, serial=2)
    rig.result()
    assert rig.cameras.handle(replace(rig.workers[-1].state, phase=Phase.LOST, serial=1)) == ()
    rig.tick()
    assert rig.messages()[FRONT.status] == "online"


def test_live_settings_do_not_restart_a_camera(rig: Rig) -> None:
    """Threshold, labels, model and frame rate of a camera change while it runs."""
    rig.apply()
    worker = rig.apply(threshold=0.8, max_fps=3.0, labels=["car"], model="two")
    assert len(rig.workers) == 1
    assert worker.calls == ["start", ("max_fps", 3.0)]
    rig.tick()
    assert rig.messages()[FRONT.state]["objects"] == {"car": 0}
    rig.apply(threshold=0.8, max_fps=3.0, labels=["car"], model="two")
    assert worker.calls == ["start", ("max_fps", 3.0)]


def test_other_labels_are_no_reason_to_be_stale(rig: Rig) -> None:
    """A camera that has run for long and is given other labels is not called stale before its next result is due."""
    rig.apply()
    rig.phase(Phase.ONLINE)
    rig.tick()
    rig.clock.advance(1000.0)
    rig.result()
    rig.apply(labels=["car"])
    assert not rig.tick()[Code.CAMERA_STALE]


def test_other_source_is_another_worker(rig: Rig) -> None:
    """A camera whose source or geometry changes is closed and opened anew."""
    first = rig.apply()
    second = rig.apply(rotate=90)
    assert first.calls == ["start", "stop"]
    assert second.calls == ["start"]
    assert second.settings.rotate == 90


def test_removed_camera_is_forgotten_at_the_broker(rig: Rig) -> None:
    """A camera that is no more is stopped, leaves no retained message, and what it still says is ignored."""
    worker = rig.apply()
    rig.phase(Phase.ONLINE)
    rig.result()
    rig.tick()
    rig.messages()
    rig.cameras.apply(settings(cameras={}))
    assert worker.calls[-1] == "stop"
    messages = rig.messages()
    assert {topic for topic, payload in messages.items() if payload == ""} == {
        FRONT.status,
        FRONT.settings,
        FRONT.snapshot,
        FRONT.state,
    }
    assert rig.cameras.handle(worker.state) == ()
    rig.tick()
    assert rig.messages() == {}


def test_workers_are_supervised_at_every_look(rig: Rig) -> None:
    """Each tick gives every worker the chance to notice what hangs, and rates can be told."""
    worker = rig.apply()
    rig.phase(Phase.ONLINE, fps_in=12.5)
    for _ in range(3):
        rig.tick()
    assert worker.checks == 3
    assert rig.cameras.fps_in == {"front": 12.5}


def test_stop_leaves_every_camera_offline(rig: Rig) -> None:
    """At the end every camera is told to stop before any is waited for, and those that did not end are named."""
    cameras = {name: CameraSettings(source=SecretStr("synthetic:")) for name in ("front", "back")}
    rig.cameras.apply(settings(cameras=cameras))
    rig.workers[1].ends = False
    left = rig.cameras.stop(1.0)
    assert left == [rig.workers[1].name]
    messages = rig.messages()
    assert messages[FRONT.status] == messages[TOPICS.camera("back").status] == "offline"
    assert all(worker.calls.count("stop") == 2 for worker in rig.workers)

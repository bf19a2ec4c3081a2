"""What the control loop makes of what it hears: health, watchdog and the end. Its parts are real but not started."""

from __future__ import annotations

import io
import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import SecretStr
from structlog.testing import capture_logs

from hailod.app import exit_code
from hailod.clock import FakeClock
from hailod.config.load import secrets_in
from hailod.config.model import CameraSettings
from hailod.config.store import Edit, Overrides
from hailod.control.broker import BROKER_PATIENCE_S
from hailod.control.cameras import Cameras
from hailod.control.commands import Commands
from hailod.control.device import TROUBLE_HOLD_S
from hailod.control.discovery import Discovery
from hailod.control.errands import ErrandDone
from hailod.control.events import Events
from hailod.control.inbox import MAX_INBOUND, Inbox, Quit, Reload
from hailod.control.keeping import DISCARDED_HOLD_S
from hailod.control.loop import BURST, RESTART_AFTER_S, Control, Parts
from hailod.control.reports import Connection, Reports
from hailod.control.saver import Saver, StateSaved, StateUnsaved
from hailod.device.events import DeviceDown, DeviceReleased, DeviceStuck, DeviceUp, ModelFailed
from hailod.device.statuses import Fault
from hailod.errors import DecodeError, DeviceRejected
from hailod.health import Code, Health, State
from hailod.models.manifest import Manifest
from hailod.mqtt.messages import Inbound, LinkState, Trouble
from hailod.mqtt.outbox import MAX_DOCUMENT, Outbox
from hailod.mqtt.topics import HOME_ASSISTANT_STATUS, Topics
from hailod.pipeline.camera_state import CameraState, Phase
from hailod.pipeline.engine import Engine, ModelPlan
from hailod.pipeline.publisher import Publisher
from hailod.pipeline.results import ModelTrouble
from hailod.pipeline.stats import Stats
from hailod.redact import SecretFilter
from hailod.sd import Notifier
from hailod.worker import Worker
from tests.support.cameras import FakeWorker
from tests.support.desk import settings
from tests.support.device import frame
from tests.support.recorder import FakeRecorder
from tests.support.store import FakeStore

TOPICS = Topics("pi")


class Rig:
    """A control loop whose engine, cameras and broker exist and do nothing."""

    def __init__(self, discarded: tuple[str, ...] = ()) -> None:
        self.clock = clock = FakeClock()
        self.inbox = Inbox()
        self.health = Health()
        self.watched: list[Worker] = []
        self.levels: list[str] = []
        self.settings = settings()
        self.outbox = outbox = Outbox(TOPICS, clock)
        outbox.online()
        self._told: list[tuple[str, bytes]] = []
        self.asked: list[str] = []
        self.clock_synced = True
        events = Events(TOPICS, clock, outbox, "0000")
        stats = Stats(clock.monotonic())
        publisher = Publisher(outbox, TOPICS, clock, stats)
        self.engine = Engine(
            self.settings.device,
            self.settings.pipeline,
            clock,
            on_result=publisher.publish,
            on_host=self.inbox.put,
            on_event=self.inbox.put,
            on_trouble=self.inbox.put,
            rng=random.Random(1),
        )
        self.cameras = cameras = Cameras(
            topics=TOPICS,
            clock=clock,
            outbox=outbox,
            mailboxes=self.engine.mailboxes,
            publisher=publisher,
            events=events,
            on_state=self.inbox.put,
            factory=FakeWorker,  # type: ignore[arg-type]
        )
        reports = Reports(
            topics=TOPICS,
            clock=clock,
            outbox=outbox,
            engine=self.engine,
            health=self.health,
            stats=stats,
            instance="0000",
            connection=lambda: Connection(5, 0, self.inbox.dropped),
            fps_in=lambda: cameras.fps_in,
        )
        self.secrets = SecretFilter()
        self.store = FakeStore()
        self.saver = Saver(self.store, Overrides(), clock, self.inbox.put)
        discovery = Discovery(TOPICS, clock, outbox, FakeRecorder(), controls=frozenset({"set/device"}))
        discovery.start()
        parts = Parts(
            clock=clock,
            inbox=self.inbox,
            engine=self.engine,
            cameras=cameras,
            publisher=publisher,
            health=self.health,
            reports=reports,
            notifier=Notifier.from_env({}),
            watched=lambda: tuple(self.watched),
            set_log_level=self.levels.append,
            events=events,
            saver=self.saver,
            discovery=discovery,
            hold=lambda: None,
            keep_secret=lambda settings: self.secrets.add(*secrets_in(settings)),
            clock_synced=lambda: self.clock_synced,
        )
        plans = {name: ModelPlan(name, Path(f"{name}.hef"), Manifest()) for name in self.settings.models}
        commands = Commands(topics=TOPICS, clock=clock, outbox=outbox, events=events)
        self.engine.release = lambda: self.asked.append("release")  # type: ignore[method-assign]
        self.engine.acquire = lambda: self.asked.append("acquire")  # type: ignore[method-assign]
        self.control = Control(self.settings, plans, parts, commands, revision=7, discarded=discarded)
        self.control.apply(self.settings)

    def news(self) -> dict[str, Any]:
        """The latest of each JSON document that goes out now; events as a list."""
        documents: dict[str, Any] = {TOPICS.event: []}
        while (outgoing := self.outbox.take()) is not None:
            self.outbox.done(outgoing)
            if outgoing.payload.startswith(b"{"):
                document = json.loads(outgoing.payload)
                if outgoing.topic == TOPICS.event:
                    documents[TOPICS.event].append(document)
                else:
                    documents[outgoing.topic] = document
        return documents

    def tick(self, seconds: float = 0.1) -> None:
        self.clock.advance(seconds)
        self.control.tick(self.clock.monotonic())

    def told(self, topic: str) -> list[Any]:
        """What has gone out on `topic` so far."""
        return [json.loads(payload) for payload in self.raw(topic)]

    def raw(self, topic: str) -> list[bytes]:
        """The same as it was sent."""
        while (outgoing := self.outbox.take()) is not None:
            self.outbox.done(outgoing)
            self._told.append((outgoing.topic, outgoing.payload))
        return [payload for where, payload in self._told if where == topic]

    @property
    def codes(self) -> set[Code]:
        return {reason.code for reason in self.health.snapshot().reasons}


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def idle(rig: Rig) -> Iterator[Worker]:
    """A watched worker that waits to be stopped."""

    def wait(worker: Worker) -> None:
        worker.stopping.wait()

    worker = Worker("idle", wait, rig.clock, bound=5.0)
    worker.start()
    rig.watched.append(worker)
    yield worker
    worker.stop()
    assert worker.join(10.0)


def _states() -> set[str]:
    return {TOPICS.camera(name).state for name in ("front", "back")}


def trouble(in_a_row: int) -> ModelTrouble:
    return ModelTrouble("one", DecodeError("class 3 claims 9000 boxes"), in_a_row)


def test_undecodable_outputs_are_told_until_they_are_over(rig: Rig) -> None:
    """Outputs that make no sense are a health condition, which ends when none came for a minute."""
    rig.control.handle(trouble(1))
    assert Code.DECODE_ERRORS in rig.codes
    rig.tick(TROUBLE_HOLD_S - 1.0)
    rig.control.handle(trouble(1))
    rig.tick(TROUBLE_HOLD_S - 1.0)
    assert Code.DECODE_ERRORS in rig.codes
    rig.tick(2.0)
    assert Code.DECODE_ERRORS not in rig.codes
    assert Code.MODEL_FAILED not in rig.codes


def test_conditions_of_a_removed_camera_end_with_it(rig: Rig) -> None:
    """A camera that is no more is not wrong any more either; the others' conditions stand."""
    for camera in ("front", "back"):
        rig.control.handle(CameraState(camera, Phase.LOST, 0.0, reason="refused"))
    rig.control.handle(ModelFailed("one", DeviceRejected("damaged")))
    left = {name: camera for name, camera in rig.settings.cameras.items() if name != "front"}
    rig.control.adopt(rig.settings.model_copy(update={"cameras": left}))
    subjects = {(reason.code, reason.subject) for reason in rig.health.snapshot().reasons}
    assert subjects == {(Code.CAMERA_LOST, "back"), (Code.MODEL_FAILED, "one")}


def test_health_passes_on_what_is_done_about_a_camera_and_what_helps(rig: Rig) -> None:
    """The words of a camera's condition arrive in the document, each in its own field."""
    rig.control.handle(CameraState("front", Phase.LOST, 0.0, code="refused", reason="nothing listens", fix="look"))
    (reason,) = rig.health.snapshot().reasons
    assert (reason.text, reason.fix) == ("camera front: nothing listens", "look")
    assert "tried again" in reason.doing


def test_health_of_fifty_cameras_is_told(rig: Rig) -> None:
    """With all of fifty cameras lost and long words for each, health fits into a document: the gravest reasons, how
    many more there are, and books that add up."""
    one = next(iter(rig.settings.cameras.values()))
    names = [f"a-camera-with-a-long-name-{number}" for number in range(50)]
    rig.control.adopt(rig.settings.model_copy(update={"cameras": dict.fromkeys(names, one)}))
    for name in names:
        rig.engine.mailboxes.offer(frame(name))
        rig.control.handle(CameraState(name, Phase.LOST, 0.0, code="lost", reason="\u20ac" * 300, fix="f" * 100))
    rig.tick()
    told = []
    while (outgoing := rig.outbox.take()) is not None:
        rig.outbox.done(outgoing)
        if outgoing.topic == TOPICS.health:
            assert len(outgoing.payload) < MAX_DOCUMENT
            told.append(json.loads(outgoing.payload))
    document = told[-1]
    assert len(document["reasons"]) >= 5
    assert document["more"] == 50 - len(document["reasons"])
    books = document["frames"]
    assert (books["balanced"], books["captured"], books["offered"], books["in_flight"]) == (True, 50, 50, 50)
    rig.engine.mailboxes.close()


@pytest.mark.parametrize(
    ("event", "code", "state"),
    [
        (DeviceDown(Fault.UNAVAILABLE, "no device", 1.0), Code.DEVICE_UNAVAILABLE, State.DEGRADED),
        (DeviceDown(Fault.SESSION_LOST, "aborted", 0.0), Code.DEVICE_LOST, State.DEGRADED),
        (DeviceDown(Fault.HUNG, "silent", None), Code.DEVICE_HUNG, State.DEGRADED),
        (DeviceDown(Fault.REJECTED, "versions", 600.0), Code.DEVICE_REJECTED, State.FAILED),
        (DeviceDown(Fault.DEVICE_LOST, "asked for", None, asked=True), Code.DEVICE_STARTING, State.DEGRADED),
        (DeviceStuck(4711), Code.DEVICE_STUCK, State.FAILED),
    ],
)
def test_device_faults_are_conditions(rig: Rig, event: DeviceDown | DeviceStuck, code: Code, state: State) -> None:
    """Each class of fault is one condition of its own gravity, over as soon as the device is open again."""
    rig.control.handle(event)
    assert rig.codes == {code}
    assert rig.health.state is state
    rig.control.handle(DeviceUp({"arch": "hailo8"}))
    assert rig.codes == {Code.DEVICE_CONFIGURING}


def test_broker_that_is_away_is_a_condition(rig: Rig) -> None:
    """Without a broker health says what is wrong, what is done about it and what helps; with it that is over."""
    rig.control.handle(LinkState(False, trouble=Trouble("nothing listens", "start it"), retry_s=7.7))
    assert rig.codes == {Code.BROKER_DOWN}
    (reason,) = rig.health.snapshot().reasons
    assert reason.text == "no connection to the broker: nothing listens"
    assert (reason.doing, reason.fix) == ("trying again in about 8 s", "start it")
    rig.control.handle(LinkState(True, 5))
    assert rig.codes == set()


def test_broker_that_starts_with_us_gets_a_moment(rig: Rig) -> None:
    """A broker that is not there yet when the daemon starts is no condition for some seconds, and then told with what
    is known by then."""
    rig.control._broker.starting()
    rig.control.handle(LinkState(False, trouble=Trouble("nothing listens", "start it"), retry_s=1.0))
    rig.tick(BROKER_PATIENCE_S - 1.0)
    assert rig.codes == set()
    rig.tick(1.0)
    (reason,) = rig.health.snapshot().reasons
    assert (reason.code, reason.fix) == (Code.BROKER_DOWN, "start it")


def test_connection_that_stands_can_have_its_troubles(rig: Rig) -> None:
    """What the broker does not let through, and that another client may take the connection away, are conditions of
    their own while it stands; both end with it, or when they are over."""
    limits, contest = Trouble("at most 500 bytes", "raise it"), Trouble("another client", "rename it")
    rig.control.handle(LinkState(True, 5, limits=limits, trouble=contest))
    assert rig.codes == {Code.BROKER_LIMITED, Code.BROKER_UNSTABLE}
    assert {reason.fix for reason in rig.health.snapshot().reasons} == {"raise it", "rename it"}
    rig.control.handle(LinkState(False, trouble=contest, retry_s=60.0))
    assert rig.codes == {Code.BROKER_DOWN}
    rig.control.handle(LinkState(True, 5, limits=limits))
    assert rig.codes == {Code.BROKER_LIMITED}
    rig.control.handle(LinkState(True, 5))
    assert rig.codes == set()


def test_clock_that_is_not_set_yet_is_said_until_it_is(rig: Rig) -> None:
    """Before a Pi has learnt the time every document with a time says so, and health does without being less than ok;
    when the clock is set all is told anew, with the times of before in the new time, and the jump is an event."""
    rig.outbox.online()
    rig.clock_synced = False
    rig.clock.set_wall(100.0)
    rig.control.handle(CameraState("front", Phase.LOST, 0.0, reason="refused"))
    with capture_logs() as lines:
        rig.tick(0.0)
        rig.tick()
    assert [line["event"] for line in lines if "wall clock" in line["event"]] == [
        "wall clock is not set yet: messages say so",
        "wall clock was set",
    ]
    assert rig.codes == {Code.CLOCK_UNSYNCED, Code.CAMERA_LOST}
    before = rig.news()
    assert before[TOPICS.health]["clock_synced"] is False
    assert before[TOPICS.info]["clock_synced"] is False
    rig.clock.advance(60.0)
    for _ in range(20):
        rig.tick()
    assert rig.news().keys() <= {TOPICS.health, TOPICS.event, TOPICS.metrics, *_states()}, "only keep-alives"
    rig.clock_synced = True
    rig.clock.set_wall(2_000_000_000.0)
    with capture_logs() as lines:
        rig.tick(0.0)
    assert {"wall clock was set", "wall clock is set"} <= {line["event"] for line in lines}
    rig.tick(1.0)
    after = rig.news()
    assert rig.codes == {Code.CAMERA_LOST}
    health = after[TOPICS.health]
    assert "clock_synced" not in health
    assert health["reasons"][0]["since"] == pytest.approx(2_000_000_000.0 - 62.1, abs=0.5)
    assert after[TOPICS.info]["clock_synced"] is True
    assert after[TOPICS.info]["started_at"].startswith("2033-05-18T03:32:1")
    (event,) = after[TOPICS.event]
    assert event["event_type"] == "clock_jumped"
    assert event["by_s"] == pytest.approx(2_000_000_000.0 - 162.1, abs=0.5)
    assert "clock_synced" not in event


@pytest.mark.parametrize(("by", "events"), [(-3600.0, 1), (1.5, 0), (0.5, 0)])
def test_clock_that_is_set_again_moves_nothing_but_its_times(rig: Rig, by: float, events: int) -> None:
    """An hour back is an event, a second and a half is not; no camera and no condition changes by it, and since when
    a condition stands follows the clock, except by less than a second, which would make every document news."""
    rig.outbox.online()
    rig.control.handle(CameraState("front", Phase.LOST, 0.0, reason="refused"))
    began = rig.clock.wall()
    rig.tick(1.0)
    rig.news()
    codes = rig.codes
    rig.clock.set_wall(rig.clock.wall() + by)
    rig.tick(1.0)
    rig.tick(1.0)
    told = rig.news()
    assert [event["event_type"] for event in told[TOPICS.event]] == ["clock_jumped"] * events
    assert rig.codes == codes
    if abs(by) > 1.0:
        assert told[TOPICS.health]["reasons"][0]["since"] == pytest.approx(began + by, abs=0.01)
    else:
        assert TOPICS.health not in told


def test_silent_worker_is_told_until_it_is_heard(rig: Rig, idle: Worker) -> None:
    """A thread that gives no sign of life is named, and no more once it does."""
    rig.tick(6.0)
    assert rig.codes == {Code.WORKER_LATE}
    idle.beat()
    rig.tick()
    assert rig.codes == set()


def test_worker_that_failed_ends_the_daemon(rig: Rig) -> None:
    """A daemon without one of its threads would be blind: it ends and says why, to be started anew."""

    def fail(_: Worker) -> None:
        raise RuntimeError("bug")

    worker = Worker("results", fail, rig.clock)
    worker.start()
    assert worker.join(10.0)
    rig.watched.append(worker)
    rig.control.tick(rig.clock.monotonic())
    assert rig.control.serve() == "worker results failed"


def test_quit_ends_the_loop(rig: Rig) -> None:
    """A loop that waits ends when it is told to, with the reason that it was given."""
    timer = threading.Timer(0.05, rig.inbox.put, [Quit("received SIGTERM")])
    timer.start()
    assert rig.control.serve() == "received SIGTERM"
    timer.join()


def test_no_event_of_a_flood_is_lost(rig: Rig) -> None:
    """However many events wait, each is handled: the clocks are looked at in between, not instead."""
    handled: list[object] = []
    states = [CameraState("front", Phase.ONLINE, since=float(number)) for number in range(3 * BURST)]
    for state in states:
        rig.inbox.put(state)

    def count(event: object) -> None:
        handled.append(event)
        if len(handled) == len(states):
            rig.control._quit = "over"

    rig.control.handle = count  # type: ignore[method-assign]
    assert rig.control.serve() == "over"
    assert handled == states


def test_model_that_could_not_replace_another_is_no_lasting_condition(rig: Rig) -> None:
    """A swap to a model that fails is answered; once the old one runs on, health does not go on about the new one."""
    rig.control.stage(settings(model="two"))
    rig.control.handle(ModelFailed("two", DeviceRejected("damaged")))
    assert rig.codes == {Code.MODEL_FAILED}
    rig.control.settle()
    assert rig.codes == set()


ASKED = DeviceDown(Fault.DEVICE_LOST, "handed over", None, asked=True)


@pytest.fixture
def lent(rig: Rig) -> Rig:
    """A loop whose device has been lent for ten minutes."""
    rig.control.device_release(600.0)
    rig.control.handle(ASKED)
    rig.control.handle(DeviceReleased())
    return rig


def test_loan_is_a_condition_with_its_end(lent: Rig) -> None:
    """Health says that the device is lent, until when and how to have it back; settings and an event say so too."""
    assert lent.asked == ["release"]
    assert lent.codes == {Code.DEVICE_RELEASED}
    (reason,) = lent.health.snapshot().reasons
    assert all(
        word in f"{reason.text} {reason.doing} {reason.fix}" for word in ("until", "by itself", "device.acquire")
    )
    assert lent.told(TOPICS.settings)[-1]["device"] == "OFF"
    lent.control.device_release(60.0)
    assert lent.told(TOPICS.event)[-1]["event_type"] == "device_released"
    assert lent.control.released_until == lent.clock.wall() + 60.0
    assert lent.asked == ["release"]


def test_words_of_a_loan_stand_still(lent: Rig) -> None:
    """While the device is lent nothing in the condition changes with every second."""
    before = lent.health.snapshot().reasons
    lent.tick(30.0)
    assert lent.health.snapshot().reasons == before


def test_device_is_taken_back_when_the_time_is_over(lent: Rig) -> None:
    """The loan ends by itself; the device that is open again is told with how long it was away."""
    lent.tick(599.0)
    assert lent.control.released
    lent.tick(1.0)
    assert not lent.control.released
    assert lent.asked == ["release", "acquire"]
    assert lent.codes == {Code.DEVICE_STARTING}
    lent.clock.advance(2.0)
    lent.control.handle(DeviceUp({}))
    event = lent.told(TOPICS.event)[-1]
    assert (event["event_type"], event["by"], event["after_s"]) == ("device_acquired", "time", 602.0)
    assert lent.told(TOPICS.settings)[-1]["device"] == "ON"


def test_device_that_its_borrower_keeps_is_unavailable(lent: Rig) -> None:
    """A device that is in use when it is taken back is told as such, and the loan ends when it is free."""
    lent.control.device_acquire()
    lent.control.handle(DeviceDown(Fault.UNAVAILABLE, "held by python3 (pid 4242)", 0.5))
    assert lent.codes == {Code.DEVICE_UNAVAILABLE}
    assert [event["event_type"] for event in lent.told(TOPICS.event)] == ["device_released", "device_lost"]
    lent.control.handle(DeviceUp({}))
    event = lent.told(TOPICS.event)[-1]
    assert (event["event_type"], event["by"]) == ("device_acquired", "cmd")


def test_host_on_its_way_out_is_no_start(rig: Rig) -> None:
    """While the device is handed over health does not speak of a start."""
    rig.control.device_release(600.0)
    rig.control.handle(ASKED)
    assert rig.codes == {Code.DEVICE_RELEASED}


def test_birth_of_home_assistant_is_answered_in_order(rig: Rig) -> None:
    """Discovery first, a moment later every state, and then metrics at once."""
    rig.control.adopt(rig.settings)
    rig.tick()
    camera = "homeassistant/device/hailod_pi_front/config"
    assert (len(rig.told(TOPICS.discovery)), len(rig.told(camera))) == (1, 1)
    for payload in (b"offline", b"online"):
        rig.control.handle(Inbound(HOME_ASSISTANT_STATUS, payload, False, rig.clock.monotonic()))
    rig.tick(0.9)
    assert len(rig.told(TOPICS.discovery)) == 1
    rig.tick(4.2)
    assert (len(rig.told(TOPICS.discovery)), len(rig.told(camera))) == (2, 2)
    healths, metrics = len(rig.told(TOPICS.health)), len(rig.told(TOPICS.metrics))
    rig.tick(1.0)
    assert len(rig.told(TOPICS.discovery)) == 3
    assert (len(rig.told(TOPICS.health)), len(rig.told(TOPICS.metrics))) == (healths + 1, metrics + 1)
    rig.tick(60.0)
    assert len(rig.told(TOPICS.discovery)) == 3


def test_messages_that_a_flood_lost_are_told(rig: Rig) -> None:
    """What found the inbox full is counted in health, under its own name and reason."""
    rig.tick()
    rig.news()
    for _ in range(MAX_INBOUND + 6):
        rig.inbox.put_inbound(Inbound(TOPICS.set("device"), b"ON", False, rig.clock.monotonic()))
    rig.tick(61.0)
    told = rig.news()[TOPICS.health]["mqtt"]
    assert told["dropped"]["inbound"] == 6
    assert told["dropped_by"]["inbound"] == {"overflow": 6}


def test_node_can_be_hidden_from_home_assistant(rig: Rig) -> None:
    """Turned off, the discovery is taken away with an empty message; turned on, it is told again."""
    on = rig.settings.mqtt
    rig.control.adopt(rig.settings.model_copy(update={"mqtt": on.model_copy(update={"discovery": "off"})}))
    assert rig.raw(TOPICS.discovery) == [b""]
    rig.tick()
    rig.control.adopt(rig.settings)
    assert rig.raw(TOPICS.discovery)[-1].startswith(b"{")


def test_settings_that_cannot_be_saved_are_a_condition(rig: Rig) -> None:
    """A disk that refuses is told with what is done and what helps, for as long as it refuses."""
    rig.control.handle(StateUnsaved(0, "cannot be written: Read-only file system", "mount it writable"))
    (reason,) = rig.health.snapshot().reasons
    assert reason.code is Code.STATE_UNSAVED
    assert "Read-only" in reason.text
    assert "tried again" in reason.doing
    assert reason.fix == "mount it writable"
    rig.control.handle(StateSaved(1))
    assert rig.codes == set()


@pytest.mark.parametrize("end", ["saved", "time"])
def test_settings_that_were_left_out_are_a_condition(end: str) -> None:
    """What of the kept settings does not fit any more is told after a start: for an hour, or until others are saved."""
    rig = Rig(discarded=("overrides.json: cameras.gone.threshold: there is no camera 'gone' any more", "another"))
    rig.control._keeping.tell_discarded(rig.control._discarded)
    (reason,) = rig.health.snapshot().reasons
    assert (reason.code, reason.text.endswith("(and 1 more)")) == (Code.STATE_DISCARDED, True)
    rig.control.handle(StateSaved(0))
    rig.tick()
    assert rig.codes == {Code.STATE_DISCARDED}
    if end == "saved":
        rig.control.handle(StateSaved(1))
        rig.tick()
    else:
        rig.tick(DISCARDED_HOLD_S)
    assert rig.codes == set()


def test_revision_goes_on_where_it_was(rig: Rig) -> None:
    """The number of the settings survives a restart, and rises with each change, kept or not."""
    assert rig.control.revision == 7
    assert rig.control.adopt(rig.settings) == 8
    assert rig.control.keep(Edit({"model": "two"})) == 1
    rig.saver.start()
    assert rig.saver.stop(10.0)
    assert [(written.revision, written.values) for written in rig.store.written] == [(8, {"model": "two"})]


def test_restart_ends_the_loop_after_its_reply(rig: Rig) -> None:
    """A restart leaves its reply the time to go out, and ends the daemon for a reason that is no signal's."""
    rig.control.daemon_restart()
    rig.tick(RESTART_AFTER_S - 0.1)
    assert rig.control._quit is None
    rig.tick(0.2)
    assert rig.control._quit is not None
    assert exit_code(rig.control._quit) == 1


def test_model_is_proven_by_frames_alone(rig: Rig) -> None:
    """While a camera delivers, a model has to deliver too; without frames nothing can be said."""
    assert rig.control.proven({"one"}) is None
    rig.control.handle(CameraState("front", Phase.ONLINE, 0.0))
    assert rig.control.proven({"one"}) is False
    assert rig.control.proven({"two"}) is None
    assert rig.control.proven(()) is True
    rig.engine.delivers = lambda model: True  # type: ignore[method-assign]
    assert rig.control.proven({"one"}) is True


def test_files_are_not_read_by_the_control_thread(rig: Rig) -> None:
    """A reload is begun elsewhere; where the daemon has no files it is refused and told, and nothing has changed."""
    rig.control.handle(Reload())
    done = rig.inbox.get(10.0)
    assert isinstance(done, ErrandDone)
    rig.control.handle(done)
    (event,) = rig.news()[TOPICS.event]
    assert event["event_type"] == "config_rejected"
    assert rig.control.settings is rig.settings


def _schemas(rig: Rig) -> set[str]:
    return {topic for topic in rig.outbox.present if topic.startswith(f"{TOPICS.base}/schema/")}


def test_schemas_are_told_and_taken_away(rig: Rig) -> None:
    """The form of every document and command is a state like any other: told before `online`, and cleared when turned
    off, told again when turned on."""
    index = json.loads(rig.raw(TOPICS.schema("index"))[0])
    assert _schemas(rig) == {TOPICS.schema(name) for name in ("index", *index["documents"], *index["commands"])}
    assert TOPICS.rank(TOPICS.models) < TOPICS.rank(TOPICS.schema("index")) < TOPICS.rank(TOPICS.settings)
    off = rig.settings.model_copy(update={"mqtt": rig.settings.mqtt.model_copy(update={"schemas": False})})
    rig.control.adopt(off)
    assert rig.raw(TOPICS.schema("health"))[-1] == b""
    assert _schemas(rig) == set()
    rig.control.adopt(off)
    assert len(rig.raw(TOPICS.schema("health"))) == 2, "nothing more is cleared"
    rig.control.adopt(rig.settings)
    assert _schemas(rig)


def test_log_over_mqtt_follows_its_setting(rig: Rig) -> None:
    """Lines of the log are told from the moment at which they are wanted until they no longer are."""
    from hailod import logs
    from tests.support.log import restored

    def adopt(level: str) -> None:
        mqtt = rig.settings.mqtt.model_copy(update={"log": level})
        rig.control.adopt(rig.settings.model_copy(update={"mqtt": mqtt}))

    with restored():
        logs.configure("info", sink=logs.TerminalSink(io.StringIO()))
        logger = structlog.get_logger("hailod.somewhere")
        for level, told in (("off", 0), ("warning", 1), ("error", 1), ("off", 1)):
            adopt(level)
            logger.warning(f"heard at {level}")
            rig.tick()
            assert len(rig.told(TOPICS.log)) == told


def test_secrets_of_new_settings_are_kept_before_they_run(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera that comes at run time is opened only when the filter of log and messages knows its password."""
    camera = CameraSettings(source=SecretStr("rtsp://admin:geheim42@192.0.2.1/x"))
    known_when_opened: list[str] = []

    class Watching(FakeWorker):
        def start(self) -> None:
            known_when_opened.append(rig.secrets.scrub("geheim42 is wrong"))
            super().start()

    monkeypatch.setattr(rig.cameras, "_factory", Watching)
    rig.control.adopt(rig.settings.model_copy(update={"cameras": {**rig.settings.cameras, "yard": camera}}))
    assert known_when_opened == ["*** is wrong"]

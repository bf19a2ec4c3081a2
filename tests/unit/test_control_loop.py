"""What the control loop makes of what it hears: health, watchdog and the end. Its parts are real but not started."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hailod.clock import FakeClock
from hailod.control.cameras import Cameras
from hailod.control.commands import Commands
from hailod.control.events import Events
from hailod.control.inbox import Inbox, Quit
from hailod.control.loop import BURST, TROUBLE_HOLD_S, Control, Parts
from hailod.control.reports import Connection, Reports
from hailod.device.events import DeviceDown, DeviceStuck, DeviceUp, ModelFailed
from hailod.device.recovery import Fault
from hailod.errors import DecodeError, DeviceRejected
from hailod.health import Code, Health, State
from hailod.models.manifest import Manifest
from hailod.mqtt.messages import LinkState
from hailod.mqtt.outbox import MAX_DOCUMENT, Outbox
from hailod.mqtt.topics import Topics
from hailod.pipeline.camera_state import CameraState, Phase
from hailod.pipeline.engine import Engine, ModelPlan
from hailod.pipeline.publisher import Publisher
from hailod.pipeline.results import QUARANTINE_AFTER, ModelTrouble
from hailod.pipeline.stats import Stats
from hailod.sd import Notifier
from hailod.worker import Worker
from tests.support.cameras import FakeWorker
from tests.support.desk import settings
from tests.support.device import frame

TOPICS = Topics("pi")


class Rig:
    """A control loop whose engine, cameras and broker exist and do nothing."""

    def __init__(self) -> None:
        self.clock = clock = FakeClock()
        self.inbox = Inbox()
        self.health = Health()
        self.watched: list[Worker] = []
        self.levels: list[str] = []
        self.settings = settings()
        outbox = self.outbox = Outbox(TOPICS, clock)
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
        cameras = Cameras(
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
            connection=lambda: Connection(5, 0),
            fps_in=lambda: cameras.fps_in,
        )
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
        )
        plans = {name: ModelPlan(name, Path(f"{name}.hef"), Manifest()) for name in self.settings.models}
        commands = Commands(topics=TOPICS, clock=clock, outbox=outbox, events=events)
        self.control = Control(self.settings, plans, parts, commands)
        self.control.apply(self.settings)

    def tick(self, seconds: float = 0.1) -> None:
        self.clock.advance(seconds)
        self.control.tick(self.clock.monotonic())

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


def test_model_that_is_never_decodable_is_taken_out_of_service(rig: Rig) -> None:
    """After ten frames in a row the model is given up and that is told; it stays so when the trouble is over."""
    for number in range(1, QUARANTINE_AFTER + 1):
        assert Code.MODEL_FAILED not in rig.codes
        rig.control.handle(trouble(number))
    assert Code.MODEL_FAILED in rig.codes
    rig.tick(TROUBLE_HOLD_S + 1.0)
    assert Code.MODEL_FAILED in rig.codes


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
    rig.outbox.online()
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
    """Without a broker health is degraded, and ok again with it."""
    rig.control.handle(LinkState(False, reason="refused"))
    assert rig.codes == {Code.BROKER_DOWN}
    rig.control.handle(LinkState(True, 5))
    assert rig.codes == set()


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
    rig.control.load_beside("two")
    rig.control.handle(ModelFailed("two", DeviceRejected("damaged")))
    assert rig.codes == {Code.MODEL_FAILED}
    rig.control.load_beside(None)
    assert rig.codes == set()

"""`snapshot.take`: the next picture of a camera as a JPEG, once, within its limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import cv2
import numpy as np
import pytest
from pydantic import SecretStr

from hailod.clock import FakeClock
from hailod.config.model import CameraSettings, MqttSettings
from hailod.control.cameras import Cameras
from hailod.control.commands import Commands
from hailod.control.events import Events
from hailod.control.snapshots import PERIOD_S, SnapshotReady, Snapshots, SnapshotSent
from hailod.mailbox import Mailboxes
from hailod.mqtt.commands import TakeSnapshot
from hailod.mqtt.messages import Inbound
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics
from hailod.pipeline.camera import CameraWorker
from hailod.pipeline.camera_state import CameraState, Phase
from hailod.pipeline.publisher import Publisher
from hailod.pipeline.snapshot import encode
from hailod.pipeline.stats import Stats
from hailod.types import Frame, Picture, PixelFormat
from tests.support.cameras import FakeWorker
from tests.support.desk import FakeDesk
from tests.support.device import frame

TOPICS = Topics("pi")
SNAPSHOT = TOPICS.camera("front").snapshot
REPLY = TOPICS.reply("snapshot.take")


def picture(width: int, height: int, colour: tuple[int, int, int] = (200, 40, 20)) -> Picture:
    return Picture(PixelFormat.RGB, width, height, (np.full((height, width, 3), colour, np.uint8),))


def noise(width: int, height: int) -> Picture:
    plane = np.random.default_rng(7).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Picture(PixelFormat.RGB, width, height, (plane,))


class Rig:
    """Commands with a camera that the test plays; errands are run when the test says so."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.outbox = Outbox(TOPICS, self.clock)
        self.outbox.online()
        self.desk = FakeDesk()
        self.errands: list[Callable[[], SnapshotReady]] = []
        self.fates: list[SnapshotSent] = []
        self.workers: dict[str, FakeWorker] = {}
        events = Events(TOPICS, self.clock, self.outbox, "e")
        self.cameras = Cameras(
            topics=TOPICS,
            clock=self.clock,
            outbox=self.outbox,
            mailboxes=Mailboxes(self.clock),
            publisher=Publisher(self.outbox, TOPICS, self.clock, Stats(0.0)),
            events=events,
            on_state=lambda _: None,
            factory=self._make,
        )
        self.cameras.apply(self.desk.settings)
        snapshots = Snapshots(
            topics=TOPICS,
            clock=self.clock,
            outbox=self.outbox,
            cameras=self.cameras,
            ask=lambda errand: not self.errands.append(errand),  # type: ignore[func-returns-value]
            on_event=self.fates.append,
        )
        self.commands = Commands(
            topics=TOPICS, clock=self.clock, outbox=self.outbox, events=events, beside={TakeSnapshot: snapshots}
        )
        self.told()

    def _make(self, *arguments: Any) -> CameraWorker:
        worker = FakeWorker(*arguments)
        self.workers[worker.name] = worker
        return cast(CameraWorker, worker)

    def take(self, camera: str = "front", **envelope: object) -> None:
        payload = json.dumps({"id": str(self.clock.monotonic()), "args": {"camera": camera}, **envelope}).encode()
        topic = f"{TOPICS.base}/cmd/snapshot.take"
        self.commands.receive(Inbound(topic, payload, False, self.clock.monotonic()), self.desk)

    def deliver(self, shown: Picture | None = None) -> None:
        """The camera gives a frame, and it is encoded."""
        taker = self.workers["front"].taker
        assert taker is not None
        taker(frame(picture=shown or picture(320, 240)))
        self.encoded()

    def encoded(self) -> None:
        for errand in self.errands:
            self.commands.beside_event(errand())
        self.errands.clear()

    def told(self) -> dict[str, bytes]:
        """What goes out now, and what its senders hear of it."""
        found = {}
        while (outgoing := self.outbox.take()) is not None:
            self.outbox.done(outgoing)
            found[outgoing.topic] = outgoing.payload
        while self.fates:
            self.commands.beside_event(self.fates.pop())
        return found

    def reply(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.told()[REPLY])
        return document

    def code(self) -> str:
        reply = self.reply()
        assert reply["status"] == "error"
        return str(reply["error"]["code"])


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_picture_is_published_and_then_answered(rig: Rig) -> None:
    """The next frame goes out as a JPEG of its size, not retained, and the reply comes when it has left."""
    rig.take()
    rig.deliver(picture(320, 240))
    sent = rig.told()
    assert REPLY not in sent
    shown = cv2.imdecode(np.frombuffer(sent[SNAPSHOT], np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert shown.shape == (240, 320, 3)
    assert np.allclose(shown[120, 160], (20, 40, 200), atol=6)
    data = rig.reply()["data"]
    assert (data["camera"], data["topic"], data["width"], data["height"]) == ("front", SNAPSHOT, 320, 240)
    assert data["bytes"] == len(sent[SNAPSHOT])
    assert rig.workers["front"].taker is None


def test_nothing_is_asked_of_other_cameras(rig: Rig) -> None:
    """Only the camera that was named hands over a frame."""
    rig.take()
    assert rig.workers["front"].taker is not None
    assert rig.workers["back"].taker is None


def test_broker_retains_pictures_only_where_that_is_set(rig: Rig) -> None:
    """With `mqtt.snapshots = "retained"` the broker keeps the picture for a day, and loses it when that is undone."""
    mqtt = MqttSettings(snapshots="retained")
    rig.desk.settings = rig.desk.settings.model_copy(update={"mqtt": mqtt})
    rig.cameras.apply(rig.desk.settings)
    rig.take()
    rig.deliver()
    outgoing = rig.outbox.take()
    assert outgoing is not None
    assert (outgoing.topic, outgoing.retain, outgoing.expiry) == (SNAPSHOT, True, 86_400)
    rig.outbox.done(outgoing)
    rig.cameras.apply(rig.desk.settings.model_copy(update={"mqtt": MqttSettings()}))
    assert rig.told()[SNAPSHOT] == b""


@pytest.mark.parametrize("whose", ["camera", "node"])
@pytest.mark.parametrize("when", ["before", "waiting", "encoding", "queued"])
def test_private_camera_gives_no_picture(rig: Rig, whose: str, when: str) -> None:
    """Whenever the switch is turned, before it is asked or on the picture's whole way, none is published."""

    def turn() -> None:
        camera = CameraSettings(source=SecretStr("synthetic:"), privacy=whose == "camera")
        rig.desk.settings = rig.desk.settings.model_copy(
            update={"cameras": {**rig.desk.settings.cameras, "front": camera}, "privacy": whose == "node"}
        )
        rig.cameras.apply(rig.desk.settings)

    if when == "before":
        turn()
    rig.take()
    taker = rig.workers["front"].taker
    if when == "waiting":
        turn()
        rig.commands.tick(rig.clock.monotonic())
    if when in ("encoding", "queued"):
        assert taker is not None
        taker(frame(picture=picture(64, 64)))
    if when == "queued":
        rig.encoded()
    if when in ("encoding", "queued"):
        turn()
        rig.encoded()
    sent = rig.told()
    sent = {**sent, **rig.told()}
    assert sent.get(SNAPSHOT, b"") == b""
    reply = json.loads(sent[REPLY])
    assert (reply["status"], reply["error"]["code"]) == ("error", "forbidden")


def test_camera_that_gives_no_picture_is_told(rig: Rig) -> None:
    """One that is lost is answered at once, one that stays silent at the deadline, after it was said to take long."""
    rig.take(timeout_s=5)
    rig.clock.advance(1.0)
    rig.commands.tick(rig.clock.monotonic())
    assert rig.reply()["status"] == "accepted"
    rig.clock.advance(5.0)
    rig.commands.tick(rig.clock.monotonic())
    assert rig.code() == "timeout"
    assert rig.workers["front"].taker is None
    rig.cameras.handle(CameraState("front", Phase.LOST, 0.0, serial=99, reason="gone"))
    rig.clock.advance(PERIOD_S)
    rig.take()
    assert rig.code() == "timeout"


def test_one_picture_in_five_seconds(rig: Rig) -> None:
    """A camera that was asked less than five seconds ago is not asked again; others may be."""
    rig.take()
    rig.deliver()
    rig.told()
    assert rig.reply()["status"] == "ok"
    rig.clock.advance(PERIOD_S - 0.1)
    rig.take()
    assert rig.code() == "rate_limited"
    rig.take("back")
    assert rig.told() == {}
    rig.clock.advance(0.2)
    rig.take()
    assert rig.workers["front"].taker is not None


@pytest.mark.parametrize(
    ("envelope", "code"),
    [({"args": {"camera": "garden"}}, "unknown_camera"), ({"args": {}}, "bad_args"), ({"if_revision": 9}, None)],
)
def test_bad_request_is_refused(rig: Rig, envelope: dict[str, object], code: str | None) -> None:
    """A camera that does not exist, none at all, and another revision are refused, and no camera is asked."""
    rig.take(**envelope)
    assert rig.code() == (code or "revision_conflict")
    assert rig.workers["front"].taker is None


def test_dry_run_takes_no_picture(rig: Rig) -> None:
    """With `dry_run` it is only said that it could be done."""
    rig.take(dry_run=True)
    assert rig.reply()["data"] == {"camera": "front", "dry_run": True}
    assert rig.workers["front"].taker is None


def test_lost_picture_is_no_success(rig: Rig) -> None:
    """A picture that the connection takes with it is answered as lost."""
    rig.take()
    rig.deliver()
    outgoing = rig.outbox.take()
    assert outgoing is not None
    rig.outbox.offline([outgoing])
    rig.outbox.online()
    rig.told()
    assert rig.code() == "internal"


@pytest.mark.parametrize("limit", [262_144, 60_000, 9_000])
def test_picture_fits_however_much_there_is_in_it(limit: int) -> None:
    """The quality falls, and then the size, until even noise fits."""
    shot = encode(Frame("front", 1, 0.0, 5.0, noise(640, 480)), limit)
    assert shot is not None
    assert len(shot.jpeg) <= limit
    shown = cv2.imdecode(np.frombuffer(shot.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert shown.shape == (shot.height, shot.width, 3)


def test_picture_that_cannot_be_made_small_enough_is_none() -> None:
    """Where not even the smallest fits there is no picture, rather than half of one."""
    assert encode(Frame("front", 1, 0.0, 5.0, noise(640, 480)), 100) is None

"""`snapshot.take`: the next picture of a camera, once, on its own topic.

The camera's thread hands over the frame as it comes, a thread of errands makes a JPEG of it, and the control thread
publishes that, if by then the camera has not become private. It is answered when the picture has left the process.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from hailod.clock import Clock
from hailod.control.beside import Answer
from hailod.control.cameras import Cameras
from hailod.control.privacy import refuse_if_private
from hailod.control.transactions import Desk, Refused, Succeeded
from hailod.errors import CommandError
from hailod.mqtt.commands import Request, TakeSnapshot
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics
from hailod.pipeline.snapshot import Snapshot, encode
from hailod.types import Frame

# How often a camera may be asked, and after how long it is said that it takes its time.
PERIOD_S = 5.0
_ACCEPT_AFTER_S = 0.5


@dataclass(frozen=True, slots=True)
class SnapshotReady:
    """A frame was encoded; `snapshot` is None where it does not fit into a message, or for the reason in `problem`."""

    serial: int
    snapshot: Snapshot | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotSent:
    """What became of a picture in the outbox."""

    serial: int
    sent: bool


@dataclass(slots=True, eq=False)
class _Pending:
    serial: int
    camera: str
    answer: Answer
    desk: Desk
    began: float
    deadline: float
    accepted: bool = False
    snapshot: Snapshot | None = None


class Snapshots:
    """Pictures that were asked for; at most one at a time of each camera."""

    def __init__(
        self,
        *,
        topics: Topics,
        clock: Clock,
        outbox: Outbox,
        cameras: Cameras,
        ask: Callable[[Callable[[], SnapshotReady]], bool],
        on_event: Callable[[SnapshotSent], None],
    ) -> None:
        """`ask` has something run on a thread of its own and what comes out told to `hear`, and `on_event`, which is
        called on any thread, does so with what it is given."""
        self._topics = topics
        self._clock = clock
        self._outbox = outbox
        self._cameras = cameras
        self._ask = ask
        self._on_event = on_event
        self._serials = itertools.count(1)
        self._pending: dict[str, _Pending] = {}
        self._asked: dict[str, float] = {}

    def begin(self, request: Request, desk: Desk, answer: Answer) -> None:
        command, now = request.command, self._clock.monotonic()
        assert isinstance(command, TakeSnapshot), "nothing else is sent here"
        camera, settings = command.camera, desk.settings
        if camera not in settings.cameras:
            known = sorted(settings.cameras)
            raise CommandError("unknown_camera", f"no camera '{camera}'", field="args.camera", allowed=known)
        refuse_if_private(settings, camera)
        why = self._cameras.absent(camera)
        if why is not None:
            raise CommandError("timeout", f"no picture is to be had: {why}", retryable=True)
        if camera in self._pending or now - self._asked.get(camera, now - PERIOD_S) < PERIOD_S:
            raise CommandError("rate_limited", f"at most one picture in {PERIOD_S:g} s of each camera", retryable=True)
        if request.dry_run:
            answer.give(Succeeded({"camera": camera, "dry_run": True}))
            return
        self._asked = {name: at for name, at in self._asked.items() if now - at < PERIOD_S}
        self._asked[camera] = now
        pending = _Pending(next(self._serials), camera, answer, desk, now, request.deadline)
        self._pending[camera] = pending
        self._cameras.next_picture(camera, self._taker(pending.serial))

    def hear(self, event: object) -> None:
        if not isinstance(event, SnapshotReady | SnapshotSent):
            return
        pending = next((entry for entry in self._pending.values() if entry.serial == event.serial), None)
        if pending is None or self._ended_by_privacy(pending):
            return
        if isinstance(event, SnapshotReady):
            self._publish(pending, event)
        elif event.sent:
            self._end(pending, Succeeded(self._described(pending)))
        else:
            self._end(pending, Refused("internal", "the picture was lost on its way to the broker", retryable=True))

    def tick(self, now: float) -> None:
        for pending in list(self._pending.values()):
            if self._ended_by_privacy(pending):
                continue
            if now > pending.deadline:
                self._end(pending, Refused("timeout", "the camera gave no picture in time", retryable=True))
            elif not pending.accepted and now - pending.began > _ACCEPT_AFTER_S:
                pending.accepted = True
                pending.answer.accept()

    def _taker(self, serial: int) -> Callable[[Frame], None]:
        """What the camera's thread does with its next frame: no more than to hand it on."""
        limit = self._outbox.picture_limit

        def take(frame: Frame) -> None:
            # Where nothing more may wait, the deadline says so.
            self._ask(lambda: _made(serial, frame, limit))

        return take

    def _publish(self, pending: _Pending, ready: SnapshotReady) -> None:
        snapshot = ready.snapshot
        if ready.problem:
            self._end(pending, Refused("internal", f"the camera's picture cannot be encoded: {ready.problem}"))
            return
        if snapshot is None:
            self._end(pending, Refused("too_large", "no picture is small enough for the broker's largest packet"))
            return
        pending.snapshot = snapshot
        serial = pending.serial
        accepted = self._outbox.picture(
            self._topics.camera(pending.camera).snapshot,
            snapshot.jpeg,
            lambda sent: self._on_event(SnapshotSent(serial, sent)),
            retain=self._retained(pending),
        )
        if not accepted:
            self._end(pending, Refused("busy", "the broker takes no picture now", retryable=True))

    def _ended_by_privacy(self, pending: _Pending) -> bool:
        """Whether it became impossible meanwhile; the camera may be gone, too."""
        settings = pending.desk.settings
        if pending.camera not in settings.cameras:
            self._end(pending, Refused("unknown_camera", f"camera '{pending.camera}' was removed"))
            return True
        try:
            refuse_if_private(settings, pending.camera)
        except CommandError as error:
            self._end(pending, Refused(error.code, str(error), error.field))
            return True
        return False

    def _end(self, pending: _Pending, verdict: Succeeded | Refused) -> None:
        del self._pending[pending.camera]
        self._cameras.next_picture(pending.camera, None)
        pending.answer.give(verdict)

    def _retained(self, pending: _Pending) -> bool:
        return pending.desk.settings.mqtt.snapshots == "retained"

    def _described(self, pending: _Pending) -> dict[str, object]:
        shot = pending.snapshot
        assert shot is not None, "what was sent was made"
        return {
            "camera": pending.camera,
            "topic": self._topics.camera(pending.camera).snapshot,
            "ts": round(shot.wall, 3),
            "width": shot.width,
            "height": shot.height,
            "quality": shot.quality,
            "bytes": len(shot.jpeg),
        }


def _made(serial: int, frame: Frame, limit: int) -> SnapshotReady:
    try:
        return SnapshotReady(serial, encode(frame, limit))
    except ValueError as error:
        return SnapshotReady(serial, None, str(error))

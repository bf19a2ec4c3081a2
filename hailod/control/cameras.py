"""The camera workers, and what is told of each camera: its status, its faults, whether its results are fresh.

Events on `C/event` come in pairs: `camera_lost` once when a camera that was online is lost or one that starts is not
there at its first attempt, `camera_recovered` once with its next picture, whatever happened in between. Of a camera
that was switched off, that sleeps, or whose file came to its end there is neither: nothing is lost there. One that is
switched off or given another source while it is lost recovers with its next picture like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from hailod.clock import Clock
from hailod.config.model import CameraSettings, Settings
from hailod.control.events import Events
from hailod.control.privacy import seen_by_worker
from hailod.health import Code
from hailod.mailbox import Mailboxes
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics
from hailod.pipeline.camera import CameraWorker
from hailod.pipeline.camera_state import CameraState, Phase
from hailod.pipeline.publisher import Publisher
from hailod.types import Frame

log = structlog.get_logger(__name__)

WorkerFactory = Callable[[str, CameraSettings, Mailboxes, Clock, Callable[[CameraState], None]], CameraWorker]

_LOST = {
    Phase.LOST: Code.CAMERA_LOST,
    Phase.ENDED: Code.CAMERA_ENDED,
    Phase.STUCK: Code.CAMERA_STUCK,
    Phase.FROZEN: Code.CAMERA_FROZEN,
}

# At the end of a file nothing is lost.
_MISSED = _LOST.keys() - {Phase.ENDED}


@dataclass(frozen=True, slots=True)
class _Loss:
    """A camera that was told to be lost: by which code and since when (monotonic)."""

    code: str
    since: float


@dataclass(slots=True, eq=False)
class _Camera:
    worker: CameraWorker
    settings: CameraSettings
    state: CameraState
    # Monotonic: since when results are due.
    expecting_since: float | None = None
    # Monotonic: since when frames come; None while they do not.
    online_since: float | None = None
    stale: bool = False
    loss: _Loss | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A health condition of one camera that holds, or, with an empty text, does not.

    `text` says what is wrong, `doing` what hailod does about it, `fix` what a person can do.
    """

    code: Code
    camera: str
    text: str = ""
    doing: str = ""
    fix: str = ""


class Cameras:
    """All cameras of the node. Used by the control thread."""

    def __init__(
        self,
        *,
        topics: Topics,
        clock: Clock,
        outbox: Outbox,
        mailboxes: Mailboxes,
        publisher: Publisher,
        events: Events,
        on_state: Callable[[CameraState], None],
        factory: WorkerFactory = CameraWorker,
    ) -> None:
        self._topics = topics
        self._clock = clock
        self._outbox = outbox
        self._mailboxes = mailboxes
        self._publisher = publisher
        self._events = events
        self._on_state = on_state
        self._factory = factory
        self._cameras: dict[str, _Camera] = {}
        self._retained = False

    def apply(self, settings: Settings) -> None:
        """Start, stop and adjust workers until they are as the settings say; untouched cameras go on untouched."""
        for name in self._cameras.keys() - settings.cameras.keys():
            self._remove(name)
        for name, entry in settings.cameras.items():
            wanted = seen_by_worker(settings, name, entry)
            camera = self._cameras.get(name)
            if camera is None:
                self._begin(name, wanted)
            elif _same_source(camera.settings, wanted):
                self._adjust(camera, wanted)
            else:
                self._begin(name, wanted, loss=self._end(name))

        before, self._retained = self._retained, settings.mqtt.snapshots == "retained"
        if before and not self._retained:
            for name in self._cameras:
                self._outbox.withdraw(self._topics.camera(name).snapshot)

    def handle(self, state: CameraState) -> tuple[Condition, ...]:
        """A worker reports; what that means for the node's health."""
        camera = self._cameras.get(state.camera)
        if camera is None or state.serial < camera.state.serial:
            # It is no more, or was told by another thread and overtaken.
            return ()
        camera.state = state
        if state.phase is not Phase.ONLINE:
            camera.online_since = None
        elif camera.online_since is None:
            camera.online_since = self._clock.monotonic()
        self._tell_status(camera)
        self._tell_event(camera)
        return (
            *(self._missed(camera, code, holds=state.phase is phase) for phase, code in _LOST.items()),
            _behind(state) if state.behind else Condition(Code.CAMERA_BEHIND, state.camera),
            _corrupt(state) if state.corrupt else Condition(Code.CAMERA_CORRUPT, state.camera),
        )

    def tick(self, stale_after: float) -> tuple[Condition, ...]:
        """Supervise the workers and see whose results are older than they may be."""
        now = self._clock.monotonic()
        conditions = []
        for name, camera in self._cameras.items():
            camera.worker.check(now)
            stale = self._is_stale(camera, now, stale_after)
            if stale != camera.stale:
                camera.stale = stale
                if stale:
                    self._publisher.mark_stale(name, self._publisher.last_result(name) or camera.expecting_since or now)
            # Of a camera that is lost or at its end more is known, and told; one that is back needs a moment.
            unanswered = stale and camera.online_since is not None and now - camera.online_since > stale_after
            text = f"camera {name}: frames come in, results do not" if unanswered else ""
            conditions.append(Condition(Code.CAMERA_STALE, name, text))
            self._tell_status(camera)
            self._publisher.publish_state(name)
        return tuple(conditions)

    def absent(self, name: str) -> str | None:
        """Why no picture of the camera is to be expected now; None where one is."""
        camera = self._cameras[name]
        if not camera.settings.enabled:
            return f"camera {name} is switched off"
        if camera.state.phase in (Phase.ONLINE, Phase.STARTING):
            return None
        return f"camera {name} is {camera.state.phase.value}"

    def next_picture(self, name: str, taker: Callable[[Frame], None] | None) -> None:
        """Have the camera's next picture handed to `taker` on the camera's thread; None: it is not wanted any more."""
        camera = self._cameras.get(name)
        if camera is not None:
            camera.worker.next_picture(taker)

    @property
    def fps_in(self) -> Mapping[str, float]:
        """Frames per second as they come from each camera."""
        return {name: camera.worker.state.fps_in for name, camera in self._cameras.items()}

    @property
    def online(self) -> frozenset[str]:
        """The cameras from which frames come."""
        return frozenset(
            name
            for name, camera in self._cameras.items()
            if camera.settings.enabled and camera.state.phase is Phase.ONLINE
        )

    def restart(self, name: str) -> None:
        """Open this camera's stream anew."""
        settings = self._cameras[name].settings
        self._begin(name, settings, loss=self._end(name))

    def stop(self, deadline: float) -> list[str]:
        """Stop all, the waiting shared: at most `deadline` seconds in all; the names of those that did not end."""
        give_up = self._clock.monotonic() + deadline
        left = []
        for camera in self._cameras.values():
            # The first call tells a worker to end without waiting, so that all of them end at once.
            camera.worker.stop(0.0)
        for name, camera in self._cameras.items():
            if not camera.worker.stop(max(give_up - self._clock.monotonic(), 0.0)):
                left.append(name)
            self._outbox.state(self._topics.camera(name).status, "offline")
        return left

    # -- inside ------------------------------------------------------------------------------------------------------

    def _begin(self, name: str, settings: CameraSettings, *, loss: _Loss | None = None) -> None:
        worker = self._factory(name, settings, self._mailboxes, self._clock, self._on_state)
        self._publisher.add(name, list(settings.labels or ()))
        self._publisher.mute(name, muted=settings.privacy)
        if settings.privacy:
            # Left from a time in which it was allowed, or by a process that was killed before it could clear it.
            self._outbox.withdraw(self._topics.camera(name).snapshot)
        self._cameras[name] = _Camera(worker, settings, worker.state, loss=loss)
        worker.start()

    def _end(self, name: str) -> _Loss | None:
        """Stop a camera's worker; what was told of its loss is for its successor to bring to an end."""
        camera = self._cameras.pop(name)
        if not camera.worker.stop(0.0):
            # Muted and on its way out; what it is inside of cannot be interrupted.
            log.debug("camera worker ends later", camera=name)
        return camera.loss

    def _remove(self, name: str) -> None:
        self._end(name)
        self._publisher.remove(name)
        topics = self._topics.camera(name)
        for topic in (topics.status, topics.settings):
            self._outbox.forget(topic)
        self._outbox.withdraw(topics.snapshot)

    def _adjust(self, camera: _Camera, wanted: CameraSettings) -> None:
        before, camera.settings = camera.settings, wanted
        if before.enabled != wanted.enabled:
            camera.expecting_since = None
            camera.worker.set_enabled(wanted.enabled)
            # What it saw last is not what is there once nobody looks.
            self._publisher.mark_stale(camera.worker.name, self._clock.monotonic())
        if before.privacy != wanted.privacy:
            self._publisher.mute(camera.worker.name, muted=wanted.privacy)
            if wanted.privacy:
                self._outbox.withdraw(self._topics.camera(camera.worker.name).snapshot)
        if before.max_fps != wanted.max_fps:
            camera.worker.set_max_fps(wanted.max_fps)
        if before.labels != wanted.labels:
            camera.expecting_since = None
            self._publisher.add(camera.worker.name, list(wanted.labels or ()))
            self._publisher.mute(camera.worker.name, muted=wanted.privacy)

    def _is_stale(self, camera: _Camera, now: float, stale_after: float) -> bool:
        """Whether results are due and none came for too long, which for a slow camera is three frame intervals."""
        if not camera.settings.enabled or camera.state.phase is Phase.STARTING:
            camera.expecting_since = None
            return False
        if camera.expecting_since is None:
            camera.expecting_since = now
        newest = max(self._publisher.last_result(camera.worker.name) or 0.0, camera.expecting_since)
        if now - newest <= stale_after:
            return False
        fps = min(camera.worker.state.fps_in or 1.0, camera.settings.max_fps or 1000.0)
        return now - newest > max(stale_after, 3.0 / max(fps, 0.01))

    def _tell_event(self, camera: _Camera) -> None:
        """The camera was lost or is back, if that was not told yet."""
        name, state, now = camera.worker.name, camera.state, self._clock.monotonic()
        if camera.settings.privacy:
            return
        if state.phase is Phase.ONLINE and camera.loss is not None:
            loss, camera.loss = camera.loss, None
            self._events.camera(name, "camera_recovered", code=loss.code, duration_s=round(now - loss.since, 3))
        elif state.phase in _MISSED and camera.loss is None and camera.settings.enabled:
            camera.loss = _Loss(state.code or str(state.phase), now)
            details = {"code": camera.loss.code, "reason": state.reason, "failures": state.failures}
            self._events.camera(name, "camera_lost", **details)

    def _missed(self, camera: _Camera, code: Code, *, holds: bool) -> Condition:
        """The condition of a camera that delivers nothing of use."""
        state = camera.state
        if not holds:
            return Condition(code, state.camera)
        retry = f"it is tried again, at the latest after {camera.settings.backoff_max:g} s"
        doing = {
            Code.CAMERA_ENDED: "nothing: a file is played once",
            Code.CAMERA_STUCK: "it is tried again as soon as one of the calls returns",
            Code.CAMERA_FROZEN: "it was opened anew; its pictures are not used until they change",
        }
        fix = "set loop, or switch the camera off and on" if code is Code.CAMERA_ENDED else state.fix
        text = f"camera {state.camera}: {state.reason or 'no frames'}"
        return Condition(code, state.camera, text, doing.get(code, retry), fix)

    def _tell_status(self, camera: _Camera) -> None:
        name, phase = camera.worker.name, camera.state.phase
        if not camera.settings.enabled:
            status = "disabled"
        elif phase is Phase.STARTING:
            status = "starting"
        elif phase is not Phase.ONLINE or camera.stale:
            status = "offline"
        else:
            status = "online" if self._publisher.last_result(name) is not None else "starting"
        self._outbox.state(self._topics.camera(name).status, status)


def _behind(state: CameraState) -> Condition:
    return Condition(
        Code.CAMERA_BEHIND,
        state.camera,
        f"camera {state.camera}: decoding is slower than the stream",
        "frames are skipped, up to the newest key frame",
        "lower the camera's resolution or frame rate, or give it key frames more often",
    )


def _corrupt(state: CameraState) -> Condition:
    return Condition(
        Code.CAMERA_CORRUPT,
        state.camera,
        f"camera {state.camera}: most of its frames cannot be decoded",
        "broken frames are counted and left out",
        "check cable and Wi-Fi, choose a lower bit rate, restart the camera",
    )


def _same_source(old: CameraSettings, new: CameraSettings) -> bool:
    """Whether a camera can go on as it is: only what can be changed while it runs differs."""
    live = ("model", "enabled", "privacy", "threshold", "labels", "max_fps")
    return old.model_copy(update={key: getattr(new, key) for key in live}) == new

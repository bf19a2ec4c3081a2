"""What Home Assistant is told to make devices of, kept in step with settings, models and accelerator.

A change is told in steps (`mqtt.discovery.history`), each of which has to be at the broker before the next one. Before
the first one, what may be at the broker after any of them is on the disk; a disk that does not answer in time is not
waited for any longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import structlog

from hailod.clock import Clock
from hailod.config.model import Settings
from hailod.control.recorder import Recorder
from hailod.device.events import DeviceUp, LinkEvent, ModelFailed, ModelReady
from hailod.errors import DeviceRejected
from hailod.mqtt import discovery
from hailod.mqtt.discovery import history
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.payloads import DeviceIdentity
from hailod.mqtt.topics import Topics
from hailod.pipeline.engine import ModelPlan
from hailod.version import VERSION

log = structlog.get_logger(__name__)

# As long as a disk is given for what was set over MQTT.
PATIENCE_S = 5.0
# Home Assistant takes a moment to let go of an entity, and to listen for one.
PAUSE_S = 1.0


def _of_none(_: Settings) -> Collection[str]:
    return ()


class Discovery:
    """Tells what there is, and what there is no more. Used by the control thread.

    `controls` is what the node can be told if it takes commands, as `commands.controls` names it. `snapshots` names the
    cameras of which pictures are sent.
    """

    def __init__(
        self,
        topics: Topics,
        clock: Clock,
        outbox: Outbox,
        recorder: Recorder,
        *,
        controls: frozenset[str],
        snapshots: Callable[[Settings], Collection[str]] = _of_none,
    ) -> None:
        self._topics = topics
        self._clock = clock
        self._outbox = outbox
        self._recorder = recorder
        self._controls = controls
        self._snapshots = snapshots
        self._plan: discovery.Plan | None = None
        # What a broker may hold.
        self._known: history.Contents = {}
        self._steps: deque[history.Step] = deque()
        # The step that is on its way, and when it was at the broker.
        self._step: history.Step | None = None
        self._told_at: float | None = None
        # When the disk is not waited for any longer; None: it knows.
        self._record_due: float | None = None
        self._first = True
        self._tell_settings_at: float | None = None
        # Models that the device refused, with the file that it was.
        self._refused: dict[str, tuple[int, int] | None] = {}
        self._paths: Mapping[str, Path] = {}
        self._arch: object = None
        self._left_out: Mapping[str, int] = {}

    def start(self) -> None:
        """Find out what was told before."""
        text = self._recorder.read(history.MAX_BYTES)
        self._known = history.first(self._topics)
        content = None
        if text is not None:
            try:
                self._known = history.parse(text, self._topics)
                content = history.encode(self._known)
            except ValueError as error:
                log.warning("what was told to Home Assistant is not known", reason=f"{discovery.FILE}: {error}")
        self._recorder.start(content)

    def settle(self, seconds: float) -> None:
        """Wait for the disk, so long at the most: what it knows can be told with the first connection."""
        self._recorder.settle(seconds)
        self._advance(self._clock.monotonic())

    def show(self, settings: Settings, identity: DeviceIdentity, models: Mapping[str, ModelPlan]) -> None:
        """This is what there is from now on."""
        self._paths = {name: plan.path for name, plan in models.items()}
        pictured = self._snapshots(settings)
        view = discovery.View(
            discovery.NodeView(identity, VERSION, self._offered(models), settings.mqtt.metrics_interval),
            tuple(
                discovery.CameraView(name, tuple(camera.labels or ()), snapshots=name in pictured)
                for name, camera in settings.cameras.items()
            ),
            self._controls if settings.mqtt.allow_control else frozenset(),
        )
        plan = discovery.plan(self._topics, view, settings.mqtt.discovery)
        if self._plan is not None and plan == self._plan:
            return
        self._complain(discovery.left_out(view))
        self._steps = deque(history.steps(self._known, plan))
        self._plan, self._step, self._told_at = plan, None, None
        self._known = history.union(self._known, plan.contents)
        self._recorder.put(history.encode(self._known))
        now = self._clock.monotonic()
        self._record_due = now + PATIENCE_S
        self._advance(now)

    def hear(self, event: LinkEvent) -> bool:
        """Something happened to device or models; says whether it must be shown."""
        match event:
            case DeviceUp(identity=identity):
                if identity.get("arch") != self._arch:
                    # What one chip refuses another one may take.
                    self._refused.clear()
                self._arch = identity.get("arch")
                return True
            case ModelFailed(name=name, error=DeviceRejected()) if name in self._paths:
                self._refused[name] = _version(self._paths[name])
                return True
            case ModelReady(session=session):
                return self._refused.pop(session.spec.name, self) is not self
        return False

    def tick(self, now: float) -> bool:
        """Go on with what is under way; says whether the settings must be told once more."""
        self._advance(now)
        if self._tell_settings_at is None or now < self._tell_settings_at:
            return False
        self._tell_settings_at = None
        return True

    def repeat(self) -> None:
        """The same once more, for a Home Assistant that has just started."""
        for topic in {**(self._plan.documents if self._plan else {}), **(self._step or {})}:
            self._outbox.repeat(topic)

    def _advance(self, now: float) -> None:
        if self._record_due is not None:
            if not self._recorder.settled and now < self._record_due:
                return
            self._record_due = None
        while True:
            if self._step is None:
                if not self._steps:
                    return
                self._step, self._told_at = self._steps.popleft(), None
                for topic, document in self._step.items():
                    if document:
                        self._outbox.state(topic, document)
                    else:
                        self._outbox.forget(topic)
            if self._told_at is None:
                if not self._outbox.settled(self._step):
                    return
                self._told_at = now
            if self._steps and now - self._told_at < PAUSE_S:
                return
            self._step = None
            if not self._steps:
                self._finish(now)

    def _finish(self, now: float) -> None:
        """The broker holds the plan and nothing else."""
        assert self._plan is not None, "what is finished was begun"
        self._known = self._plan.contents
        self._recorder.put(history.encode(self._known))
        if not self._first:
            self._tell_settings_at = now + PAUSE_S
        self._first = False

    def _offered(self, models: Mapping[str, ModelPlan]) -> tuple[str, ...]:
        """The models that this chip can run, as far as is known: those that it has not refused, or not as they are."""
        for name in [name for name, version in self._refused.items() if self._is_another(name, version)]:
            del self._refused[name]
        return tuple(name for name in sorted(models) if name not in self._refused)

    def _is_another(self, name: str, version: tuple[int, int] | None) -> bool:
        return name not in self._paths or _version(self._paths[name]) != version

    def _complain(self, left_out: Mapping[str, int]) -> None:
        if left_out != self._left_out:
            self._left_out = left_out
            for camera, more in left_out.items():
                log.warning("too many labels to show each in Home Assistant", camera=camera, left_out=more)


def _version(path: Path) -> tuple[int, int] | None:
    """Which file it is; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size

"""The opt-in topics as Frigate publishes them, for dashboards and flows that know those already.

    <prefix>/available              online, offline (retained)
    <prefix>/<camera>/<label>       how many, and <prefix>/<camera>/all their sum (retained, on change)
    <prefix>/events                 a label comes, changes in number, goes

Counts stay as they are while a camera or inference fails: that is no empty scene. Of a camera that is switched off or
private they are taken back, and what was present is told to be over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from hailod.clock import Clock
from hailod.config.model import Settings
from hailod.mqtt import frigate
from hailod.mqtt.outbox import Outbox
from hailod.pipeline.publisher import Publisher

log = structlog.get_logger(__name__)

# Topics with counts, of all cameras together: the outbox has room for them and for all that is not Frigate's.
MAX_COUNTS = 400
# So many labels of a model are cleared when a camera begins, in case a process that was killed left counts behind.
_MAX_CLEARED = 200


@dataclass(slots=True, eq=False)
class _Camera:
    presence: frigate.Presence
    told: dict[str, int] = field(default_factory=dict)


class Frigate:
    """Used by the control thread."""

    def __init__(
        self, clock: Clock, outbox: Outbox, publisher: Publisher, model_labels: Mapping[str, Sequence[str]]
    ) -> None:
        """`model_labels` are what each model can see, by its name."""
        self._clock = clock
        self._outbox = outbox
        self._publisher = publisher
        self._model_labels = model_labels
        self._prefix: str | None = None
        self._cameras: dict[str, _Camera] = {}
        self._complained = False

    def tick(self, settings: Settings) -> None:
        """Tell what has changed. Counts rise at once and fall after seconds, so that none is missed between two."""
        wanted = settings.frigate.prefix if settings.frigate.enabled else None
        if wanted != self._prefix:
            self._change(wanted)
        if self._prefix is None:
            return
        for name in self._cameras.keys() - settings.cameras.keys():
            self._close(name)
        for name, camera in settings.cameras.items():
            if not camera.enabled or settings.is_private(name):
                self._close(name)
                continue
            seen = self._publisher.seen(name)
            if seen is not None:
                self._tell(name, settings, seen.objects, seen.at)

    def stop(self) -> None:
        """Say that nothing more will come."""
        if self._prefix is not None:
            self._outbox.state(f"{self._prefix}/available", "offline")

    def _change(self, prefix: str | None) -> None:
        for name in list(self._cameras):
            self._close(name)
        if self._prefix is not None:
            self._outbox.forget(f"{self._prefix}/available")
        self._prefix = prefix
        if prefix is not None:
            self._outbox.state(f"{prefix}/available", "online")

    def _tell(self, name: str, settings: Settings, objects: Mapping[str, int], at: float) -> None:
        camera = self._cameras.get(name)
        if camera is None:
            camera = self._cameras[name] = _Camera(frigate.Presence(name))
            self._clear(name, settings)
        for label, count in frigate.counts(objects).items():
            if camera.told.get(label) == count or not self._room(camera, label):
                continue
            camera.told[label] = count
            self._outbox.state(f"{self._prefix}/{name}/{label}", str(count))
        for event in camera.presence.see(objects, at):
            self._outbox.event(f"{self._prefix}/events", event)

    def _clear(self, name: str, settings: Settings) -> None:
        """Have no count of an earlier process stand for one of now."""
        known = self._model_labels.get(settings.model_of(name) or "", ())
        for label in known[:_MAX_CLEARED]:
            self._outbox.forget(f"{self._prefix}/{name}/{frigate.level(label)}")

    def _close(self, name: str) -> None:
        camera = self._cameras.pop(name, None)
        if camera is None:
            return
        for event in camera.presence.see({}, self._clock.wall()):
            self._outbox.event(f"{self._prefix}/events", event)
        for label in camera.told:
            self._outbox.forget(f"{self._prefix}/{name}/{label}")

    def _room(self, camera: _Camera, label: str) -> bool:
        if label in camera.told or sum(len(entry.told) for entry in self._cameras.values()) < MAX_COUNTS:
            return True
        if not self._complained:
            self._complained = True
            log.warning("not all counts are told as Frigate does", most=MAX_COUNTS, advice="set labels for the cameras")
        return False
